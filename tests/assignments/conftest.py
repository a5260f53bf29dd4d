import pytest
import torch


@pytest.fixture(autouse=True)
def _default_dtype_is_kept():
    """The notebooks' first cell changes it."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)
