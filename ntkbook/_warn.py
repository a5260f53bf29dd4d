"""Warnings that point at the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings

# Between the caller and the place of a warning lie this package, decorators such as torch's no_grad, and
# libraries that call back, such as scikit-learn's searches; no line in them is one that the reader wrote.
_NOT_THE_CALLERS = tuple(
    os.path.join(folder, "")
    for folder in (os.path.dirname(__file__), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the innermost line that belongs to no library.

    From Python 3.12 on, ``warnings.warn`` could do it by ``skip_file_prefixes``.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_CALLERS):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
