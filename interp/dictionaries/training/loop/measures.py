"""How good a dictionary in training is on activations that it never saw."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary

#: Tokens that are encoded at once.
AT_ONCE: Final = 2048


def held_out_measures(d: Dictionary, x: Tensor, y: Tensor) -> dict[str, float]:
    """Explained variance and L0 of activations x [token d_in] and what is to be made of them, y [token d_out].

    explained_variance = 1 - sum |y - y-hat|^2 / sum |y - mean y|^2, the mean per dimension over these tokens. l0: mean number of
    features that are not 0. dead: share of the features that are 0 on all these tokens.
    """
    error, active = torch.zeros((), dtype=torch.float64), torch.zeros(d.n_features, dtype=torch.int64)
    with torch.no_grad():
        for i in range(0, len(x), AT_ONCE):
            part = x[i : i + AT_ONCE]
            features = d.encode(part)
            error += (y[i : i + AT_ONCE] - d.decode(features, part)).double().square().sum().cpu()
            active += (features != 0).sum(0).cpu()
        spread = (y.double() - y.double().mean(0)).square().sum().cpu()
    return {
        "held_out_explained_variance": float(1 - error / spread),
        "held_out_l0": float(active.sum()) / len(x),
        "held_out_silent": float((active == 0).double().mean()),
    }
