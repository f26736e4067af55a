"""What is chosen for options that a caller leaves open."""

from __future__ import annotations

from dataclasses import replace

from interp.dictionaries.training.options import ARCHITECTURES, AVERAGE, COMMON
from interp.dictionaries.training.settings import Wanted


def completed(one: Wanted, steps: int) -> Wanted:
    """The same with our defaults under its options: inputs scaled to a mean norm, a short start, a decay at the end."""
    own = {**COMMON, **ARCHITECTURES[one.architecture]}
    chosen = {
        "lr": 1e-3,
        "lr_warm_up_steps": steps // 50,
        "lr_decay_steps": steps // 3,
        "normalize_activations": AVERAGE,
        "dead_feature_window": max(1, min(1000, steps // 8)),
    }
    return replace(one, options={**{k: v for k, v in chosen.items() if k in own}, **one.options})
