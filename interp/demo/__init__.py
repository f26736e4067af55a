"""Where does the embedded model come from, and how good is it?

`corpus` writes the text; `tokenizer` makes words tokens; `train` trains the model; `quality` compares it with
shortcuts. The folder `model/` holds what came out, and `path()` says where it is.

Nothing is added by users. A new built-in task needs a sentence of its own in corpus.py only if the embedded model
shall know it; then the model is trained again (`python -m interp.demo.train`).
"""

from __future__ import annotations

from pathlib import Path

from interp.model.loading.load import DEMO


def path() -> Path:
    """Folder of the model, to be given to `from_pretrained`."""
    return DEMO
