"""Dictionaries of a tiny model, and a task whose answers it gives."""

from __future__ import annotations

from typing import Any

import torch

from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.tasks.task import Task
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


def given(model: HookedModel, **more: Any) -> dict[str, Dictionary]:
    """Two autoencoders of the stream, one of z, and a transcoder."""
    more = {"dtype": torch.float64} | more
    return {
        "resid_post.0": made("resid_post.0", 32, kind="relu", seed=1, **more),
        "z.1": made("z.1", 32, kind="jumprelu", seed=2, **more),
        "mlp_out.1": made("mlp_normed.1", 32, target="mlp_out.1", kind="topk", seed=3, dtype=torch.float64),
        "resid_post.1": made("resid_post.1", 32, kind="gated", seed=4, **more),
    }


def rotated(site: str, seed: int = 0) -> Dictionary:
    """Features that are a complete basis: both signs of an orthonormal rotation. x = decode(encode(x)), no error."""
    q = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    W = torch.cat([q, -q], 1)
    kind, layer = site.split(".")
    zero = torch.zeros(64, dtype=torch.float64)
    return Dictionary(Site(kind, int(layer)), Site(kind, int(layer)), Relu(), W, zero, W.T.contiguous(), zero[:32])


def stub() -> tuple[HookedModel, Task]:
    model = hooked("gpt2", dtype=torch.float64)
    return model, answered(model, toy_task())
