"""Downloads: whole or not there, gone on with after a break, and every failure named."""

import errno
import hashlib
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ntkbook.data import ChecksumError, DataError, DownloadError, data_folder, fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB: several blocks on the wire
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, in whatever broken way a test asks for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.ranges = True  # understand requests for a part
        self.break_after = []  # how many bytes each coming answer sends before it breaks off
        self.status = 200
        self.announce_length = True
        self.wait = 0.0
        self.hold = threading.Event()  # clear: a broken answer keeps its connection open
        self.hold.set()
        self.requests = []  # the Range header of each
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that has gone away

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        time.sleep(server.wait)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        if wanted and server.ranges and not body:
            self.send_error(416)
            return
        self.send_response(206 if wanted and server.ranges else 200)
        if server.announce_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.break_after:
            body = body[: server.break_after.pop(0)]
        self.wfile.write(body)
        server.hold.wait()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()


def get(server, path, **options):
    return fetch(server.url, path, MD5, progress=False, **options)


def files(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_once_and_leaves_nothing_beside_it(server, tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    assert get(server, path) == path
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == ["file.bin"]
    assert get(server, path) == path
    assert server.requests == [None]


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.break_after = [300_000, 200_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=500000-"]


def test_what_arrived_is_kept_for_the_next_call_under_another_name(server, tmp_path):
    server.break_after = [300_000, 0, 0]
    with pytest.raises(DownloadError, match=r"300,000 of 1,048,576 bytes.*kept in .*file\.bin\.part"):
        get(server, tmp_path / "file.bin")
    assert files(tmp_path) == ["file.bin.part"]
    server.requests.clear()
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == ["bytes=300000-"]


def test_a_server_that_cannot_send_a_part_is_asked_for_all(server, tmp_path):
    server.ranges, server.break_after = False, [300_000]
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_an_answer_without_a_length_is_judged_by_its_checksum(server, tmp_path):
    server.announce_length = False
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT
    server.break_after = [1000]
    with pytest.raises(ChecksumError, match=r"\(1,000 bytes\)"):
        get(server, tmp_path / "again.bin")


def test_a_complete_part_is_accepted_and_a_stale_one_refused(server, tmp_path):
    part = tmp_path / "file.bin.part"
    part.write_bytes(CONTENT)  # killed between the last byte and the renaming
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT
    part.write_bytes(b"x" * len(CONTENT))
    (tmp_path / "file.bin").unlink()
    with pytest.raises(ChecksumError, match="it was removed"):
        get(server, tmp_path / "file.bin")
    assert files(tmp_path) == []


def test_a_wrong_checksum_is_never_taken_for_the_file(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ChecksumError, match=rf"expected {MD5}"):
        get(server, tmp_path / "file.bin")
    assert files(tmp_path) == []


@pytest.mark.parametrize("damaged", [CONTENT[:1000], b"", CONTENT[:-1] + b"!"], ids=["short", "empty", "bit"])
def test_a_damaged_file_in_its_place_is_named_and_left(server, tmp_path, damaged):
    path = tmp_path / "file.bin"
    path.write_bytes(damaged)
    with pytest.raises(ChecksumError, match=rf"file\.bin \({len(damaged):,} bytes\) is damaged"):
        get(server, path)
    assert path.read_bytes() == damaged
    assert server.requests == []


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_an_address_that_refuses_is_named(server, tmp_path, status, text):
    server.status = status
    with pytest.raises(DownloadError, match=rf"127\.0\.0\.1.*{text}.*copy the file"):
        get(server, tmp_path / "file.bin")
    assert files(tmp_path) == []


def test_no_network_is_named_at_once(tmp_path):
    closed = Server()
    url = closed.url
    closed.shutdown()
    closed.server_close()
    with pytest.raises(DownloadError, match="where there is a network"):
        fetch(url, tmp_path / "file.bin", MD5, progress=False)
    assert files(tmp_path) == []


def test_at_least_one_attempt_is_made(server, tmp_path):
    with pytest.raises(ValueError, match="attempts must be at least 1, got 0"):
        get(server, tmp_path / "file.bin", attempts=0)


def test_a_server_that_falls_silent_counts_as_broken(server, tmp_path):
    server.wait = 1.0
    with pytest.raises(DownloadError, match=r"timed out|TimeoutError"):
        get(server, tmp_path / "file.bin", timeout=0.05, attempts=2)
    assert len(server.requests) == 2


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot read or write .*NTKBOOK_DATA"):
        get(server, tmp_path / "file" / "file.bin")


@pytest.mark.parametrize(
    ("number", "text"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied")]
)
def test_a_disk_that_refuses_is_named_and_the_part_kept(server, tmp_path, monkeypatch, number, text):
    def refuse(_):
        raise OSError(number, "Permission denied")

    monkeypatch.setattr("ntkbook.data.files.os.fsync", refuse)
    with pytest.raises(DataError, match=text):
        get(server, tmp_path / "file.bin")
    assert files(tmp_path) == ["file.bin.part"]


def test_two_processes_at_once_take_turns(server, tmp_path):
    server.wait = 0.1
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(get(server, tmp_path / "file.bin"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert server.requests == [None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_killed_process_leaves_a_part_and_the_next_goes_on(server, tmp_path):
    server.break_after = [300_000]
    server.hold.clear()
    program = "import sys; from ntkbook.data import fetch; fetch(*sys.argv[1:], progress=False)"
    path, part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    with subprocess.Popen([sys.executable, "-c", program, server.url, str(path), MD5]) as process:
        while not (part.exists() and part.stat().st_size > 200_000):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not path.exists()
    server.hold.set()
    already = part.stat().st_size
    assert get(server, path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={already}-"]


def test_progress_goes_to_standard_error_if_asked_for(server, tmp_path, capfd):
    fetch(server.url, tmp_path / "file.bin", MD5)
    out, err = capfd.readouterr()
    assert "file.bin" in err
    assert "1.05M/1.05M" in err
    assert out == ""
    fetch(server.url, tmp_path / "quiet.bin", MD5, progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_folder_is_the_argument_or_the_environment_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NTKBOOK_DATA", "~/named")
    assert data_folder("~/given") == tmp_path / "given"
    assert data_folder() == tmp_path / "named"
    monkeypatch.delenv("NTKBOOK_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert data_folder() == Path("/elsewhere/ntkbook")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == tmp_path / ".cache" / "ntkbook"
    assert list(tmp_path.iterdir()) == []
