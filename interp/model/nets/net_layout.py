"""The layout of a net without blocks, and what its modules compute, from one watched forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from interp.errors import LayoutError, LoadError, some
from interp.model.coverage.operations import Operations, recognise
from interp.model.layers.graph_readers import Readers, shares
from interp.model.layers.layer_kinds import (
    BATCH_NORMS,
    CHANNELS_FIRST,
    Layer,
    has_weights,
    is_batch_norm,
    is_transposed,
)
from interp.model.layers.recurrent_rules import is_recurrent, recurrent
from interp.model.modules.lock import reserved
from interp.model.modules.repeats import check_examples
from interp.model.modules.tensors import activation_in
from interp.model.modules.undo import Change
from interp.model.nets.net_places import n_positions
from interp.model.probing.block_calls import passes
from interp.model.probing.probe import Probe, probe
from interp.model.probing.sample import run_probe
from interp.parts.layout import Layout
from interp.parts.outputs import Output, default_output
from interp.rules.nonlinear import Nonlinear


@dataclass(frozen=True)
class NetProbe:
    """What one watched forward tells of a net. `shapes`: what each module that is called once returns, without the batch; `missing`: why the
    others are no sites; `nodes`: the innermost of the first that change what they read."""

    layout: Layout
    operations: Operations
    shapes: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, str]
    nodes: tuple[str, ...]


def read_net(model: nn.Module, output: Any, given: Mapping[str, Tensor], embedding: str) -> NetProbe:
    """The layout of a net and its operations, on one example `given`. output: what of a forward is read, an `Output` or a function of the
    result; embedding: the module behind which torch's graph starts, where the input is whole numbers.

    Raises: LoadError for a net that gives other numbers in each run, or for an example beside others, as a BatchNorm in training does; LayoutError
    for a net that does not run, or whose output is no numbers [batch output].
    """
    _check_batch_norms(model)
    bent: list[Any] = []
    own = as_output(output)
    watched = replace(own, take=partial(_watched, own.take, bent))
    inplace = frozenset(path for path, module in model.named_modules() if getattr(module, "inplace", False) is True)
    _check_copies(model, inplace, own, given)
    with _not_in_place(model), _entering(model) as entered:
        seen = probe(model, ("",), False, watched, given, behind=embedding)
        x = None if embedding else entered[0]
        layout = _layout(model, replace(own, linear=not bent), seen, given, x, embedding)
        operations = replace(_with_layers(model, recognise(model, layout, seen), seen, x), inplace=inplace)
    check_examples(model, lambda: run_probe(model, own, given=given)[0], own, given, seen.output)
    made = {path: call.y for path, call in seen.calls.items()} | seen.embedded
    once = [path for path, _ in model.named_modules() if path in made and path and seen.counts[path] == 1]
    shapes = {path: tuple(made[path].shape[1:]) for path in once}
    return NetProbe(layout, operations, shapes, _missing(model, seen), _nodes(seen, once, x))


# ---------------------------------------------------------------- what comes out


def as_output(given: Any) -> Output:
    """What of a forward is read: an `Output`, a function of its result, or, of None, the result itself."""
    if isinstance(given, Output):
        return given
    if given is not None and not callable(given):
        raise LoadError(f"output={given!r:.80}: expected a function of what forward returns, or an interp.Output.")
    name = "output" if given is None else getattr(given, "__name__", "output").strip("<>")
    return Output(name, partial(_result if given is None else _called, given))


def _called(function: Callable[[Any], Tensor], result: Any, inputs: Mapping[str, Any]) -> Tensor:
    return function(result)


def _result(nothing: None, result: Any, inputs: Mapping[str, Any]) -> Tensor:
    """The result itself; of several things the one that `default_output` knows. Raises: LayoutError."""
    if isinstance(result, Tensor):
        return result
    try:
        return default_output(result, "the net").take(result, inputs)
    except LayoutError as error:
        raise LayoutError(
            f"{error} Or give output=, a function that makes [batch output] of it: output=lambda result: result[{_key(result)}]."
        ) from error


def _key(result: Any) -> str:
    """How a part of a result may be asked for, in an example."""
    return repr(next(iter(result), "")) if isinstance(result, Mapping) else "0"


def _watched(take: Any, bent: list[Any], result: Any, inputs: Mapping[str, Any]) -> Tensor:
    """What is read of a result; `bent` gets what is not linear in that."""
    with Nonlinear(lambda: "") as watch:
        found: Tensor = take(result, inputs)
    bent.extend(watch.found)
    return found


# ---------------------------------------------------------------- the layout


def _layout(
    model: nn.Module, output: Output, seen: Probe, given: Mapping[str, Tensor], entered: Tensor | None, embedding: str
) -> Layout:
    """A layout without blocks: how the input is read, and what comes out."""
    x = next(iter(given.values()))
    entry = "stream" if entered is None else _entry(model, seen, entered)
    channels = (seen.embedded[embedding] if entered is None else entered).shape
    width = 1 if len(channels) == 2 else channels[1] if entry == "channels" else channels[-1]
    made = sum(call.y.numel() for path, call in seen.calls.items() if not any(model.get_submodule(path).children()))
    return Layout(
        **_NO_BLOCKS,
        d_model=int(width),
        d_vocab=seen.output.shape[-1],
        output=output,
        readout="whole" if seen.output.shape[1] == 1 else "each",
        repeated=frozenset(path for path, n in seen.counts.items() if n > 1),
        entry=entry,
        held=-(-made // n_positions(x.shape[1:], entry, bool(embedding))),
        embedding=embedding,
    )


#: What a layout says of blocks and of what is behind them, where there are none.
_NO_BLOCKS: Final[dict[str, Any]] = {
    **dict.fromkeys(("n_layers", "n_heads", "n_kv_heads", "d_head"), 0),
    **dict.fromkeys(("d_mlp", "ln_final", "unembed", "pos_embed", "logits_softcap")),
    **dict.fromkeys(("causal", "linear", "rotary", "attention_function"), False),
    **dict.fromkeys(("blocks", "head", "attention_extras"), ()),
    "logits_scale": 1.0,
    "pattern": "",
}


def _entry(model: nn.Module, seen: Probe, x: Tensor) -> Literal["stream", "channels"]:
    """How the input is read: three axes are [batch channel place] to a convolution, [batch step number] to anything else."""
    if x.ndim != 3:
        return "channels"
    first = (model.get_submodule(path) for path, call in seen.calls.items() if path and shares(call.x, x))
    return "channels" if any(isinstance(module, CHANNELS_FIRST) for module in first) else "stream"


# ---------------------------------------------------------------- the modules


def _with_layers(model: nn.Module, found: Operations, seen: Probe, x: Tensor | None) -> Operations:
    """The operations with what rules of linear layers ask: which BatchNorm belongs to which layer, and which layers read the input."""
    readers = Readers(seen.output)
    layers = {
        path: Layer(not isinstance(model.get_submodule(path), nn.Linear))
        for path in found.linear
        if has_weights(model.get_submodule(path))
    }
    for path in layers:
        folded = next((norm for norm in found.linear if _folds(model, seen, readers, path, norm)), None)
        layers[path] = replace(layers[path], folded=folded)
    for path in () if x is None else _first(x, seen, readers, layers):
        layers[path] = replace(layers[path], first=True)
    modules = dict(model.named_modules())
    steps = {path: recurrent(modules[path]) for path in found.unknown if is_recurrent(modules[path])}
    return replace(
        found,
        unknown={path: name for path, name in found.unknown.items() if path not in steps},
        recurrent=steps,
        layers=layers,
        transposed=frozenset(path for path in found.linear if is_transposed(modules[path])),
    )


def _folds(model: nn.Module, seen: Probe, readers: Readers, path: str, norm: str) -> bool:
    """Whether `norm` is a BatchNorm that alone reads what the layer at `path` makes, both called once."""
    once = seen.counts[path] == seen.counts[norm] == 1
    return (
        once
        and is_batch_norm(model.get_submodule(norm))
        and readers.alone(seen.calls[path].made, seen.calls[norm].read)
    )


def _first(x: Tensor, seen: Probe, readers: Readers, layers: Mapping[str, Layer]) -> list[str]:
    """The layers that read the input as it is, where nothing else reads it."""
    found = [path for path in layers if shares(seen.calls[path].x, x)]
    once = all(seen.counts[path] == 1 for path in found)
    return found if once and len(list(readers.behind(x.grad_fn))) == len(found) else []


def _nodes(seen: Probe, once: Sequence[str], x: Tensor | None) -> tuple[str, ...]:
    """The innermost modules that are called once and give something else than they read, in order."""
    called, found = set(seen.calls), []
    for path in (path for path in seen.calls if path in once):
        call = seen.calls[path]
        inner = any(other.startswith(f"{path}.") for other in called)
        same = passes(call) or (x is not None and shares(call.y, x))
        if not inner and not same and not call.constant and len(call.y) == 1 and call.y.ndim > 1:
            found.append(path)
    return tuple(found)


def _missing(model: nn.Module, seen: Probe) -> dict[str, str]:
    """Why modules are no sites on such an input."""
    found = {}
    for path, _ in model.named_modules():
        n = seen.counts[path]
        if path and (n != 1 or (path not in seen.calls and path not in seen.embedded)):
            found[path] = (
                f"it is called {n} times in a forward pass, so there is no one value there."
                if n > 1
                else "it is not called in a forward pass."
                if not n
                else "it reads or returns no floating-point tensor."
            )
    return found


def _check_batch_norms(model: nn.Module) -> None:
    """Raises: LoadError where what comes out for one example depends on the others."""
    odd = [
        path
        for path, m in model.named_modules()
        if isinstance(m, BATCH_NORMS) and (m.training or m.running_mean is None)
    ]
    if odd:
        raise LoadError(
            f"{some(odd)}: a BatchNorm that takes its statistics from the batch (in training mode, or without running ones), so an example's output "
            "depends on the others: call net.eval(), or give it running statistics."
        )


@contextmanager
def _entering(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list of what the net is called with meanwhile: the first floating-point tensor, as torch's graph has it."""
    found: list[Tensor] = []

    def entered(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        with suppress(TypeError):
            found.append(activation_in(args, kwargs))

    handle = model.register_forward_hook(entered, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def _not_in_place(model: nn.Module) -> Iterator[None]:
    """Meanwhile modules that write into what they read give new tensors."""
    writing: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False) is True]

    def again() -> None:
        for module in writing:
            module.inplace = True

    with reserved(model):
        change = Change(model, again)
        try:
            for module in writing:
                module.inplace = False
            yield
        finally:
            change.end()


def _check_copies(model: nn.Module, inplace: frozenset[str], output: Output, given: Mapping[str, Tensor]) -> None:
    """Modules that write into what they read get copies in runs. Raises: LayoutError where something else reads what they wrote, tried on the
    example and on the same with the other sign."""
    for sign in (1, -1) if inplace else ():
        tried = [
            {name: sign * x if x.is_floating_point() else x.clone() for name, x in given.items()} for _ in range(2)
        ]
        plain = run_probe(model, output, given=tried[0])[0]
        with _not_in_place(model):
            copied = run_probe(model, output, given=tried[1])[0]
        if not torch.equal(plain, copied):
            raise LayoutError(
                f"{some(sorted(inplace))}: it writes into what it reads, and something else reads that later, so no run could read before it. "
                "Set its inplace to False, where the net is meant so."
            )
