"""Files of data: where they lie, how they are fetched, and how a damaged one is told from a whole one.

A download goes to ``NAME.part`` beside its place and is moved there only when its checksum is right, so a
file under its own name is whole. What a broken connection or a killed process left in ``NAME.part`` is
gone on with by the next call.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from tqdm import tqdm

from ntkbook._validation import check_count, check_positive

_BLOCK = 1 << 16  # what a killed download loses at most


class DataError(RuntimeError):
    """Data cannot be had, written or trusted; the message says what to do."""


class ChecksumError(DataError):
    """A file is not what it should be: damaged, truncated, or another file."""


class DownloadError(DataError):
    """A file could not be fetched: no network, no such address, or the connection broke."""


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of data files: the argument, else ``NTKBOOK_DATA``, else ``~/.cache/ntkbook``.

    The last one moves with ``XDG_CACHE_HOME``. Nothing is created.

    Parameters
    ----------
    folder : str or Path, optional
        Takes the place of the environment.

    Returns
    -------
    Path

    Examples
    --------
    >>> from ntkbook import data
    >>> data.data_folder("here").name
    'here'
    """
    if folder is not None:
        return _as_path("folder", folder).expanduser()
    if named := os.environ.get("NTKBOOK_DATA"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ntkbook"


def _as_path(name: str, path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {path!r}; pass a str or a pathlib.Path")
    return Path(path)


def md5_of(path: Path) -> str:
    """Return the MD5 digest of a file in hexadecimal, read in blocks."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_md5(path: Path, md5: str) -> Path:
    """Return ``path`` if the file there has the checksum ``md5``.

    Raises
    ------
    ChecksumError
        With both checksums and the file's size; the file is left as it is.
    """
    found = md5_of(path)
    if found != md5:
        raise ChecksumError(
            f"{path} ({path.stat().st_size:,} bytes) is damaged or another file: its MD5 is {found}, "
            f"expected {md5}. It was left unchanged; remove it, then fetch or install it anew"
        )
    return path


def fetch(
    url: str,
    path: str | Path,
    md5: str,
    *,
    timeout: float = 30.0,
    attempts: int = 3,
    progress: bool = True,
) -> Path:
    """Download a file, unless it is there, and verify it.

    What was received is kept in ``PATH.part`` until it is whole and its checksum is right; a call after a
    broken connection or a kill asks the server for the rest alone. Two processes that want the same file
    take turns: the second one finds it.

    Parameters
    ----------
    url : str
        Where the file is. Servers that cannot send a part of a file are asked for all of it again.
    path : str or Path
        Where it shall be; folders above it are made.
    md5 : str
        Its MD5 digest, hexadecimal.
    timeout : float
        Seconds without a byte after which a connection counts as broken.
    attempts : int
        How often a broken connection is taken up again within this call.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Path
        The file, verified.

    Raises
    ------
    DownloadError
        If the address cannot be reached, refuses, or breaks off each time; what arrived is kept.
    ChecksumError
        If the whole file arrived and is not the expected one, or another file is in its place. A wrong
        download is removed; a file that was there before is left unchanged.
    DataError
        If the folder cannot be written, or the disk is full.
    TypeError, ValueError
        If ``attempts`` is below 1, ``timeout`` not positive, or ``url``, ``path`` or ``md5`` is none.

    Examples
    --------
    >>> import hashlib, pathlib, tempfile
    >>> from ntkbook import data
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "original").write_bytes(b"some data")
    >>> md5 = hashlib.md5(b"some data").hexdigest()
    >>> url = (folder / "original").as_uri()
    >>> data.fetch(url, folder / "copy", md5, progress=False).read_bytes()
    b'some data'
    """
    place = _as_path("path", path)
    check_count("attempts", attempts)
    check_positive("timeout", timeout)
    if not isinstance(url, str) or ":" not in url:
        kind = ValueError if isinstance(url, str) else TypeError
        raise kind(f"url must be an address such as https://example.org/file, got {url!r}")
    if not isinstance(md5, str) or not re.fullmatch("[0-9a-f]{32}", md5):
        raise ValueError(f"md5 must be 32 hexadecimal digits in lower case, got {md5!r}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if place.exists():
                return check_md5(place, md5)
            part = place.with_name(f"{place.name}.part")
            for _ in range(attempts):
                broken = _receive(url, part, timeout, progress)
                if not broken:
                    return _accept(part, place, md5, url)
    except OSError as error:
        raise DataError(_cannot_write(place, error)) from error
    raise DownloadError(
        f"cannot fetch {url}: {broken}. What arrived is kept in {part}, and the next call goes on from there"
    )


def write_whole(path: Path, content: bytes) -> Path:
    """Write a small file so that it is there as a whole or not at all.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        return draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise DataError(_cannot_write(path, error)) from error


def _receive(url: str, part: Path, timeout: float, progress: bool) -> str:
    """Append to ``part`` what it lacks; return what broke the connection, or nothing if all arrived."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            if answer.status != 206:  # the server sends all of it: begin again
                have = 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(
                    total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=not progress
                ) as bar,
            ):
                received = have + _copy(answer, file, bar)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing; the checksum tells whether it is right
            return ""
        raise DownloadError(_no_way(url, part, f"it answers {error.code} {error.reason}")) from error
    except urllib.error.URLError as error:
        raise DownloadError(_no_way(url, part, str(error.reason))) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        return f"{type(error).__name__} {error}"
    return "" if total in (None, received) else f"it ended after {received:,} of {total:,} bytes"


def _no_way(url: str, part: Path, reason: str) -> str:
    return (
        f"cannot fetch {url}: {reason}. Call again where there is a network, or copy the file from elsewhere "
        f"to {part.with_suffix('')}"
    )


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, bar: tqdm[Any]) -> int:
    """Copy the answer's body to a file, block by block, and return the number of bytes."""
    count = 0
    while block := answer.read(_BLOCK):
        file.write(block)
        bar.update(len(block))
        count += len(block)
    file.flush()
    os.fsync(file.fileno())
    return count


def _accept(part: Path, place: Path, md5: str, url: str) -> Path:
    """Move a complete download to its place if its checksum is right; remove it otherwise."""
    found = md5_of(part)
    if found != md5:
        size = part.stat().st_size
        part.unlink()
        raise ChecksumError(
            f"what {url} sent ({size:,} bytes) has MD5 {found}, expected {md5}; it was removed. Call again; "
            "if this repeats, the file at that address has changed or the network alters it"
        )
    return part.replace(place)


def _cannot_write(path: Path, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else error.strerror or str(error)
    return (
        f"cannot read or write {path}: {reason}. Make the folder writable, or name another one in the "
        "environment variable NTKBOOK_DATA"
    )
