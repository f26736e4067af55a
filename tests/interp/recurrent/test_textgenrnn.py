"""A real character language model, two LSTMs and an average: its loss, its states, a unit that is held."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from interp.model.edits import zero
from interp.model.nets.net import Net
from interp.recurrent import StateEdit, states
from interp.rules.lrp import EPSILON
from interp.rules.rules import DEEPLIFT

TEXT = "The best thing about the new game is that it is free to play and you can play with friends."


def _check_rules(model: Net, rows: Tensor, others: Tensor) -> None:
    """Through each LSTM of the net alone: the forward as it is under rules, and averages that are complete."""
    for path, given in (("lstm1", "embedding"), ("lstm2", "lstm1")):
        with torch.no_grad():
            x, other = (model.run(ids, reads=[f"module:{given}"])[f"module:{given}"].double() for ids in (rows, others))
        alone = nn.Sequential(deepcopy(model.hf.get_submodule(path))).double().eval()
        own = Net(alone, inputs=x, output=lambda result: result[0][:, -1])
        assert torch.equal(own.run(x, rules=EPSILON).logits, own.run(x).logits)
        toward = own.run(other, keep_operands=True)
        run = own.run(x, reads=["embed"], rules=DEEPLIFT, toward=toward)
        (m,) = torch.autograd.grad(run.logits.sum(), run["embed"])
        change = (run.logits - toward.logits).sum((1, 2)).detach()
        assert torch.allclose(((x - other) * m).sum((1, 2)), change, rtol=1e-9, atol=1e-9)


class Characters(nn.Module):
    """Logits of the next character behind a window of ids, padded on the left with 0."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.embedding, self.output = nn.Embedding(465, 100), nn.Linear(356, 465)
        self.lstm1, self.lstm2 = nn.LSTM(100, 128, batch_first=True), nn.LSTM(128, 128, batch_first=True)
        self.register_parameter("share", nn.Parameter(weights["attention.weight"]))
        self.load_state_dict(
            {k: v for k, v in weights.items() if k != "attention.weight"} | {"share": weights["attention.weight"]}
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        one = self.lstm1(x)[0]
        joined = torch.cat([x, one, self.lstm2(one)[0]], -1)
        return self.output(((joined @ self.share).softmax(1) * joined).sum(1))  # type: ignore[no-any-return,operator]


@pytest.fixture(scope="module")
def loaded(real_model: Any) -> tuple[Net, dict[str, int], int]:
    folder: Path = real_model("textgenrnn")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Net(Characters(load_file(folder / "model.safetensors")).eval()), config["vocabulary"], config["window"]


@pytest.mark.real
def test_a_real_net_of_lstms(loaded: tuple[Net, dict[str, int], int]) -> None:
    model, symbols, window = loaded
    ids = [symbols["<s>"], *(symbols[c] for c in TEXT)]
    rows = torch.tensor([[0] * max(0, window - i) + ids[max(0, i - window) : i] for i in range(1, len(ids))])
    with torch.no_grad():
        run = model.run(rows, reads=["module:lstm1", "module:lstm2"])
    loss = -run.logits[:, 0].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).mean()
    assert float(loss) == pytest.approx(0.9095, abs=1e-4)  # as the converter's own forward has it
    for path in ("lstm1", "lstm2"):
        found = states(model, rows[:8], path=path)
        assert torch.allclose(found.output, run[f"module:{path}"][:8], rtol=0, atol=1e-5)
    _check_rules(model, rows[:2], rows[2:4])
    off = states(model, rows[:8], path="lstm2", edits=[StateEdit(0, None, None, 0.0)])
    with torch.no_grad():
        expected = model.run(rows[:8], edits=[zero("module:lstm2")]).logits
    assert torch.allclose(off.result, expected, rtol=0, atol=1e-4)  # type: ignore[arg-type]
