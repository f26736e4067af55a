"""What scores are called that are neither estimates nor exact patches of one part."""

from __future__ import annotations

from typing import Final

#: Methods whose scores are exact differences, but not those of one patch alone: what they are.
IN_TURN: Final = {"acdc": "exact when its removal was tried"}
