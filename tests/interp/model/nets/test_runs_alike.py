"""A model whose runs are not alike has no numbers to read: it draws at random, keeps state, or looks at the examples beside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import LoadError
from interp.model.model import HookedModel
from interp.model.nets.net import Net
from tests.interp.model.tiny import ids, tiny


class Changed(nn.Module):
    """A layer, and something done to what it gives."""

    def __init__(self, base: nn.Module, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.base, self.change = base, change
        self.register_buffer("kept", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, self.base(x))


def noisy(_: nn.Module, y: Tensor) -> Tensor:
    return y + torch.randn_like(y)


def dropping(_: nn.Module, y: Tensor) -> Tensor:
    return nn.functional.dropout(y, 0.5, training=True)


def keeping(module: Any, y: Tensor) -> Tensor:
    module.kept.mul_(0.9).add_(y.detach().mean() + 1)
    return y * module.kept


def centred(_: nn.Module, y: Tensor) -> Tensor:
    return y - y.mean(0) / 2


def counting(module: Any, y: Tensor) -> Tensor:
    module.kept += 1
    return y


def net(change: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), Changed(nn.Linear(8, 8), change), nn.Tanh(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize("change", [noisy, dropping, keeping])
def test_other_numbers_in_each_run_are_refused_with_the_module(change: Any) -> None:
    model = tiny("llama")
    layer = model.model.layers[1].mlp
    layer.down_proj = Changed(layer.down_proj, change)
    with pytest.raises(
        LoadError, match=r"other numbers in each run, first in model\.layers\.1\.mlp\.down_proj \(Changed\)"
    ):
        HookedModel(model)
    with pytest.raises(LoadError, match=r"other numbers in each run, first in 1 \(Changed\).*chance"):
        Net(net(change))


def test_examples_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(LoadError, match=r"depends on those that are run with it.*mean over the batch"):
        Net(net(centred))
    last = lambda result: result[0][:, -1]  # noqa: E731
    with pytest.raises(LoadError, match="batch_first=True"):
        Net(nn.GRU(3, 4).eval(), output=last, inputs=torch.rand(1, 5, 3))
    Net(nn.GRU(3, 4, batch_first=True).eval(), output=last, inputs=torch.rand(1, 5, 3))


class One(nn.Module):
    """A net of one example at a time."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.one, self.noise = nn.Linear(6, 3), noise

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x.view(1, 6)) + self.noise * torch.rand(3)


def test_what_changes_no_number_is_left_alone() -> None:
    x = torch.rand(2, 6)
    counted = net(counting)
    assert torch.equal(Net(counted).run(x).logits[:, 0], counted(x))
    assert Net(One(0.0).eval()).run(x[:1]).logits.shape == (1, 1, 3)
    with pytest.raises(LoadError, match="other numbers in each run"):
        Net(One(1.0).eval())
    model = tiny("llama")
    layer = model.model.layers[0].mlp
    layer.down_proj = Changed(layer.down_proj, counting)
    assert torch.equal(HookedModel(model).run(ids()).logits, model(ids()).logits)


def test_what_cannot_be_watched_is_refused_with_what_to_give() -> None:
    plain = nn.Sequential(nn.Linear(6, 3), nn.ReLU()).eval()
    compiled = nn.Sequential(nn.Linear(6, 3)).eval()
    compiled[0].compile(backend="eager")
    for model, said in (
        (torch.compile(plain, backend="eager"), r"the model \(OptimizedModule\) is compiled.*_orig_mod"),
        (torch.compile(tiny("llama"), backend="eager"), r"the model \(OptimizedModule\) is compiled.*_orig_mod"),
        (nn.Sequential(torch.compile(plain, backend="eager")).eval(), r"0 \(OptimizedModule\) is compiled"),
        (compiled, r"0 \(Linear\) is compiled by torch\.compile"),
        (torch.jit.trace(plain, torch.rand(1, 6)), "TorchScript"),
        (nn.DataParallel(plain), r"the model \(DataParallel\).*its \.module"),
    ):
        with pytest.raises(LoadError, match=said):
            Net(model)
