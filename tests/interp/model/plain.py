"""Runs of plain transformers, and what they and ours are compared by."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from interp.model.modules import attention
from interp.parts.tokens import Tokens, pad
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, ids

ALL = (*ARCHITECTURES, *VARIANTS)

ROUTED = tuple(name for name in ARCHITECTURES if name not in OWN_ATTENTION)

HOOK_TABLES = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def plain(model: Any, tokens: Tokens, **options: Any) -> Any:
    """The model called by hand, with the mask and positions that padded prompts need."""
    inputs: dict[str, Any] = {"input_ids": tokens.ids, "use_cache": False, **options}
    if tokens.padded:
        inputs["attention_mask"] = tokens.mask.long()
        if "position_ids" in inspect.signature(model.forward).parameters:
            inputs["position_ids"] = (tokens.mask.long().cumsum(-1) - 1).clamp_min(0)
    return model(**inputs)


def unpadded(batch: int = 2) -> Tokens:
    found = ids(batch)
    return Tokens(found, torch.ones_like(found, dtype=torch.bool))


def padded(side: Any = "left") -> Tokens:
    rows = ids(3).tolist()
    return pad([rows[0], rows[1][:4], rows[2][:5]], 0, side)


def state(model: nn.Module) -> list[Any]:
    """Everything that a run could leave behind."""
    hooks = [(name, t, list(getattr(m, t).items())) for name, m in model.named_modules() for t in HOOK_TABLES]
    flags = [(name, m.training, type(m)) for name, m in model.named_modules()]
    grads = [(name, p.requires_grad, p.grad, p.data_ptr()) for name, p in model.named_parameters()]
    inner = [m.config._attn_implementation for m in model.modules() if isinstance(m, PreTrainedModel)]
    return [hooks, flags, grads, inner, attention._around.get()]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    worst = float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30))
    assert a.shape == b.shape and worst <= tolerance, f"off by {worst:.2e} of the largest entry"


@contextmanager
def watched(module: nn.Module, found: list[Tensor]) -> Iterator[None]:
    """Append what goes into `module`: the tests' own hook."""

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
