"""What a net gives under names, inside and at its end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import LayoutError, MethodError, UnsupportedRuleError
from interp.model.nets.net import Net
from interp.rules.rules import RELP
from tests.interp.model.nets.made import drawn, settled


class ByName(nn.Module):
    """What it gives has names, inside too; the scores may have lost their gradient."""

    def __init__(self, name: str, detached: bool = False) -> None:
        super().__init__()
        self.name, self.detached = name, detached
        self.body, self.head = Halves(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.body(x)["left"]
        return {"loss": None, self.name: self.head(torch.tanh(h.detach() if self.detached else h)), "hidden": h}


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(zip(("left", "right"), self.both(x).chunk(2, -1), strict=True))


def test_results_by_name() -> None:
    x, net = drawn(2, 3), settled(ByName("logits"))
    model = Net(net)
    assert torch.equal(model.run(x).logits[:, 0], net(x)["logits"])
    model.check_gradients()
    with pytest.raises(UnsupportedRuleError, match=r"\(model\) \(tanh in no module"):
        model.run(x, rules=RELP)
    own = {"output": lambda result: result["scores"]}
    with pytest.raises(LayoutError, match=r"a dict with loss, scores, hidden; expected .* result\['loss'\]"):
        Net(settled(ByName("scores")))
    Net(settled(ByName("scores")), **own).check_gradients()
    with pytest.raises(MethodError, match="the model \\(ByName\\)"):
        Net(settled(ByName("scores", detached=True)), **own).check_gradients()
