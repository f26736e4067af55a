"""Small trainings of dictionaries on tiny models: data, options, and what tells two of them apart."""

from __future__ import annotations

import random
from typing import Any

import torch

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter, Rows
from interp.parts.sites import Site
from tests.interp.model import tiny

BOS = 1
SITE = Site("resid_post", 0)


def documents(n: int = 60, seed: int = 0) -> list[list[int]]:
    """Rows of ids that begin with BOS, of many lengths, some longer than the context of a tiny model."""
    rng = random.Random(seed)
    return [[BOS, *(rng.randrange(3, tiny.VOCAB) for _ in range(rng.choice((3, 9, 20, 90))))] for _ in range(n)]


def small(**changes: Any) -> dict[str, Any]:
    """The options of a training of a few steps."""
    return {
        "site": "resid_post.0", "d_sae": 48, "k": 6, "tokens": 1200, "batch_tokens": 100, "context": 16, "buffer": 600,
        "hold_out": 0.2, "show_progress": False, **changes,
    }  # fmt: skip


def rows_of(model: Any, data: Any, *, share: float = 0.2, seed: int = 0, context: int = 16, **more: Any) -> Rows:
    return Rows(open_documents(data, seed), Cutter.of(model, context, False), share=share, seed=seed, **more)


def equal(a: Dictionary, b: Dictionary) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
