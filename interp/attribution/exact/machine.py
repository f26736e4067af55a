"""Whether and how a model can be restarted in the middle: found on a few tokens, and checked there against the run itself."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.attribution.exact.arguments import Size, find_axes
from interp.attribution.exact.counts import Counts
from interp.attribution.exact.engine import Machine, Replay
from interp.attribution.exact.modules import LayerModules
from interp.attribution.exact.readout import Readout
from interp.attribution.exact.recording import LayerRecord, Recording, record
from interp.attribution.exact.segments import Segment
from interp.errors import InterpError, LayoutError
from interp.model.modules import attention
from interp.model.modules.linear import input_embedding, linear, vocabulary_size
from interp.model.modules.lock import reserved
from interp.model.modules.tensors import close
from interp.parts.named_inputs import Inputs
from interp.parts.tokens import Tokens

_LONGEST: Final = 7
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class Restart:
    """How a model is restarted: with `machine`; or not at all because of `reason`, where its blocks may stand in for themselves (`resumes`), so
    that a patch runs those alone that it can reach."""

    machine: Machine | None
    reason: str = ""
    resumes: bool = False

    def __str__(self) -> str:
        if self.machine is None:
            what = "forwards through the blocks that a patch reaches" if self.resumes else "whole forwards"
            return f"{what}: {self.reason}"
        return "replay of layers at all positions" if self.machine.whole else "replay"


def find_restart(model: Any) -> Restart:
    """How `model` can be restarted now. Never raises for a model that cannot be: whatever fails is the reason.

    It is tried on a few tokens once, and again when a module or the dtype is another one; hooks are looked for each time.

    Other people's hooks may act on rows that a replay does not compute or on modules that it does not call, so a model with
    any runs whole forwards; those on its embedding alone come before all layers, and count.
    """
    try:
        with reserved(model.hf), torch.no_grad():
            _check_modules(model)
            if model.layout.others:
                return Restart(None, "the model has several stacks.", resumes=True)
            if model.outcome is not None and not model.outcome.streams:
                return Restart(None, "the metric reads inside of layers.", resumes=model.layout.entry is None)
            built = (model.dtype, *map(id, model.hf.modules()))
            if model.restart is None or model.restart[0] != built:
                machine, seen = _machine(model)
                _check(machine, seen)
                model.restart = built, machine
    except torch.OutOfMemoryError:
        raise
    except (InterpError, TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        known = isinstance(error, InterpError)
        return Restart(None, said if known else f"a part of it fails when it is called apart ({type(error).__name__}).")
    return Restart(model.restart[1])


def _check_modules(model: Any) -> None:
    """Raises: LayoutError naming a module that somebody changed, or a projection that is not its weights."""
    if any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS):
        raise LayoutError("a hook is on all modules.")
    first = input_embedding(model.hf)
    for path, module in model.hf.named_modules():
        where = path or type(module).__name__
        if module is not first and any(getattr(module, hooks) for hooks in _HOOKS):
            raise LayoutError(f"a hook is on {where}.")
        if "forward" in vars(module) and not hasattr(module, "_hf_hook"):  # accelerate's moves between devices, no more
            raise LayoutError(f"the forward of {where} was replaced.")
    for own in model.layout.blocks:
        for path in (*(attn.o for attn in own.attentions if attn.heads), *(mlp.down for mlp in own.mlps if mlp.act)):
            if path:
                _check_projection(model, path)


def _check_projection(model: Any, path: str) -> None:
    """Changes are sent through these projections by their weights; a class of another library is tried on two rows."""
    from transformers.pytorch_utils import Conv1D

    (W, bias), module = linear(model, path), model.hf.get_submodule(path)
    known = type(module).forward in (nn.Linear.forward, Conv1D.forward)
    if W.is_meta or not W.is_floating_point():
        raise LayoutError(f"{path} does not hold its weights as numbers.")
    x = torch.linspace(-1, 1, 2 * W.shape[0], device=W.device).view(1, 2, -1).to(W.dtype)
    if not known and not close(module(x), x @ W + (0 if bias is None else bias)):
        raise LayoutError(f"{path} is no plain linear map.")


def _machine(model: Any) -> tuple[Machine, Recording]:
    known = (model.layout.linear and model.layout.readout == "each") or model.layout.head or model.outcome is not None
    if not known:
        raise LayoutError("what is behind its last block is not one module after the other.")
    modules = tuple(LayerModules.of(model, layer) for layer in range(model.layout.n_layers))
    small, large = _sizes(model)
    seen = record(model, modules, _given(model, *small), logits=model.outcome is None)
    for layer, (own, found) in enumerate(zip(modules, seen.layers, strict=True)):
        if not len(found.x) or len(found.attn_raw) < own.attends or len(found.mlp_raw) < own.computes:
            raise LayoutError(f"layer {layer}: a module of its layout was not called.")
    larger = record(model, modules, _given(model, *large))
    pairs = zip(seen.layers, larger.layers, strict=True)
    axes = tuple(tuple(find_axes(a.call, b.call, (small, large))) for a, b in pairs)
    whole = any(own.attends and found.native is None for own, found in zip(modules, seen.layers, strict=True))
    return Machine(model, modules, axes, whole, not whole and seen.causal), seen


def _sizes(model: Any) -> tuple[Size, Size]:
    """Two sizes (examples, positions) for `find_axes` that fit the model's context; of what is no text all have as many positions."""
    if not model.takes_text:
        n = model.n_positions(_examples(model, 1))
        return (2, n), (3, n)
    limit = getattr(model.hf.config, "max_position_embeddings", None)
    long = min(_LONGEST, limit) if isinstance(limit, int) else _LONGEST
    if long < 4:
        raise LayoutError(f"a context of {limit} tokens is too short to try a restart.")
    return (2, min(5, long - 1)), (3, long)


def _given(model: Any, batch: int, length: int) -> Tokens | Inputs:
    """What is run to try a restart."""
    return _tokens(model, batch, length) if model.takes_text else _examples(model, batch)


def _examples(model: Any, batch: int) -> Inputs:
    """Different inputs that are no text, of the size that the probe of a model has."""
    ((main, x),) = model.probed.items()
    return Inputs({main: torch.cat([x.roll(7 * i, -1) for i in range(batch)])}, main)


def _tokens(model: Any, batch: int, length: int) -> Tokens:
    """Different prompts, the first one token shorter and padded on the right, so that masks and position ids belong to prompts."""
    n = vocabulary_size(model.hf)
    ids = (torch.arange(batch * length).view(batch, length) * 7 + 1) % n
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, -1] = False
    return Tokens(ids, mask)


def _check(machine: Machine, seen: Recording) -> None:
    """Redo each layer of the recorded run for two copies with one position given anew; it must come out as it was, and so must the logits.

    Raises: LayoutError naming the layer and the part that does not.
    """
    hf, routed = machine.model.hf, machine.model.layout.attention_function
    with attention.selected(hf, None) if routed else nullcontext():
        for layer, record_ in enumerate(seen.layers):
            _same(
                _leaving(machine, record_, layer), seen.stream(layer + 1), layer, "it is not stream + attention + MLP"
            )
            start = 2 if not machine.whole and seen.causal else 0
            _check_layer(machine, seen, layer, Segment(2, start, start + 1))
    if machine.model.outcome is not None:
        return
    logits = Readout(machine.model, None).logits(seen.final, Counts())
    if seen.logits is None or not close(logits, seen.logits):
        raise LayoutError("something besides the final norm and the unembedding makes the logits.")


def check_recorded(machine: Machine, seen: Recording) -> None:
    """Look at the last position of each prompt of a recorded run whether every layer is there the sum that it was when a restart was tried.

    Raises: LayoutError naming the layer that is another one, as one that does something else at other lengths or numbers.
    """
    for layer, record_ in enumerate(seen.layers):
        if not close(_leaving(machine, record_, layer, slice(-1, None)), seen.stream(layer + 1)[:, -1:]):
            raise LayoutError(
                f"layer {layer}: on prompts of {seen.length} positions it is not stream + attention + MLP, as it was on the few that a restart was tried "
                "on, so what follows of a patch is not known. Patch by whole forwards: model.run(..., edits=[interp.patch(...)])."
            )


def _leaving(machine: Machine, record_: LayerRecord, layer: int, at: slice = slice(None)) -> Tensor:
    """What leaves a layer of a recorded run by the sum of its parts, at some positions [batch pos d_model]."""
    own, x = machine.modules[layer], record_.x[:, at]
    x = own.between(x, own.attn_added(record_.attn_raw[:, at])) if own.attends else x
    return own.leaving(x, own.mlp_added(record_.mlp_raw[:, at])) if own.computes else x


def _check_layer(machine: Machine, seen: Recording, layer: int, own: Segment) -> None:
    """One layer redone for two copies of every example at the positions of `own`."""
    replay = Replay(machine, seen, 0)
    x = seen.layers[layer].x[:, own.start : own.stop]
    rows, (after,) = replay.through(layer, x.repeat(2, 1, 1).flatten(0, 1), [own])
    expected = seen.stream(layer + 1)[:, after.start :].repeat(2, 1, 1).flatten(0, 1)
    _same(rows, expected, layer, "attention or MLP do something else when they are called apart")


def _same(found: Tensor, expected: Tensor, layer: int, what: str) -> None:
    if not close(found, expected):
        raise LayoutError(f"layer {layer}: {what}.")
