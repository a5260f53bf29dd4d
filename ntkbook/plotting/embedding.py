"""Images and data inside the HTML that a notebook's cell shows."""

from __future__ import annotations

import base64
import json
from typing import Any


def base64_text(data: bytes) -> str:
    """Return bytes as the text that HTML and notebooks hold."""
    return base64.b64encode(data).decode()


def check_alt(alt: object, and_what: str) -> None:
    """Require a description for those who cannot see the picture, long enough to be one.

    Raises
    ------
    TypeError, ValueError
        With what was received.
    """
    if not isinstance(alt, str) or len(alt) < 30:
        kind = ValueError if isinstance(alt, str) else TypeError
        raise kind(f"alt must describe what there is to see and {and_what}, got {alt!r}")


def data_uri(image: bytes, kind: str) -> str:
    """Return the address of an image that is its own content; ``kind`` is ``"png"`` or ``"webp"``.

    Examples
    --------
    >>> data_uri(b"abc", "png")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64_text(image)}"


def script_data(content: Any) -> str:
    r"""Return JSON for the inside of a script element, where only ``</`` could end it.

    Examples
    --------
    >>> print(script_data({"label": "</script>"}))
    {"label":"<\/script>"}
    """
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
