"""A Gram matrix on disk that survives the end of its process: a Zarr group with a manifest and a done-map.

Layout of the group: ``gram``, the matrix, one Zarr chunk per tile; ``done``, one number per tile, 0 until
the tile is on disk and then its checksum plus one; and among the attributes a manifest and the checksum
of all metadata. Each is written to another file and renamed (by zarr, from 3.1.3 on), and ``done`` is
written after the tile, so a process killed at any moment leaves a store in which every marked tile is whole.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntkbook._validation import as_numpy, check_finite, check_tensor

_FORMAT = 1
# NumPy has no bfloat16, so its bits are stored; no kernel returns whole numbers.
_BITS = torch.int16
# A hundred times what the files of metadata take: a longer one is not read into memory.
_MOST_METADATA = 2**16


class GramStoreError(RuntimeError):
    """A store cannot be used as it is; the message says why, and that nothing in it was changed."""


class StoredGram:
    """A Gram matrix that lives in a store, read in pieces.

    Indexing by slices or integers gives tensors; ``stored @ vectors`` and :meth:`diagonal` read one row
    of tiles at a time; ``numpy.asarray`` and torch functions read everything.

    Attributes
    ----------
    path : Path
        The store.
    shape : tuple of int
        (N1, N2), or (N1, N2, K) or (N1, N2, K, K) for kernels of several outputs.
    dtype : torch.dtype
        The dtype of the entries. NumPy has no bfloat16: ``numpy.asarray`` makes float32 of it.
    """

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a path, got {path!r}; name a directory that ntkbook.gram made")
        self.path = Path(path)
        self._group = _open_group(self.path, "r")
        self._array = self._group["gram"]
        manifest = _read_manifest(self.path, self._group)
        _check_tiles(self.path, self._array, self._group["marks"], manifest)
        missing = int((self._group["marks"] == 0).sum())
        if missing:
            raise GramStoreError(
                f"{self.path} lacks {missing} of its tiles; finish it by calling ntkbook.gram again with "
                "the same arguments and store"
            )
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        stored: torch.dtype = getattr(torch, str(self._array.dtype))
        self.dtype: torch.dtype = torch.bfloat16 if stored == _BITS else stored
        self._tile_size = int(manifest["tile_size"])

    ndim = property(lambda self: len(self.shape), doc="The number of axes.")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredGram({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> Tensor:
        try:
            return torch.from_numpy(np.asarray(self._array[index])).view(self.dtype)
        except (IndexError, TypeError, ValueError) as error:
            raise IndexError(
                f"index {index!r} does not fit a matrix of shape {self.shape}; use integers and slices"
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = as_numpy(self.tensor())
        return whole if dtype is None else whole.astype(dtype)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Let torch functions take a stored matrix, as the tensor that it holds."""
        arguments = [a.tensor() if isinstance(a, StoredGram) else a for a in args]
        named = {k: a.tensor() if isinstance(a, StoredGram) else a for k, a in (kwargs or {}).items()}
        return function(*arguments, **named)

    def tensor(self) -> Tensor:
        """Return the whole matrix in memory."""
        return self[...]

    def row_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, block) with as many rows as a tile has."""
        for begin in range(0, self.shape[0], self._tile_size):
            rows = slice(begin, min(begin + self._tile_size, self.shape[0]))
            yield rows, self[rows]

    def diagonal(self) -> Tensor:
        """Return the diagonal (N,), or (N, K) or (N, K, K) for kernels of several outputs."""
        size = self._tile_size
        blocks = [slice(b, b + size) for b in range(0, min(self.shape[:2]), size)]
        return torch.cat([self[b, b].diagonal(dim1=0, dim2=1).movedim(-1, 0) for b in blocks])

    def __matmul__(self, vectors: Tensor) -> Tensor:
        n = self.shape[1]
        check_finite("vectors", check_tensor("vectors", vectors))
        if len(self.shape) != 2 or vectors.ndim > 2 or len(vectors) != n:
            raise ValueError(
                f"a stored matrix (N1, {n}) multiplies vectors ({n},) or ({n}, m), but vectors has shape "
                f"{tuple(vectors.shape)} and this one {self.shape}; reshape it, or use its tensor()"
            )
        return torch.cat([block.to(vectors.dtype) @ vectors for _, block in self.row_blocks()])


class TileWriter:
    """The writing end of a store: creates it or resumes it, and writes tiles.

    Parameters
    ----------
    path : str or Path
        Where the store is or shall be.
    run : dict
        What identifies the run: everything that must be equal for a resumption.
    """

    def __init__(self, path: str | Path, run: dict[str, Any]) -> None:
        self.path, self._run = Path(path), {"format": _FORMAT, **run}
        self._group: Any = None
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            self._resume()
        if not self.done().all():
            self._require_writable()

    def _resume(self) -> None:
        group = _open_group(self.path, "r+")
        manifest = _read_manifest(self.path, group)
        differing = [key for key in self._run if manifest.get(key) != self._run[key]]
        if differing:
            listing = "; ".join(
                f"{key}: stored {manifest.get(key)!r}, now {self._run[key]!r}" for key in differing
            )
            raise GramStoreError(
                f"{self.path} belongs to another run and was left unchanged. What differs: {listing}. "
                "Use another store, or delete this one"
            )
        _check_tiles(self.path, group["gram"], group["marks"], manifest)
        self._group = group

    def _require_writable(self) -> None:
        """Refuse a place that cannot be written before a tile is computed, which may take hours."""
        place = self.path.absolute()
        while not place.is_dir() and place != place.parent:
            place = place.parent
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise GramStoreError(
                f"cannot write to {self.path}: {_reason(error)}. Nothing was computed, and what is there was "
                "left unchanged; make it writable, or use another store"
            ) from error

    def done(self) -> NDArray[np.bool_]:
        """Return which tiles are on disk, (row tiles, column tiles); nothing before the first tile."""
        size = self._run["tile_size"]
        grid = [-(-n // size) for n in self._run["shape"]]
        return np.zeros(grid, bool) if self._group is None else self._group["done"][:] != 0

    def write(self, row: int, column: int, tile: Tensor, mirrored: Tensor | None) -> None:
        """Write a tile and, where given, its mirror image, and then mark it as done.

        Raises
        ------
        GramStoreError
            If the disk is full or the store cannot be written; the tiles before this one are kept.
        """
        values = _bits(tile)
        try:
            if self._group is None:
                self._create(values)
            size = self._run["tile_size"]
            rows, columns = (slice(k * size, (k + 1) * size) for k in (row, column))
            self._group["gram"][rows, columns] = values
            self._group["done"][row, column] = _checksum(values)
            if mirrored is not None:
                values = _bits(mirrored)
                self._group["gram"][columns, rows] = values
                self._group["done"][column, row] = _checksum(values)
        except OSError as error:
            raise GramStoreError(
                f"cannot write tile ({row}, {column}) to {self.path}: {_reason(error)}. The tiles before it "
                "are kept; call ntkbook.gram again with the same arguments once this is mended"
            ) from error

    def _create(self, tile: NDArray[Any]) -> None:
        """Create the store beside its place and move it there, so that no half-made store is ever seen."""
        import zarr

        size, trailing = self._run["tile_size"], tile.shape[2:]
        shape = (*self._run["shape"], *trailing)
        draft = self.path.with_name(f".{self.path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(str(draft))
        chunks = (min(size, shape[0]), min(size, shape[1]), *trailing)
        group.create_array(
            "gram",
            shape=shape,
            chunks=chunks,
            dtype=tile.dtype,
            compressors=None,
            fill_value=np.nan if tile.dtype.kind == "f" else 0,
        )
        grid = self.done().shape
        group.create_array(
            "done", shape=grid, chunks=(1, grid[1]), dtype="int64", compressors=None, fill_value=0
        )
        group.attrs["manifest"] = self._run
        group.attrs["checksum"] = _checksum_of_metadata(draft, self._run)
        if self.path.exists():
            self.path.rmdir()
        draft.rename(self.path)
        self._group = _open_group(self.path, "r+")


def _bits(tile: Tensor) -> NDArray[Any]:
    """Return what a store holds of a tile."""
    kept = tile.cpu()
    return np.ascontiguousarray((kept.view(_BITS) if kept.dtype == torch.bfloat16 else kept).numpy())


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)


def _checksum_of_metadata(path: Path, manifest: dict[str, Any]) -> int:
    """Cover what says how the chunks are to be read: another dtype or shape would fit the same bytes."""
    _, *files = _headers(path)
    return zlib.crc32(
        b"".join([json.dumps(manifest, sort_keys=True).encode(), *(f.read_bytes() for f in files)])
    )


def _headers(path: Path) -> list[Path]:
    """Return the files of metadata: of the group and of its arrays."""
    return [path / "zarr.json", path / "gram" / "zarr.json", path / "done" / "zarr.json"]


def _checksum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data) + 1


def _open_group(path: Path, mode: Literal["r", "r+"]) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError("a stored Gram matrix needs zarr; install ntkbook[distributed]") from error
    if not path.is_dir():
        kind = "is not a directory" if path.exists() else "does not exist"
        raise GramStoreError(
            f"the path {path} {kind}, so it is no Gram store; use another path, or make one with "
            "ntkbook.gram(..., store=path)"
        )
    try:
        for header in _headers(path):
            if header.stat().st_size > _MOST_METADATA:
                raise ValueError(f"{header.name} has {header.stat().st_size} bytes")
        group = zarr.open_group(str(path), mode=mode)
        arrays: dict[str, Any] = {name: group[name] for name in ("gram", "done")}
        if not all(isinstance(array, zarr.Array) for array in arrays.values()):
            raise TypeError("an array is missing")
        attributes: dict[str, Any] = dict(group.attrs)
        # Stores of the first days have no checksum of their metadata.
        checksum = _checksum_of_metadata(path, attributes["manifest"])
        if attributes.get("checksum", checksum) != checksum:
            raise ValueError("it does not match its checksum")
        size = attributes["manifest"]["tile_size"]
        grid = tuple(-(-n // size) for n in arrays["gram"].shape[:2])
        if arrays["done"].shape != grid:
            raise ValueError(f"{grid} tiles but {arrays['done'].shape} checksums")
        return {**arrays, "marks": arrays["done"][:], "manifest": dict(attributes["manifest"])}
    except Exception as error:  # whatever zarr meets in damaged metadata
        raise GramStoreError(
            f"{path} is no Gram store, or its metadata is damaged ({type(error).__name__}: {error}). It was "
            "left unchanged; use another path, or delete it"
        ) from error


def _read_manifest(path: Path, group: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = group["manifest"]
    if manifest.get("format") != _FORMAT:
        raise GramStoreError(
            f"{path} has format {manifest.get('format')!r}, this version reads {_FORMAT}; it was left "
            "unchanged"
        )
    return manifest


def _check_tiles(path: Path, array: Any, done: NDArray[np.int64], manifest: dict[str, Any]) -> None:
    """Compare every tile that is marked as done with its checksum."""
    size = int(manifest["tile_size"])
    for row, column in np.argwhere(done):
        try:
            values = array[row * size : (row + 1) * size, column * size : (column + 1) * size]
            whole = _checksum(values) == done[row, column]
        except Exception:  # a chunk of the wrong length, or one that cannot be read
            whole = False
        if not whole:
            raise GramStoreError(
                f"{path} is corrupt: tile ({row}, {column}) does not match its checksum. It was left "
                "unchanged; restore it from a copy, or delete it and compute again"
            )
