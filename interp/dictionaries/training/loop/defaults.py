"""What is chosen for options that a caller leaves open."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from interp.dictionaries.training.loop.settings import Wanted
from interp.dictionaries.training.steps.options import ARCHITECTURES, AVERAGE, COMMON

#: The learning rate of TopK and its kin at 1,024 features; it falls with the root of their number (Gao et al. 2024, figure 3).
RATE: Final = 4e-3
RATE_AT: Final = 1024
#: That of architectures whose sparsity is a term of the loss.
RATE_PENALISED: Final = 1e-3


def completed(one: Wanted, steps: int) -> Wanted:
    """The same with our defaults under its options: inputs scaled to a mean norm, a short start, a decay at the end.

    BatchTopK's threshold is a running mean that starts at 0, of which (1 - topk_threshold_lr)^steps is left at the end: in a
    short training it must move faster, or the dictionary has more active features than k.
    """
    own = {**COMMON, **ARCHITECTURES[one.architecture]}
    chosen = {
        "lr": RATE * min(1.0, RATE_AT / one.d_sae) ** 0.5 if "k" in own else RATE_PENALISED,
        "lr_warm_up_steps": steps // 50,
        "lr_decay_steps": steps // 3,
        "normalize_activations": AVERAGE,
        "dead_feature_window": max(1, min(1000, steps // 8)),
        "topk_threshold_lr": min(0.5, max(0.01, 10 / steps)),
    }
    return replace(one, options={**{k: v for k, v in chosen.items() if k in own}, **one.options})
