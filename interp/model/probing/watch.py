"""The first of the two forwards that find a layout: which modules compute attention, in which order.

Attention is known by what it does: the attention function is called where a model goes through transformers' AttentionInterface;
elsewhere scores of every position against every position pass a softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interp.model.modules import attention
from interp.model.modules.lock import reserved
from interp.model.probing.sample import decoder_length, run_probe
from interp.parts.outputs import Output

_SOFTMAX: Final = (torch.softmax, nn.functional.softmax, Tensor.softmax)
_WHOLE: Final = nn.functional.scaled_dot_product_attention


@dataclass(frozen=True)
class Attending:
    """The path of a module that computes attention, and whether its keys have other positions than its queries (`across`)."""

    path: str
    across: bool = False


def attending(
    model: nn.Module, output: Output | None, given: Mapping[str, Tensor] | None = None
) -> tuple[tuple[Attending, ...], bool, Output, Tensor]:
    """The attentions of a forward, in order, whether these go through the attention function, what of the result is read, and that
    [1 pos output].

    Raises: LayoutError for a model that cannot run on the probe's inputs.
    """
    called: list[Attending] = []
    seen: list[Attending] = []
    with reserved(model), inside_modules(model) as where, torch.no_grad():

        def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> Any:
            called.append(Attending(where[-1], q.shape[2] != k.shape[2]))
            return native(q, k, v)

        def softmax(made: Tensor, heads: int, ahead: bool, keys: Any, across: bool) -> None:
            seen.append(Attending(where[-1], across))

        with attention.selected(model, around), Softmaxes(softmax, decoder_length(model)):
            made, output = run_probe(model, output, given=given)
    return tuple(called or seen), bool(called), output, made


@contextmanager
def inside_modules(model: nn.Module) -> Iterator[list[str]]:
    """A list whose last entry is, at any moment of a forward, the path of the innermost module."""
    inside = [""]

    def leave(path: str) -> Callable[..., None]:
        def left(*_: Any) -> None:
            while len(inside) > 1 and inside.pop() != path:
                pass  # modules that raised what their caller caught

        return left

    with ExitStack() as stack:
        for path, module in model.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, path=path: inside.append(path))
            stack.callback(enter.remove)
            stack.callback(module.register_forward_hook(leave(path)).remove)
        yield inside


class Softmaxes(TorchFunctionMode):
    """Inside it: `found` is called with the result of every softmax over scores [batch head pos pos], or of every attention that
    torch computes as a whole, with the number of heads, whether a position looks at later ones, the place of the keys in torch's graph, and
    whether these have other positions than the queries: as those of a decoder of `queries` positions may have, None where there is none."""

    def __init__(self, found: Callable[[Tensor, int, bool, Any, bool], object], queries: int | None = None) -> None:
        super().__init__()
        self.found, self.queries = found, queries

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is _WHOLE:
            q, k = (*args, *(kwargs or {}).values())[:2]
            across = self.queries == q.shape[-2] != k.shape[-2]
            self.found(out, out.shape[1], _unmasked(*args, **(kwargs or {})), k.grad_fn, across)
        elif func in _SOFTMAX and (own := self._over_positions(out)):
            across = out.shape[-1] != out.shape[-2]
            heads = out.shape[1] if out.ndim == 4 else out.shape[0]
            self.found(out, heads, looks_ahead(out), _keys(out.grad_fn) if own and across else None, across)
        return out

    def _over_positions(self, pattern: Tensor) -> bool:
        """Whether this may be [batch head pos pos], or batch and heads in one; a router's [batch pos expert] of one prompt is not."""
        apart = pattern.ndim == 4 or (pattern.ndim == 3 and pattern.shape[0] > 1)
        return apart and (pattern.shape[-1] == pattern.shape[-2] > 1 or pattern.shape[-2] == self.queries)


def _keys(pattern: Any) -> Any:
    """The place in torch's graph of the second factor of the product that scores are made of: that of the keys; None without a product."""
    open_ = [pattern]
    while open_:
        node = open_.pop(0)
        if node is not None and node.name().startswith(("BmmBackward", "MmBackward")):
            return node.next_functions[1][0]
        open_ += [] if node is None else [parent for parent, _ in node.next_functions]
    return None


def looks_ahead(pattern: Tensor) -> bool:
    """Whether a pattern [... q_pos k_pos] gives weight to later positions."""
    return bool(pattern.detach().triu(1).any())


def _unmasked(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False, **_: Any
) -> bool:  # fmt: skip
    """Whether an attention that torch computes as a whole lets a position look at later ones."""
    if is_causal or attn_mask is None:
        return not is_causal
    shown = attn_mask if attn_mask.dtype == torch.bool else attn_mask > torch.finfo(attn_mask.dtype).min / 2
    return bool(shown.triu(1).any())
