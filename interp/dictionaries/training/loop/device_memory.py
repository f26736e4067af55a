"""Whether a training fits into the memory of its device at all: said before anything is allocated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import torch

from interp.dictionaries.activation import DictionaryError

#: Numbers in memory for each weight: itself, its gradient, and Adam's two moments.
PER_WEIGHT: Final = 4


def check_fits(buffer_bytes: int, shapes: Sequence[tuple[int, int, int]], itemsize: int, device: torch.device) -> None:
    """shapes: d_in, d_out and d_sae of each dictionary. What is counted is the least: buffer, weights, gradients, moments.

    Raises: DictionaryError where that is more than all memory of the device.
    """
    weights = sum(PER_WEIGHT * itemsize * d_sae * (d_in + d_out) for d_in, d_out, d_sae in shapes)
    total = memory_of(device)
    if total is not None and buffer_bytes + weights > total:
        raise DictionaryError(
            f"training takes {_size(buffer_bytes)} for the buffer and {_size(weights)} for the dictionaries, and {device} has "
            f"{_size(total)} in all; expected less, with a smaller {'d_sae' if weights > buffer_bytes else 'buffer or batch_tokens'}."
        )


def memory_of(device: torch.device) -> int | None:
    """Bytes of memory of a device, used or not; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "cpu" and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _size(size: int) -> str:
    """Rounded up, and without a float, which the largest do not fit."""
    bits, unit = (20, "MiB") if size < 1 << 32 else (30, "GiB")
    return f"{-(-size >> bits):,} {unit}"
