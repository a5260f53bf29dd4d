"""One function seeds every random draw of a chapter, so that a whole run repeats and can be varied."""

from __future__ import annotations

import os

import numpy as np
import torch

from ntkbook._validation import check_count


def seed(default: int = 0) -> int:
    """Seed torch and numpy, and return the seed.

    The environment variable ``NTKBOOK_SEED``, when set, takes the place of the argument: the whole
    book can be run with another seed without an edit.

    Parameters
    ----------
    default : int
        The seed where the variable is not set; from 0 to 2**32 - 1.

    Raises
    ------
    TypeError, ValueError
        If the seed is not an integer in that range, naming where it came from.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = ntkbook.seed(3); first = torch.randn(2)
    >>> _ = ntkbook.seed(3); bool((torch.randn(2) == first).all())
    True
    """
    text = os.environ.get("NTKBOOK_SEED", "")
    source = "NTKBOOK_SEED" if text else "default"
    try:
        value = int(text) if text else check_count("default", default, None)
    except ValueError:
        raise ValueError(f"NTKBOOK_SEED must be an integer, got {text!r}") from None
    if not 0 <= value < 2**32:
        raise ValueError(f"{source} must lie between 0 and 2**32 - 1, got {value}")
    torch.manual_seed(value)
    np.random.seed(value)  # noqa: NPY002 -- libraries that chapters call still draw from it
    return value
