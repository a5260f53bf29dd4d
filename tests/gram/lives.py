"""Runs that die: every life is forked from a process that has loaded everything, and costs milliseconds.

    python lives.py often FOLDER SEED    50 kills at random moments of one run
    python lives.py everywhere FOLDER    a kill before each operation on a file and amid each write
    python lives.py disk FOLDER          a file system of its own: full at each page, then read-only

What was seen is printed as JSON.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
import zarr
from gram_cases import rbf

import ntkbook
from ntkbook.gram import GramStoreError

KILLS = 50


class Recorded:
    """Where a life notes each tile of ``watched`` before it is computed, and how many it may compute."""

    pipe = -1
    left = -1


def watched(a, b):
    """The RBF kernel of inputs whose first entry is their number."""
    return rbf(a, b)


def noted(kernel, a, b, compute=sys.modules["ntkbook.gram"]._tile):
    """Compute a tile as the engine does; the notes are no part of the kernel's identity."""
    if kernel is watched:
        if Recorded.left == 0:
            signal.pause()
        Recorded.left -= 1
        os.write(Recorded.pipe, b"%d %d\n" % (a[0, 0], b[0, 0]))
    return compute(kernel, a, b)


sys.modules["ntkbook.gram"]._tile = noted


def inputs(n):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 0] = torch.arange(n)
    return x


def compute(store, n, size):
    return ntkbook.gram(watched, inputs(n), tile_size=size, store=store, progress=False)


def marked(store, n, size):
    """Return the pairs i <= j of tiles that are marked as done, mirror image included."""
    count = -(-n // size)
    done = np.zeros((count, count), np.int64)
    for i in range(count):
        row = Path(store, "done", "c", str(i), "0")
        if row.exists():
            done[i] = np.frombuffer(row.read_bytes(), "<i8")
    return {(i, j) for i in range(count) for j in range(i, count) if done[i, j] and done[j, i]}


class Life:
    """A child process; its standard way out is 0, an exception's 1."""

    def __init__(self, work, budget=-1):
        self._end, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._end)
                Recorded.pipe, Recorded.left = theirs, budget
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(theirs)
        self._text = b""

    def wait_for_tile(self, number):
        """Return when the life has begun its n-th tile, and so has finished those before it."""
        while self._text.count(b"\n") < number and (part := os.read(self._end, 1 << 16)):
            self._text += part

    def end(self):
        """Return (exit status, the numbers of first rows and columns of the tiles it computed)."""
        while part := os.read(self._end, 1 << 16):
            self._text += part
        os.close(self._end)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return status, [tuple(map(int, line.split())) for line in self._text.split(b"\n") if line]


def finish(store, n, size):
    """Compute the rest and compare with the matrix of an undisturbed run."""
    whole = ntkbook.gram(rbf, inputs(n), tile_size=size, progress=False)
    assert torch.equal(compute(store, n, size).tensor(), whole)


def often(folder, seed):
    n, size = 15, 1
    store, draw = str(folder / "g"), random.Random(seed)
    tiles, seen = n * (n + 1) // 2, []
    for left in range(KILLS, 0, -1):
        before = marked(store, n, size)
        # Enough must remain for the kills to come; a life that reaches its budget waits for its end.
        budget = max(1, min(4, (tiles - len(before) - 1) // left))
        life = Life(lambda: compute(store, n, size), budget)
        life.wait_for_tile(draw.randint(0, budget))
        time.sleep(draw.uniform(0, 0.01))
        os.kill(life.pid, signal.SIGKILL)
        status, computed = life.end()
        after = marked(store, n, size)
        assert status == -signal.SIGKILL, status
        seen.append(
            {"back": len(before - after), "twice": len(before & set(computed)), "new": len(after - before),
             "lost": len(computed) - len(after - before)}
        )  # fmt: skip
    before = marked(store, n, size)
    status, computed = Life(lambda: finish(store, n, size)).end()
    return {"lives": seen, "status": status, "rest": len(computed), "missing": tiles - len(before)}


CHANGES = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate"}


def watch(folder, at):
    """Call ``at(number, event)`` before each operation that changes a file in the folder."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in CHANGES and str(arguments[0]).startswith(str(folder)):
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
            count += 1
            at(count, event)

    sys.addaudithook(hook)


def everywhere(folder):
    n, size = 3, 2

    def listed():
        # In place of tiles it notes operations: (number, whether a file is opened for writing).
        watch(folder, lambda count, event: os.write(notes, b"%d %d\n" % (count, event == "open")))
        notes, Recorded.pipe = Recorded.pipe, os.open(os.devnull, os.O_WRONLY)
        finish(str(folder / "whole"), n, size)

    status, events = Life(listed).end()
    assert status == 0
    seen = []
    for number, opens in events:
        for half in (False, True)[: 1 + opens]:
            store = str(folder / f"{number}{half:d}")

            def die(count, event, number=number, half=half):
                if count == number:
                    if not half:
                        os.kill(os.getpid(), signal.SIGKILL)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))

            def dying(store=store, die=die):
                # A write beyond the limit that is set then gets as far as the limit, and kills.
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                watch(folder, die)
                compute(store, n, size)

            status, _ = Life(dying).end()
            before = marked(store, n, size)
            missing = 3 - len(before)
            resumed, computed = Life(lambda store=store: finish(store, n, size)).end()
            seen.append(
                {"death": -status, "half": half, "resumed": resumed, "extra": len(computed) - missing,
                 "missing": missing}
            )  # fmt: skip
    return {"points": seen}


def disk(folder):
    """Fill the file system of the folder up to each page; then make it read-only."""
    n, size = 5, 2
    store, ballast = folder / "g", folder / "ballast"
    Recorded.pipe = os.open(os.devnull, os.O_WRONLY)
    free = os.statvfs(folder).f_bfree
    seen = []
    for pages in range(free):
        with open(ballast, "wb") as file:
            file.write(bytes(4096 * (free - pages)))
        before = set()
        try:
            for attempt in range(2):  # the second one must not make it worse
                try:
                    compute(str(store), n, size)
                    break
                except GramStoreError as error:
                    message = str(error)
                    assert "the disk is full" in message, message
                    after = marked(store, n, size)
                    assert before <= after, (pages, attempt)
                    before = after
            else:
                seen.append({"pages": pages, "kept": len(before)})
                ballast.unlink()
                finish(str(store), n, size)
                continue
            break
        finally:
            shutil.rmtree(store, ignore_errors=True)
            ballast.unlink(missing_ok=True)
    finish(str(store), n, size)
    shutil.copytree(store, folder / "finished")
    zarr.open_group(str(store), mode="r+")["done"][0, 1] = 0
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    refusals = []
    for place in (store, folder / "new"):
        try:
            compute(str(place), n, size)
        except GramStoreError as error:
            refusals.append(str(error))
    finish(str(folder / "finished"), n, size)
    return {"full": seen, "refusals": refusals}


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[2])
    scenario = {"often": lambda: often(place, int(sys.argv[3])), "everywhere": lambda: everywhere(place)}
    print(json.dumps({**scenario, "disk": lambda: disk(place)}[sys.argv[1]]()))
