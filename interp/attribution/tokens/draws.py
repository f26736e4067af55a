"""Random numbers that captum draws from the generators of numpy and torch, so that they are those of a seed and nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(seed: int, index: int) -> int:
    """The seed of one prompt of several, whatever else is in its batch."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


@contextmanager
def drawn(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, both generators stand at `seed`; behind it they are where they were."""
    before = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield
    finally:
        np.random.set_state(before)
