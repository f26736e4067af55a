"""A model of images that is in no library: neither its class nor its configuration says what it takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from interp.errors import LayoutError, TaskError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from tests.interp.model.discovery.written import Config, apart
from tests.interp.model.tiny import randomise, tiny


class Looking(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        self.fan = c.fan
        self.qkv, self.merge = nn.Linear(c.wide, 3 * c.wide), nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (apart(part, self.fan) for part in self.qkv(x).chunk(3, dim=-1))
        pattern = torch.softmax(q @ k.mT * self.fan**-0.5, dim=-1)
        out: Tensor = self.merge((pattern @ v).transpose(1, 2).flatten(2))
        return out


class Floor(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        self.n1, self.n2, self.look = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide), Looking(c)
        self.think = nn.Sequential(nn.Linear(c.wide, c.inner), nn.GELU(), nn.Linear(c.inner, c.wide))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.look(self.n1(x))
        out: Tensor = x + self.think(self.n2(x))
        return out


class Pictures(PreTrainedModel):  # type: ignore[misc]
    config_class = Config

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.stem = nn.Conv2d(3, config.wide, 4, 4)
        self.tower = nn.ModuleList(Floor(config) for _ in range(config.deep))
        self.norm, self.judge = nn.LayerNorm(config.wide), nn.Linear(config.wide, 2)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Any:
        x = self.stem(pixel_values).flatten(2).mT
        for floor in self.tower:
            x = floor(x)
        return SimpleNamespace(logits=self.judge(self.norm(x.mean(1))))


def pictures() -> Any:
    model = Pictures(Config()).eval()
    randomise(model)
    return model


def _images(n: int) -> Tensor:
    return torch.randn(n, 3, 12, 8, generator=torch.Generator().manual_seed(1))


def test_its_layout_is_found_on_an_example() -> None:
    hf, x = pictures(), _images(4)
    model = HookedModel(hf, inputs={"pixel_values": x[:2]})
    assert [block.path for block in model.layout.blocks] == ["tower.0", "tower.1"]
    assert (model.layout.readout, model.layout.linear) == ("mean", False)
    with torch.no_grad():
        want = hf(x).logits
    run = model.run(x, reads=model.sites())
    assert torch.equal(run.logits[:, 0], want)
    for site in model.sites():
        assert torch.equal(model.run(x, edits=[Edit(site, lambda t: t.clone())]).logits[:, 0], want)
    assert model.positions() == tuple(f"p{i}" for i in range(6))


def test_without_an_example_it_is_refused_with_a_sentence() -> None:
    with pytest.raises(LayoutError, match=r"its main input is pixel_values, whose size .* or give one: inputs="):
        HookedModel(pictures())


def test_a_model_of_text_takes_no_example() -> None:
    with pytest.raises(TaskError, match="inputs: GPT2LMHeadModel takes text"):
        HookedModel(tiny("gpt2"), inputs=torch.randn(1, 3, 4, 4))
