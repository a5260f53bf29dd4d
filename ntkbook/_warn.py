"""Warnings that point at the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings

# Between the caller and the place of a warning lie this package, decorators such as torch's no_grad, and
# libraries that call back, such as scikit-learn's searches; no line in them is one that the reader wrote.
_NOT_THE_CALLERS = tuple(
    os.path.join(folder, "") for folder in (os.path.dirname(__file__), sysconfig.get_path("stdlib"))
)
# Libraries may lie in more than one such folder: the user's, the system's, that of a virtual environment.
_INSTALLED = tuple(os.path.join(os.sep, folder, "") for folder in ("site-packages", "dist-packages"))


def _is_a_librarys(file: str) -> bool:
    return file.startswith(_NOT_THE_CALLERS) or any(folder in file for folder in _INSTALLED)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the innermost line that belongs to no library.

    From Python 3.12 on, ``warnings.warn`` could do it by ``skip_file_prefixes``.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_a_librarys(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
