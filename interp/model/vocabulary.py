"""Logits of a few tokens only: the forward pass ends at the unembedding, of which only their columns are computed.

A metric that compares two tokens needs two columns of the unembedding, whose 50,000 are a third of GPT-2 small's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError
from interp.model.modules.linear import is_plain_map, linear
from interp.model.modules.lock import reserved
from interp.model.modules.tensors import activation_in
from interp.parts.outputs import Output

#: Hooks that act behind a module; a forward pass that ends early would skip them.
_BEHIND: Final = ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL: Final = tuple(f"_global{hooks}" for hooks in ("_forward_pre_hooks", *_BEHIND))


class _Reached(Exception):
    """Ends a forward pass where the input of the unembedding is known."""


@dataclass(frozen=True)
class Columns:
    """The columns of the unembedding at `path` that belong to `tokens` [token]: W [d_model token], bias [token].

    W is None where what comes behind the unembedding's input is not known to be just this map: then all logits are
    computed, and `tokens` chosen from them. `scale` and `softcap` act on the logits as in `Layout`; `before`
    of that scale stands in front of the unembedding.
    """

    tokens: Tensor
    output: Output
    path: str
    W: Tensor | None
    bias: Tensor | None
    scale: float
    softcap: float | None
    before: float = 1.0

    @classmethod
    def of(cls, model: Any, tokens: Tensor) -> Columns:
        """The columns of these token ids. Raises: InterpError for anything but a list of the model's ids."""
        layout = model.layout
        _check(tokens, layout.d_vocab)
        W, bias = None, None
        with reserved(model.hf):  # another thread's hooks are no reason to compute all logits
            if layout.unembed is not None and _alone(model.hf, layout.unembed):
                W, bias = linear(model, layout.unembed)
        if W is not None:
            own = tokens.to(W.device)
            W, bias = W[:, own], None if bias is None else bias[own]  # index_select would copy all of W first
        scales = layout.logits_scale, layout.logits_softcap, layout.scale_before
        return cls(tokens, layout.output, layout.unembed or "", W, bias, *scales)

    def logits(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """The logits [batch pos token] of `model(**inputs)`, which equal those of all tokens up to rounding.

        Raises: LayoutError where the forward pass never comes to the unembedding.
        """
        if self.W is None:
            return self.chosen(self.output(model(**inputs), inputs))
        x = self._input(model, inputs)
        return self._of(x if x.ndim == 3 else x[:, None], self.scale / self.before)

    def of_normed(self, x: Tensor) -> Tensor:
        """The logits [... token] for what the final norm gives [... d_model], where W is known."""
        return self._of(x, self.scale)

    def _of(self, x: Tensor, scale: float) -> Tensor:
        """`scale` * (x W + bias), capped."""
        if self.W is None:
            raise RuntimeError("the unembedding is not known to be a plain map")
        logits = x @ self.W if self.bias is None else x @ self.W + self.bias
        logits = logits if scale == 1.0 else logits * scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def chosen(self, logits: Tensor) -> Tensor:
        """[batch pos d_vocab] -> [batch pos token]."""
        return logits.index_select(-1, self.tokens.to(logits.device))

    def _input(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """What the unembedding reads [batch pos d_model] in `model(**inputs)`, which ends there."""
        seen: list[Tensor] = []

        def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen.append(activation_in(args, kwargs))
            raise _Reached

        handle = model.get_submodule(self.path).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            model(**inputs)
        except _Reached:
            return seen[0]
        finally:
            handle.remove()
        raise LayoutError(f"{self.path} was not called in a forward pass.")


def _alone(hf: Any, path: str) -> bool:
    """Whether the module at `path` is a plain linear map, and nobody's hook or patched forward acts on it or behind it."""
    names, module = path.split("."), hf.get_submodule(path)
    modules = [module, *(hf.get_submodule(".".join(names[:i])) for i in range(len(names)))]
    hooked = any(getattr(m, hooks) for m in modules for hooks in _BEHIND) or bool(module._forward_pre_hooks)
    everywhere = any(getattr(nn.modules.module, hooks) for hooks in _GLOBAL)
    replaced = any("forward" in vars(m) for m in modules)
    return is_plain_map(module) and not hooked and not everywhere and not replaced


def _check(tokens: Tensor, d_vocab: int) -> None:
    whole = isinstance(tokens, Tensor) and tokens.dtype in (torch.int64, torch.int32) and tokens.ndim == 1
    if not whole or not len(tokens):
        given = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise InterpError(f"vocabulary: given {given}; expected a tensor of token ids [token], one or more.")
    if int(tokens.min()) < 0 or int(tokens.max()) >= d_vocab:
        raise InterpError(
            f"vocabulary: token ids from {int(tokens.min())} to {int(tokens.max())} given; this model has logits 0 to "
            f"{d_vocab - 1}."
        )
