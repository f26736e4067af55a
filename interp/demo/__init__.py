"""The embedded model: a small language model trained on generated text, for tests and examples without a download."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """Folder of the model, to be given to `from_pretrained`."""
    return Path(__file__).parent / "model"
