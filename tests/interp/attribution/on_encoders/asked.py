"""Tasks for encoders and classifiers, and their metric and patches done by hand on the plain model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from interp.model.model import HookedModel
from interp.parts.nodes import Node
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.model.encoders.models import AROUND, hooked, plainly
from tests.interp.model.encoders.places import parts
from tests.interp.parts.masks import PIECES, wordpiece

_MASKS = (
    Pair("the [MASK] sat on a mat .", "a [MASK] ran on the mat .", "cat", "dog"),
    Pair("the cat was [MASK] on a mat", "a dog was [MASK] the mat .", "good", ("bad", "film")),
)
_CLASSES = (
    Pair("the film was good on the mat", "the film was bad on a mat", (), answer_ids=2, wrong_ids=0),
    Pair("a good cat sat on the mat", "a bad cat ran on the mat", (), answer_ids=1, wrong_ids=(0, 2)),
)


@dataclass(frozen=True, eq=False)
class Asked:
    """A model with its task, both pairs of one length."""

    name: str
    model: HookedModel
    task: Task

    @property
    def pairs(self) -> list[TokenPair]:
        return self.task.tokenize(self.model.tokenizer, self.model.outputs)

    def metric(self, ids: tuple[int, ...], pair: TokenPair) -> Tensor:
        """Mean logit of the answers minus that of the wrong ones, at the mask or of the classes; called by hand."""
        own = self.logits(ids)
        value: Tensor = own[list(pair.answers)].mean() - own[list(pair.wrong)].mean()
        return value

    def logits(self, ids: tuple[int, ...]) -> Tensor:
        """Those at the mask, or of the classes [output]."""
        hf: Any = self.model.hf
        logits: Tensor = hf(input_ids=torch.tensor([ids]), **plainly(hf)).logits[0]
        return logits[ids.index(PIECES["[MASK]"])] if logits.ndim == 2 else logits

    def place(self, node: Node) -> tuple[nn.Module, bool]:
        """The module that a node is at, and whether it is its output."""
        own = parts(self.name, self.model.hf, node.layer or 0)
        return {
            "embed": (own.block, False),
            "resid_pre": (own.block, False),
            "resid_post": (own.block, True),
            "resid_mid": (own.first, True) if self.name in AROUND else (own.second, False),
            "head": (own.o, False),
            "neuron": (own.down, False),
            "attn_out": (own.o, True),
            "mlp": (own.down, True),
        }[node.kind]

    def value(self, node: Node, ids: tuple[int, ...]) -> Tensor:
        """What is there on a prompt."""
        found: list[Tensor] = []

        def keep(x: Tensor) -> Tensor:
            found.append(x.detach().clone())
            return x

        with torch.no_grad(), seen(*self.place(node), keep):
            self.model.hf(input_ids=torch.tensor([ids]), **plainly(self.model.hf))
        return found[0]

    def own(self, node: Node, x: Tensor) -> Tensor:
        """The part of a tensor [batch pos width] that is the node's own, at its position or all: a view."""
        at = slice(None) if node.position is None else slice(int(node.position), int(node.position) + 1)
        x = x[:, at]
        if node.kind == "head":
            return x.unflatten(-1, (self.model.layout.n_heads, -1))[:, :, node.unit]
        return x[:, :, node.unit] if node.kind == "neuron" else x


@contextmanager
def seen(module: nn.Module, output: bool, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put `function` of a module's input or output in its place."""

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (function(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": function(kwargs["hidden_states"])}

    def after(_: nn.Module, args: Any, result: Any) -> Any:
        return (function(result[0]), *result[1:]) if isinstance(result, tuple) else function(result)

    hook = module.register_forward_hook(after) if output else module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@cache
def asked(name: str) -> Asked:
    """A model and its task, made once."""
    pairs = _MASKS if name.endswith(("-mlm", "-around", "-before")) else _CLASSES
    return Asked(name, hooked(name, wordpiece()), Task(name, pairs))
