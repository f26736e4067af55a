"""What level `edges` takes for granted of a model, seen on a few tokens, an image or a sound: an error names the module that does otherwise.

Norms and projections are computed apart from their modules, and the stream is taken to be the sum of what writers write. A hook
that changes what a module gives, or a term in the stream that is no writer's, would make every number wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.projections import Projections
from interp.attribution.edges.writers import EMBED, Writers, final_site
from interp.errors import LayoutError
from interp.model.modules import attention
from interp.model.modules.linear import vocabulary_size
from interp.model.modules.tensors import activation_in, activation_out, close
from interp.model.probing.sample import probe_length
from interp.precision import wide


def check_model(writers: Writers, projections: Mapping[int, Projections], untouched: bool) -> None:
    """Raises: LayoutError naming a norm or a projection that gives something else than its own forward, which no module of an
    `untouched` model does, or where what the writers write is not all that is in the stream."""
    model, calls, paths = writers.model, dict[str, tuple[Tensor, Tensor]](), set[str]()
    if not untouched:
        blocks = model.layout.blocks
        paths = {p for block in blocks for p in (*block.fronts, block.attn.o if block.heads else "") if p}
        paths |= {path for found in projections.values() for path in found.paths}
    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(attention.selected(model.hf, None))
        for path in paths:
            module = model.hf.get_submodule(path)
            stack.callback(module.register_forward_hook(_record(calls, path), with_kwargs=True).remove)
        given = _tokens(model.hf) if model.takes_text else model.probed
        final = final_site(model.layout)
        run = model.run(given, reads=[*writers.sites, final], vocabulary=torch.zeros(1, dtype=torch.long))
        for path, (x, y) in calls.items():
            module = model.hf.get_submodule(path)
            alone = module.forward(x)
            if not close(alone, y):
                raise LayoutError(
                    f"{path} gives something else than its own forward: a hook of yours? Edges compute norms and projections "
                    "apart from their modules; remove the hook."
                )
        _check_sum(writers, run, run.reads[final])


def _tokens(hf: Any) -> Tensor:
    """A few different ids [1 pos]."""
    return torch.arange(1, 1 + probe_length(hf))[None] % vocabulary_size(hf)


def _record(calls: dict[str, tuple[Tensor, Tensor]], path: str) -> Callable[..., None]:
    def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        calls.setdefault(path, (activation_in(args, kwargs).clone(), activation_out(output).clone()))

    return hook


def _check_sum(writers: Writers, run: Any, final: Tensor) -> None:
    """The final stream is embedding + heads + what biases add + MLPs."""
    values = writers.seen(run.reads)
    total = values[EMBED].clone()
    for step in writers.graph.steps:
        total += writers.total(step, values)
        rest = writers.rest(step.layer, wide(run.reads[step.site])) if step.kind == "head" else None
        total += 0 if rest is None else rest
    if not close(total.to(model_dtype := run.reads[EMBED].dtype), final.to(model_dtype)):
        raise LayoutError(
            "the residual stream is not the sum of what embedding, heads and MLPs write: a hook of yours, or an architecture "
            "that adds something else. Edges would miss it; level 'heads' works."
        )
