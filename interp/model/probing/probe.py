"""One short forward of the model itself, watched: the evidence for its layout and for its coverage by rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError
from interp.model.modules import attention
from interp.model.modules.linear import embedding_device, vocabulary_size
from interp.model.modules.lock import frozen, no_inference_tensors
from interp.model.modules.tensors import activation_in, activation_out, with_activation
from interp.parts.layout import ModelPaths
from interp.rules.nonlinear import Nonlinear, Operation

PROBE_LENGTH = 4


@dataclass
class Call:
    """The first call of a module during the probe.

    `x`, `y` are the live tensors (identity tells what feeds what); `x_value`, `y_value` their values at that moment.
    `constant`: the result does not depend on the embedding (rotary tables, masks). `written`: it wrote into `x` meanwhile.
    """

    x: Tensor
    y: Tensor
    x_value: Tensor
    y_value: Tensor
    constant: bool
    written: bool


@dataclass(frozen=True)
class Place:
    """Where an operation was: the innermost module at that moment, and whether the attention function called it."""

    path: str
    function: bool


@dataclass(frozen=True)
class Probe:
    """What the probe saw: calls by module path, the logits, per layer the query and K/V heads that reached the attention
    function, none where attention goes another way, and every operation that is not linear in the first block's input."""

    calls: dict[str, Call]
    logits: Tensor
    heads: tuple[tuple[int, int], ...]
    operations: tuple[Operation, ...] = ()


def probe(model: nn.Module, paths: ModelPaths) -> Probe:
    """Run `PROBE_LENGTH` tokens through the model and record every module's first call with a floating-point result.

    Raises: LayoutError for a model that cannot run on token ids alone.
    """
    calls: dict[str, Call] = {}
    heads: list[tuple[int, int]] = []
    inside: list[Place] = [Place("", False)]
    versions: dict[str, int] = {}

    def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        heads.append((q.shape[1], k.shape[1]))
        inside.append(Place(inside[-1].path, True))
        try:
            return native(q, k, v)
        finally:
            inside.pop()

    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        if routes_attention(model):
            stack.enter_context(attention.selected(model, around))
        first = model.get_submodule(paths.blocks[0].block)
        stack.callback(first.register_forward_pre_hook(_leaf, with_kwargs=True).remove)
        for path, module in model.named_modules():
            before, behind = _entering(path, inside, versions), _recorder(path, calls, inside, versions)
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(behind, with_kwargs=True).remove)
        watch = stack.enter_context(Nonlinear(lambda: inside[-1]))
        logits = _logits(model)
    layers = len(paths.blocks)
    if heads and len(heads) != layers:
        raise LayoutError(
            f"{type(model).__name__}: attention ran {len(heads)} times in {layers} layers; expected once each."
        )
    return Probe(calls, logits.detach(), tuple(heads), tuple(watch.found))


def _logits(model: nn.Module) -> Tensor:
    """The logits of the probe's tokens, with their graph. Raises: LayoutError where the model gives none, whatever its reason."""
    ids, name = probe_tokens(model), type(model).__name__
    try:
        with torch.enable_grad(), no_inference_tensors():
            logits = getattr(model(input_ids=ids, use_cache=False), "logits", None)
    except (InterpError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{name}: a forward pass on {ids.shape[1]} token ids fails ({type(error).__name__}: {reason:.300}); expected a "
            "decoder that needs nothing but token ids, with a configuration that fits its weights."
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != ids.shape:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LayoutError(f"{name}: logits {found} for token ids {tuple(ids.shape)}; expected [batch pos d_vocab].")
    return logits


def routes_attention(model: nn.Module) -> bool:
    """Whether the model's attention goes through transformers' AttentionInterface."""
    can_set: Callable[[], bool] = getattr(model, "_can_set_attn_implementation", lambda: False)
    return bool(can_set())


def setting(model: Any, name: str, default: Any = None) -> Any:
    """A value of the configuration, or of the part of it that is about text; `default` where neither has it (or None)."""
    own = getattr(model.config, name, None)
    if own is None and getattr(model.config, "text_config", None) is not None:
        own = getattr(model.config.text_config, name, None)
    return default if own is None else own


def probe_length(model: Any) -> int:
    """How many tokens a probe runs: a few, within the model's context."""
    limit = setting(model, "max_position_embeddings")
    return min(PROBE_LENGTH, limit) if isinstance(limit, int) and limit > 0 else PROBE_LENGTH


def probe_tokens(model: Any) -> Tensor:
    """Ids spread over the vocabulary, distinct where it is large enough: a batch of one."""
    most = vocabulary_size(model) - 1
    ids = torch.linspace(min(1, most), max(0, most - 1), probe_length(model), dtype=torch.float32).long()
    return ids[None].to(embedding_device(model))


def _leaf(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Start the graph at the first block's input, which the block may write into."""
    return with_activation(args, kwargs, activation_in(args, kwargs).detach().requires_grad_().clone())


def _entering(path: str, inside: list[Place], versions: dict[str, int]) -> Callable[..., None]:
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        inside.append(Place(path, False))
        with suppress(TypeError):
            versions[path] = activation_in(args, kwargs)._version

    return enter


def _recorder(path: str, calls: dict[str, Call], inside: list[Place], versions: dict[str, int]) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        while len(inside) > 1 and inside.pop().path != path:
            pass  # modules that raised what their caller caught
        try:
            x, y = activation_in(args, kwargs), activation_out(output)
        except TypeError:
            return
        if path not in calls:
            written = x._version != versions[path]
            calls[path] = Call(x, y, x.detach().clone(), y.detach().clone(), not y.requires_grad, written)

    return record
