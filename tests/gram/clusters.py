"""Clusters whose scheduler is a process of its own, forked from one that has loaded everything.

    python clusters.py

Each line of standard input starts a scheduler and two workers, and prints the scheduler's process number and
address. All end with the group of processes.
"""

import asyncio
import os
import sys
import traceback

import distributed
import gram_cases  # noqa: F401 - the workers find its kernels loaded, and the package
import torch

import ntkbook  # noqa: F401


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


def start():
    reading, writing = os.pipe()

    async def schedule():
        async with distributed.Scheduler(
            host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0"
        ) as scheduler:
            os.write(writing, scheduler.address.encode())
            await scheduler.finished()

    pid = child(schedule)
    address = os.read(reading, 100).decode()

    async def work():
        async with distributed.Worker(address, nthreads=1, dashboard=False) as worker:
            await worker.finished()

    for _ in range(2):
        child(work)
    os.close(reading)
    os.close(writing)
    print(pid, address, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for _ in sys.stdin:
        start()
