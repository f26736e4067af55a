"""What an HTML file that needs nothing else is made of: a policy that names every script and style by its hash, and data as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup


def as_json(data: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever text it holds. Raises: ValueError for NaN and infinity."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def policy(style: str, scripts: Sequence[str], *, pictures: bool = False) -> str:
    """A policy that forbids every request, and every script and style but these; pictures: those that stand in the page itself are allowed."""
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    images = "; img-src data:" if pictures else ""
    return f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}{images}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
