"""Decoders whose later blocks attend to keys and values of an earlier one: the small Gemma 4 as it is published, and one by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from tests.interp.model.discovery.layer_inputs import gemma4
from tests.interp.model.discovery.written import Config, Decoder
from tests.interp.model.tiny import randomise


class SharedKeys(Decoder):
    """The second block attends with the keys and values of the first."""

    def taken(self, own: tuple[Tensor, ...], kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Queries, keys and values of the second block, from its own and those of the first."""
        return own[0], kept[1], kept[2]

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        kept: list[Tensor] = []
        first, second = (layer.attn for layer in self.layers)
        make, ask = first.qkv, second.qkv  # type: ignore[union-attr]

        def kept_too(y: Tensor) -> tuple[Tensor, ...]:
            kept[:] = made = make(y)  # type: ignore[operator]
            return made  # type: ignore[no-any-return]

        first.qkv, second.qkv = kept_too, lambda y: self.taken(ask(y), tuple(kept))  # type: ignore[assignment,operator]
        try:
            return super().through(x, mask)
        finally:
            del first.qkv, second.qkv


def _by_hand() -> Any:
    torch.manual_seed(0)
    model = SharedKeys(Config(attn_implementation="eager"))
    randomise(model)
    return model.eval()


def _published() -> Any:
    """With everything that the small Gemma 4 has: inputs of each layer, heads of two widths, an MLP of twice the width, a soft cap."""
    return gemma4(
        num_hidden_layers=4, num_kv_shared_layers=2, layer_types=["sliding_attention", "full_attention"] * 2, global_head_dim=16,
        use_double_wide_mlp=True, final_logit_softcapping=5.0,
    )  # fmt: skip


#: Each with the layer that keys and values of each layer are of, None: its own.
SHARED: Final[dict[str, tuple[Callable[[], Any], list[int | None]]]] = {
    "by hand": (_by_hand, [None, 0]),
    "Gemma 4": (_published, [None, None, 0, 1]),
}
