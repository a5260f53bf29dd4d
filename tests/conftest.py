"""What all tests share."""

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_each():
    # pytest-xdist runs one process per core; more threads than that only fight for the cores.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
