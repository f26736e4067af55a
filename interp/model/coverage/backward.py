"""Whether gradients go through every module: one that detaches what it reads, or has no backward pass, scores all before it 0.

Modules of torch and of transformers' architectures are known. Every other one, and one that somebody's hook or another
forward acts on, is run on a few tokens and its gradient compared with differences of its own outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import MethodError, some
from interp.model.modules import attention
from interp.model.modules.calling import only_records
from interp.model.modules.lock import frozen, reserved, settled
from interp.model.modules.tensors import activation_in, activation_out, with_activation
from interp.model.probing.sample import run_probe
from interp.rules.nonlinear import tensors_in

_KNOWN: Final = ("torch.nn.modules.", "transformers.models.", "transformers.pytorch_utils", "transformers.activations")
_OURS: Final = "interp."
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
#: Sizes of the step beside the input's own. A small one serves curved modules and those that choose experts, a large one those that round.
_STEPS: Final = (0.001, 0.01, 0.1, 1.0)
_TOLERANCE: Final = 0.05

Suspects = tuple[tuple[str, int], ...]


def suspects(hf: nn.Module) -> Suspects:
    """Path and identity of every module that is not known to let gradients through."""
    return tuple((path, id(module)) for path, module in hf.named_modules() if not _is_known(module))


def untouched(hf: nn.Module) -> tuple[Any, ...] | None:
    """What tells whether a model is the one that it was: its dtype and modules, where none of these is a suspect and no hook is on all
    of them, so that each gives what its class's own forward does; None for any other model."""
    everywhere = any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS)
    return None if everywhere or suspects(hf) else (hf.dtype, *((id(m), type(m)) for m in hf.modules()))


def _is_known(module: nn.Module) -> bool:
    """Whether the module is of a known class, with its own forward, nobody's hooks, and weights that are plain numbers."""
    kind = type(module)
    written = (kind.__module__, str(getattr(kind.forward, "__module__", "")))  # a library may patch the class
    if not all(place.startswith((*_KNOWN, _OURS)) for place in written) or "forward" in vars(module):
        return False
    if any(not only_records(hook) for hooks in _HOOKS for hook in getattr(module, hooks).values()):
        return False
    return all(p is None or (type(p) is nn.Parameter and p.element_size() > 1) for p in module._parameters.values())


def check_gradients(model: Any, found: Suspects) -> None:
    """Run the modules `found`. Raises: MethodError naming those that no gradient, or a part of it only, goes through."""
    cut = _cut(model, [path for path, _ in found])
    if cut:
        named = [f"{path or 'the model'} ({type(model.hf.get_submodule(path)).__name__})" for path in cut]
        raise MethodError(
            f"no gradient, or not all of it, goes through {some(named)}: a quantised module without a backward pass, or one "
            "that detaches what it reads, or writes in place over what its gradient needs. Methods of gradients would score too little, or 0, before it. Use method 'exact', "
            "or give the model before it was quantised."
        )


def _cut(model: Any, paths: Sequence[str]) -> list[str]:
    """Of the modules at `paths` and the blocks, the innermost that gradients do not go through."""
    hf, layout, cut = model.hf, model.layout, set[str]()
    with ExitStack() as stack:
        stack.enter_context(reserved(hf))
        stack.enter_context(settled(model.device))
        stack.enter_context(frozen(hf))
        stack.enter_context(attention.selected(hf, None) if layout.attention_function else nullcontext())
        if layout.embedding:
            stack.callback(hf.get_submodule(layout.embedding).register_forward_hook(_begin_behind).remove)
        for path in () if layout.embedding else [own.blocks[0].path if own.blocks else "" for own in layout.stacks]:
            first = hf.get_submodule(path)
            stack.callback(first.register_forward_pre_hook(_begin, with_kwargs=True).remove)
        for path in paths:
            hook = _tried(path, cut, _made if path else layout.output)
            stack.callback(hf.get_submodule(path).register_forward_hook(hook, with_kwargs=True).remove)
        for path in (block.path for own in layout.stacks for block in own.blocks[1:]):
            hook = _reached(path, cut)
            stack.callback(hf.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True).remove)
        with torch.enable_grad():
            if not run_probe(hf, layout.output, given=model.probed)[0].requires_grad:
                cut.add("")
    inner = [path for path in cut if not any(_inside(other, path) for other in cut)]
    return sorted(inner, key=[path for path, _ in hf.named_modules()].index)


def _inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _begin(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Start the graph at the first block's input, unless the block is being tried and has one already."""
    x = activation_in(args, kwargs)
    return None if x.requires_grad else with_activation(args, kwargs, x.detach().requires_grad_())


def _begin_behind(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Start the graph at what an embedding returns."""
    return output if output.requires_grad else output.detach().requires_grad_()


def _reached(path: str, cut: set[str]) -> Callable[..., None]:
    """A block whose input has lost its gradient on the way: the model between the blocks detaches it."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        if not activation_in(args, kwargs).requires_grad:
            cut.add(path)

    return hook


def _made(result: Any, inputs: Any) -> Tensor | None:
    """What gradients are tried at of a module's result: the activation, or of things by name all numbers; None where there are none."""
    with suppress(TypeError):
        return activation_out(result)
    numbers = [x.flatten() for x in tensors_in([result]) if x.is_floating_point()]
    return torch.cat(numbers) if numbers else None


def _tried(path: str, cut: set[str], made: Callable[[Any, Any], Tensor | None]) -> Callable[..., None]:
    """Behind a module's call: try its gradient, once, on what it was called with. made: what is tried of its result, beside its arguments."""
    seen: list[bool] = []

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if seen:
            return
        seen.append(True)
        each_once = {id(x): x for x in tensors_in((args, kwargs))}.values()
        leaves = [x for x in each_once if x.is_floating_point() and x.requires_grad]
        if leaves and made(output, kwargs) is not None and not _passes(module, args, kwargs, leaves, made):
            cut.add(path)

    return hook


def _passes(module: nn.Module, args: Any, kwargs: Any, inputs: Sequence[Tensor], made: Callable[..., Any]) -> bool:
    """Whether the gradient at `inputs` is that of the differences, for a step of some size: at random, and along the inputs
    themselves, where alone the scale of a norm changes. A module whose output depends on none of them passes: there is nothing
    that a gradient could say."""
    values = [x.detach() for x in inputs]
    generator = torch.Generator().manual_seed(0)
    ways = [x + torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x) * _size(x) for x in values]

    def called(step: float) -> tuple[Tensor, list[Tensor]]:
        leaves = [(x + step * way).requires_grad_() for x, way in zip(values, ways, strict=True)]
        given = [leaf.clone() for leaf in leaves] if torch.is_grad_enabled() else leaves  # it may write into them
        new = {id(old): x for old, x in zip(inputs, given, strict=True)}
        return made(module(*_with(args, new), **_with(kwargs, new)), kwargs), leaves

    found = [_agrees(called, ways, step) for step in _STEPS]
    return True in found or False not in found


def _agrees(called: Callable[[float], tuple[Tensor, list[Tensor]]], ways: Sequence[Tensor], step: float) -> bool | None:
    """<v, J way> by the backward pass against <v, u>, where u = J way by central differences, and v is u and the output itself in
    equal parts. None where nothing changes: the step may be too small for a module that rounds."""
    with torch.no_grad():
        ahead, behind = (called(sign * step)[0].double() for sign in (1, -1))
    u = (ahead - behind) / (2 * step)
    if not bool(u.any()):
        return None
    y, leaves = called(0.0)
    if not y.requires_grad:
        return False
    v = u + y.detach().double() * (u.norm() / y.detach().double().norm().clamp(min=1e-12))
    try:
        found = torch.autograd.grad(y, leaves, v.to(y), allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return False
    parts = [(g.double() * way.double()).sum() for g, way in zip(found, ways, strict=True) if g is not None]
    return bool(abs(sum(parts) - (v * u).sum()) <= _TOLERANCE * v.norm() * u.norm())


def _size(x: Tensor) -> Tensor:
    return x.float().square().mean().sqrt().to(x)


def _with(value: Any, new: dict[int, Tensor]) -> Any:
    """The same arguments with tensors replaced, by identity."""
    if isinstance(value, Tensor):
        return new.get(id(value), value)
    if isinstance(value, dict):
        return {key: _with(part, new) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_with(part, new) for part in value)
    return value
