"""Whether the weights of a live model can be used: all in memory, open to gradients, numbers, and the same in every run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
import torch.nn.parallel
from torch import Tensor, nn

from interp.errors import LoadError, some


def check_model(model: Any) -> None:
    """Raises: LoadError for a model that would be read wrongly, naming the weights or modules and what to do."""
    check_watched(model)
    check_mode(model)
    _check_modules(model)
    _check_present(model)
    _check_inference(model)
    _check_finite(model)


def check_state(model: Any) -> None:
    """What may have changed since a model was loaded. Raises: LoadError for training mode, and for weights that were put in since
    and that no run can use."""
    check_mode(model)
    if any(p.is_meta or p.is_inference() for p in model.parameters()):
        _check_present(model)
        _check_inference(model)


def check_watched(model: nn.Module) -> None:
    """Raises: LoadError for modules whose calls cannot be watched: compiled ones, of torch.compile or TorchScript, and copies on several devices."""
    for path, module in model.named_modules():
        where = f"{path or 'the model'} ({type(module).__name__})"
        if isinstance(module, torch.jit.ScriptModule):
            raise LoadError(
                f"{where} is compiled by TorchScript, so its calls cannot be watched: give the module that it was made from."
            )
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise LoadError(
                f"{where} is compiled by torch.compile, which may pass over what is read and edited: give the module that was compiled (its "
                "_orig_mod), or one that module.compile() was not called on."
            )
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            raise LoadError(
                f"{where} runs copies of a module on several devices, which cannot be watched: give the module itself (its .module)."
            )


def check_mode(model: Any) -> None:
    """Raises: LoadError for a model in training mode."""
    if model.training:
        raise LoadError(
            "the model is in training mode, where dropout makes every run different: call model.eval() first."
        )


def _check_modules(model: nn.Module) -> None:
    """A module that was added after model.eval() is in training mode by itself."""
    drawing = [path for path, m in model.named_modules() if m.training and _draws(m)]
    if drawing:
        raise LoadError(
            f"{some(drawing)}: in training mode, though the model is not (added behind model.eval()?), so every run is "
            "different: call model.eval() first."
        )


def _draws(module: nn.Module) -> bool:
    """Whether a module in training mode drops at random."""
    p = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "attention_dropout", 0)
    return isinstance(p, (int, float)) and p > 0


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def _check_present(model: nn.Module) -> None:
    """Nothing is offloaded, nor left out: weights are read beside their modules too, not only when these run."""
    absent = [name for name, t in _tensors(model) if t.is_meta]
    if any(_offloads(m) for m in model.modules()):
        raise LoadError(
            f"weights are offloaded by accelerate (on 'meta' until their module runs: {some(absent) or 'buffers'}), but they "
            "are read here at other times too: load the model without offload, all of it in memory, in a smaller dtype if need be."
        )
    if absent:
        raise LoadError(
            f"weights ({len(absent)}) are on the 'meta' device, which holds no numbers: {some(absent)}. Load them first "
            "(from_pretrained, load_state_dict(..., assign=True))."
        )


def _offloads(module: nn.Module) -> bool:
    """Whether a hook of accelerate brings the module's weights when it runs, and takes them away after."""
    hook = getattr(module, "_hf_hook", None)
    return any(getattr(h, "offload", False) for h in (hook, *getattr(hook, "hooks", ())))


def _check_inference(model: nn.Module) -> None:
    made = [name for name, p in model.named_parameters() if p.is_inference()]
    if made:
        raise LoadError(
            f"weights ({len(made)}) were made under torch.inference_mode, and no gradient can go through them: {some(made)}. "
            "Make or load the model outside of that mode, or give a copy that is made outside: copy.deepcopy(model)."
        )


def _check_finite(model: Any) -> None:
    """One pass over the weights. A bias of the unembedding may be -inf, which bans a token."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    head = getattr(output, "bias", None)
    odd = [name for name, p in model.named_parameters() if _readable(p) and not _finite(p.detach(), p is head)]
    if odd:
        raise LoadError(
            f"weights ({len(odd)}) hold numbers that are not finite (NaN or infinite): {some(odd)}. The checkpoint is damaged "
            "(a failed merge, training or conversion in half precision?): get or make it again."
        )


def _readable(weight: Tensor) -> bool:
    """Plain numbers of 16 bits or more; others belong to libraries of quantisation."""
    plain = type(weight) in (nn.Parameter, Tensor)
    return plain and weight.is_floating_point() and weight.element_size() > 1 and weight.numel() > 0


def _finite(weight: Tensor, banning: bool) -> bool:
    low, high = torch.aminmax(weight)
    return bool((torch.isfinite(low) | (banning & ~torch.isnan(low))) & torch.isfinite(high))
