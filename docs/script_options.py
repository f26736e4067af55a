"""What the scripts that measure are told alike: the options of several models and tasks, as `argparse` takes them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_SHARED: dict[str, dict[str, Any]] = {
    "out": {"required": True, "type": Path, "help": "of the cases: a new folder, or that of a call before"},
    "models": {"default": "demo", "help": "'demo', folders, or hf:ORG/NAME, commas between them"},
    "tasks": {"default": "ioi,sva,greater-than,gender,capital", "help": "commas between them"},
    "directions": {"default": "denoise,noise", "help": "one or both"},
    "methods": {"help": "commas between them"},
    "pairs": {"type": int, "default": 8, "help": "the first so many"},
    "seed": {"type": int, "default": 0, "help": "of all that is drawn"},
}


def shared(description: str, *names: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with these of the shared options. defaults: other ones, by option."""
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(f"--{name}", **_SHARED[name])
    parser.set_defaults(**defaults)
    return parser
