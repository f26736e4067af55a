"""What the columns of docs/architectures.md are measured with: what stands in them, the law that failed, inputs and models made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.parts.outputs import Output

#: What stands in a column: it holds; `loads` only: as a net of its modules, not with blocks; `relp` only: refused by the name of what has no rule; it does not hold; it was not tried, since a
#: column before it does not hold.
YES, MODULES, REFUSED, NO, UNTRIED = "yes", "modules", "refused", "no", "-"


class Fails(Exception):
    """A law does not hold, and where."""


def _last_map(result: Any, inputs: Mapping[str, Any]) -> Tensor:
    """The last feature map [1 d row column], or [1 pos d], of a backbone, places in one axis [1 pos d]."""
    found: Tensor = result.feature_maps[-1]
    return found.flatten(2).transpose(1, 2) if found.ndim == 4 else found


#: Of backbones, whose result has neither logits nor embeddings, the last feature map is read.
MAPS: Final = Output("feature_maps", _last_map)


def turned(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Other inputs of the same sizes: other numbers and other ids, the same masks and shapes."""
    return {name: x if name.endswith(("_mask", "_shapes")) else _other(x) for name, x in inputs.items()}


def _other(x: Tensor) -> Tensor:
    return x.flip(-1) if x.is_floating_point() else (x + 7) % 20 + 40


def equal(found: Tensor, expected: Tensor, when: str) -> None:
    if not torch.equal(found, expected):
        off = float((found - expected).abs().max()) if found.shape == expected.shape else float("nan")
        raise Fails(f"{when}: the output is not the bare model's, off by {off:.1g}")


def uncapped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits before their soft cap c tanh(. / c), for which there is no rule."""
    return logits if cap is None else cap * torch.atanh(logits / cap)


def without_biases(model: nn.Module) -> nn.Module:
    """What is added and no part of the stream: 0. Slopes belong to the stream alone."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bias" in name.rpartition(".")[2] or name.endswith((".beta", "running_mean")):
                p.zero_()
    return model
