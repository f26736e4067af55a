"""What is worked on in float32 or better."""

from __future__ import annotations

import pytest
import torch

from interp.precision import wide


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, 2.0**-14], dtype=dtype, requires_grad=True)
    assert wide(x).dtype == torch.float32 and torch.equal(wide(x).to(dtype), x)
    wide(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_wide_enough_stays_the_same_tensor(dtype: torch.dtype) -> None:
    x = torch.ones(2, dtype=dtype)
    assert wide(x) is x
