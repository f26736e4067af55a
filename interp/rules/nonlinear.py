"""Which operations of a forward pass are not linear in what gradients reach, seen one by one, whatever code calls them.

A rule set has to account for each: for products of two tensors that both depend on the stream, for functions of one. What is
linear in them by its definition is listed here; everything else, also what nobody has thought of, counts as not linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: Names in aten, without the underscores around them. Linear in all their tensors together: what moves, chooses, adds.
_LINEAR_NAMES: Final = """
    add alias alias_copy as_strided as_strided_scatter broadcast_to cat chunk clone concat constant_pad_nd conj contiguous copy
    cumsum detach diagonal diagonal_copy diff expand expand_copy expand_as fill flatten flip fused_dropout gather index index_add
    index_copy index_put index_select lift_fresh masked_fill masked_scatter masked_select mean movedim narrow native_dropout neg
    new_empty new_empty_strided new_full new_ones new_zeros nonzero ones_like empty_like zeros_like full_like rand_like randn_like
    permute permute_copy pixel_shuffle real repeat repeat_interleave reshape reshape_alias resolve_conj resolve_neg roll rsub
    scatter scatter_add select select_copy select_scatter set set_data slice slice_copy slice_scatter split split_copy
    split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack sub sum t t_copy take tile to_copy to trace transpose
    transpose_copy tril triu type_as unbind unbind_copy unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes
    unsafe_view unsqueeze unsqueeze_copy view view_as view_as_complex view_as_real view_copy where zero zeros
    embedding dropout real imag adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d avg_pool3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_nearest_exact1d upsample_nearest_exact2d
    upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d upsample_bilinear2d_aa
    upsample_bicubic2d_aa reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    pixel_unshuffle channel_shuffle native_channel_shuffle im2col col2im
"""
#: Of no derivative, so nothing passes through them that a rule could change: comparisons, and what reads sizes or indices.
_CONSTANT_NAMES: Final = """
    all any argmax argmin argsort bitwise_and bitwise_not bitwise_or bucketize ceil empty eq equal floor ge gt is_same_size isfinite
    isinf isnan isneginf isposinf le local_scalar_dense logical_and logical_not logical_or lt ne one_hot round searchsorted sign
    signbit sym_numel sym_size sym_storage_offset sym_stride is_nonzero item is_pinned histc bincount record_stream assert_async
"""
#: Linear in each of two arguments, whose places are given: a product where both depend on the stream.
_PRODUCTS: Final = {
    "mul": (0, 1),
    "multiply": (0, 1),
    "addcmul": (1, 2),
    "dot": (0, 1),
    "vdot": (0, 1),
    "outer": (0, 1),
}
_MATRIX_PRODUCTS: Final = {
    "mm": (0, 1), "bmm": (0, 1), "matmul": (0, 1), "mv": (0, 1), "linear": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2),
    "addbmm": (1, 2), "addmv": (1, 2), "addr": (1, 2), "convolution": (0, 1), "conv1d": (0, 1), "conv2d": (0, 1),
    "grouped_mm": (0, 1), "int_mm": (0, 1),
}  # fmt: skip
PRODUCT: Final = "product"
MATRIX_PRODUCT: Final = "matrix product"
QUOTIENT: Final = "quotient"
_QUOTIENTS: Final = frozenset({"div", "divide", "true_divide"})
#: What may be asked of a tensor where no gradients are recorded without using what is in it.
_FREE: Final = frozenset(
    {"detach", "alias", "empty_like", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones"}
)
#: What attention is: products of queries, keys and values, and a softmax (the largest score may be taken off before, and masks
#: may be a lower bound of the scores).
_ATTENTION: Final = frozenset({MATRIX_PRODUCT, "softmax", "safe_softmax", "max", "amax", "maximum"})
#: Functions of each entry alone, which gradients pass as they pass an activation.
_ELEMENTWISE_NAMES: Final = """
    abs celu clamp clamp_max clamp_min cos elu erf exp expm1 gelu hardsigmoid hardswish hardtanh leaky_relu log log1p log_sigmoid
    log_sigmoid_forward logit mish reciprocal relu relu6 rsqrt selu sigmoid silu sin softplus sqrt square tan tanh threshold
"""
#: Functions whose gradient is f(x) / x: one slope on either side of 0, and what takes the largest of some.
RULED: Final = frozenset(
    [
        "relu",
        "threshold",
        "leaky_relu",
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
    ]
)
_LINEAR: Final = frozenset(_LINEAR_NAMES.split())
_CONSTANT: Final = frozenset(_CONSTANT_NAMES.split())
ELEMENTWISE: Final = frozenset(_ELEMENTWISE_NAMES.split())


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation that is not linear: where (what the caller of the mode says at that moment), its name, and of a product
    its result."""

    where: Any
    name: str
    value: Tensor | None


class Nonlinear(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside it: every operation on tensors that require a gradient which is not linear in them is in `found`, in order."""

    def __init__(self, where: Callable[[], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.where = where
        self.found: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = not_linear(func, args, kwargs)  # before the call: an operation in place changes what its argument is
        out = func(*args, **kwargs)
        if name:
            value = out.detach().clone() if name == PRODUCT and isinstance(out, Tensor) else None
            self.found.append(Operation(self.where(), name, value))
        return out


def is_attention(name: str) -> bool:
    """Whether plain attention has such an operation, by itself or as one function."""
    return name in _ATTENTION or name.startswith("scaled_dot_product")


def not_linear(func: Any, args: Any, kwargs: Any) -> str:
    """The name of an operation that is not linear in those of its tensors that require a gradient; '' for one that is."""
    name = _name(func)
    if name in _CONSTANT or (name in _LINEAR and torch.is_grad_enabled()):
        return ""
    if not any(x.requires_grad for x in tensors_in((*args, *kwargs.values()))):
        return ""
    if not torch.is_grad_enabled():
        return "" if name in _FREE else f"{name} without its gradient"
    if name in _QUOTIENTS:
        return QUOTIENT if _live(args, 1) else ""
    for kind, places in ((PRODUCT, _PRODUCTS.get(name)), (MATRIX_PRODUCT, _MATRIX_PRODUCTS.get(name))):
        if places is not None:
            return kind if all(_live(args, place) for place in places) else ""
    return name


def is_linear(name: str) -> bool:
    """Whether an operation of this name is linear in all its tensors together, or has no derivative, by its definition."""
    return name in _LINEAR or name in _CONSTANT


@cache
def _name(func: Any) -> str:
    return str(func.overloadpacket.__name__).strip("_")


def _live(args: Any, place: int) -> bool:
    return place < len(args) and any(x.requires_grad for x in tensors_in((args[place],)))


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Every tensor among arguments, also inside lists and mappings."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from tensors_in(value.values() if isinstance(value, dict) else value)
