"""The weights of a linear map and the norm at a path of a model, whichever class it is of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules.calling import needed_inputs
from interp.model.modules.lock import settled
from interp.model.modules.tensors import close
from interp.parts.named_inputs import DECODER, TEXT
from interp.rules.rules import GroupedNorm, Norm

#: How many rows go through a map at once, and their size: large, so that a bias takes no digits from the weights.
_ROWS: Final = 512
_SIZE: Final = 64.0
#: How far from a linear map, beside its size, a module may be that rounds what it reads.
_ROUNDED: Final = 0.1
#: What a module raises that is called with something else than it takes, or asked for a map that it is not.
_REFUSED: Final = (TypeError, ValueError, RuntimeError, LookupError, AttributeError)


def linear(model: Any, path: str) -> tuple[Tensor, Tensor | None]:
    """W [in out] and bias [out] of a linear map, whichever way round its class stores it.

    A module of another class that computes such a map (a LoRA around a projection) is asked for it: W = f(1) - f(0).
    Raises: LayoutError for a module that computes something else.
    """
    module = model.hf.get_submodule(path)
    if not is_plain_map(module):
        found = affine(module, _width(model.layout, path), model.hf)
        if found is None:
            raise LayoutError(
                f"{path} is a {type(module).__name__} that is no linear map; expected a linear map (nn.Linear, Conv1D, or an "
                "adapter around one). Of a quantised model give the one before; merge an adapter into its weights, "
                "model.merge_and_unload()."
            )
        return found
    weight = module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()
    return (weight.T if isinstance(module, nn.Linear) else weight), bias


def is_linear_map(module: nn.Module) -> bool:
    """Whether a module is of a class that holds the weights of a linear map."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def is_plain_map(module: nn.Module) -> bool:
    """Whether the module computes what its class's own forward makes of its weight; accelerate's moves change nothing."""
    from transformers.pytorch_utils import Conv1D

    own = "forward" not in vars(module) or hasattr(module, "_hf_hook")
    return own and type(module).forward in (nn.Linear.forward, Conv1D.forward)


def _width(layout: Any, path: str) -> int:
    """How many numbers a map of the layout reads."""
    stack = next((own for own in layout.stacks if any(path.startswith(f"{b.path}.") for b in own.blocks)), layout)
    if attention := next((own for own in stack.attentions if path == own.o), None):
        return int(stack.n_heads * attention.d_head)
    return int(stack.d_mlp if any(path == mlp.down for block in stack.blocks for mlp in block.mlps) else stack.d_model)


@dataclass(frozen=True)
class _Map:
    """What a module was found to compute: W [in out], bias [out], and its outputs y [row out] for a few inputs x [row in]."""

    W: Tensor
    bias: Tensor | None
    x: Tensor
    y: Tensor


_FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_KNOWN: WeakKeyDictionary[nn.Module, _Map] = WeakKeyDictionary()


def affine(module: nn.Module, width: int, model: Any) -> tuple[Tensor, Tensor | None] | None:
    """W [in out] and bias [out] of a module that reads [... `width`] and computes x W + bias; None where it does not.

    Found once, and again when the module gives other numbers than then. model: whose dtype and device it has where its own
    weights do not tell.
    """
    like = next((p for p in chain(module.parameters(), module.buffers()) if p.dtype in _FLOATS), None)
    own = torch.empty(0, dtype=model.dtype, device=model.device) if like is None else like.new_empty(0)
    with settled(own.device), torch.no_grad():
        try:
            known = _KNOWN.get(module)
            if known is None or not torch.equal(_rows(module, known.x), known.y):
                known = _find(module, width, own)
        except _REFUSED:
            return None
    if known is None:
        return None
    _KNOWN[module] = known
    return known.W, known.bias


def _find(module: nn.Module, width: int, like: Tensor) -> _Map | None:
    bias = _rows(module, like.new_zeros(1, width))[0]
    ones = torch.eye(width, dtype=like.dtype, device=like.device) * _SIZE
    W = torch.cat([_rows(module, ones[start : start + _ROWS]) - bias for start in range(0, width, _ROWS)]) / _SIZE
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(like)
    y = _rows(module, x)
    if not close(y, x @ W + bias):
        return None
    return _Map(W, bias if bool(bias.any()) else None, x, y)


def _rows(module: nn.Module, x: Tensor) -> Tensor:
    """What the module makes of rows [row in] -> [row out]. Raises: TypeError for anything but a tensor."""
    y = module.forward(x[None])
    if not isinstance(y, Tensor) or y.ndim != 3 or y.shape[1] != len(x):
        raise TypeError("no map of rows")
    return y[0]


def is_adapter(module: nn.Module, x: Tensor) -> bool:
    """Whether the module is an adapter around a layer (as peft makes them) that computes a linear map of inputs like `x`."""
    found = _of_sum(module, x) if has_base(module) else None
    return found is not None and close(*found)


def has_base(module: nn.Module) -> bool:
    """Whether the module is around a layer as adapters of peft are, whatever it computes."""
    return isinstance(getattr(module, "base_layer", None), nn.Module)


def mixes(module: nn.Module, x: Tensor) -> bool:
    """Whether the module computes a linear map of inputs like `x` in which entries reach others, as far as one can say of a module
    that rounds (quantised weights)."""
    found = _of_sum(module, x)
    if found is None or not bool((found[0] - found[1]).norm() <= _ROUNDED * found[0].norm()):
        return False
    first = torch.zeros_like(x.reshape(-1, x.shape[-1])[:1])
    first[0, 0] = 1.0
    with torch.no_grad():
        return int((_rows(module, first) - _rows(module, torch.zeros_like(first))).count_nonzero()) > 1


def _of_sum(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """f(a + b) - f(0) and f(a) - f(0) + f(b) - f(0) for two inputs like `x`, equal for a linear map; None where it takes none."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, x.shape[-1], generator=generator, dtype=torch.float32).to(x) for _ in range(2))
    try:
        with torch.no_grad():
            zero, left, right, both = (_rows(module, some) for some in (torch.zeros_like(a), a, b, a + b))
    except _REFUSED:
        return None
    return both - zero, (left - zero) + (right - zero)


def input_embedding(hf: Any) -> Any:
    """The module that embeds token ids: the one that the class names, else the largest table, of several the first; None where there is
    none."""
    try:
        return hf.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        tables = [module for module in hf.modules() if isinstance(module, nn.Embedding)]
        return max(tables, key=lambda table: table.num_embeddings, default=None)


def vocabulary_size(hf: Any) -> int:
    """How many token ids the embedding takes, also where an adapter is around it. Raises: LayoutError without a table of them."""
    embedding = input_embedding(hf)
    found, weight = getattr(embedding, "num_embeddings", None), getattr(embedding, "weight", None)
    if isinstance(found, int) and found > 0:
        return found
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not len(weight):
        raise LayoutError(f"{type(hf).__name__}: no table of token embeddings [token d_model] was found.")
    return len(weight)


def vocabularies(hf: Any) -> dict[str, int]:
    """How many token ids each input of ids has that a model needs. Raises: LayoutError without a table of them."""
    needed, config = needed_inputs(hf), getattr(hf, "config", None)
    found = {}
    if TEXT in needed:
        part = None if len(needed) == 1 or DECODER in needed else getattr(config, "text_config", None)
        found[TEXT] = vocabulary_size(hf) if part is None else int(part.vocab_size)
    if DECODER in needed:
        own = getattr(config, "decoder_vocab_size", None) or getattr(
            getattr(config, "decoder", None), "vocab_size", None
        )
        found[DECODER] = int(own) if own else vocabulary_size(hf)
    return found


def embedding_device(hf: Any) -> torch.device:
    """Where token ids go: the device of the embedding; of one that holds its weights in another form, of the model."""
    found = getattr(getattr(input_embedding(hf), "weight", None), "device", None)
    return found if isinstance(found, torch.device) else hf.device  # type: ignore[no-any-return]


def norm_at(model: Any, path: str) -> Norm:
    found: Norm | None = model.operations.norms.get(path)
    if found is None or isinstance(found, GroupedNorm):
        raise LayoutError(
            f"{path} ({type(model.hf.get_submodule(path)).__name__}) is not recognised as LayerNorm or RMSNorm, "
            "so what it does to a single component is not known."
        )
    return found
