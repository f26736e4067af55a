"""`interp.load` of modules that are no models of transformers, and of models with a function as output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import interp
from interp.errors import LayoutError, LoadError
from interp.model.nets.net import Net
from tests.interp.model.tiny import tiny


def test_any_module_is_a_net() -> None:
    net, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.ones(2, 4)
    model = interp.load(net)
    assert isinstance(model, Net) and interp.load(model) is model and model.hf is net
    assert torch.equal(model.run(x).logits[:, 0], net(x))
    halved = interp.load(model, output=lambda result: result[:, :1])
    assert halved.outputs.n == 1 and torch.equal(halved.run(x).logits[:, 0], net(x)[:, :1])
    with pytest.raises(LoadError, match="dtype and device"):
        interp.load(net, dtype="float64")


def test_a_function_makes_of_a_model_with_blocks_a_net() -> None:
    hf, ids = tiny("gpt2"), torch.tensor([[3, 5, 7]])
    model = interp.load(hf, output=lambda result: result.logits[:, -1])
    assert isinstance(model, Net) and not isinstance(interp.load(hf), Net)
    run = model.run(ids, reads=["embed", "module:transformer.h.0.mlp"])
    assert torch.equal(run.logits[:, 0], hf(input_ids=ids, use_cache=False).logits[:, -1])


def test_a_folder_and_a_model_with_blocks_are_nets_by_the_name_of_a_part(tmp_path: Path) -> None:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    torch.manual_seed(0)
    config = ConvNextConfig(num_channels=1, num_stages=2, hidden_sizes=[4, 6], depths=[1, 1], num_labels=3)
    hf = ConvNextForImageClassification(config).eval()
    hf.save_pretrained(tmp_path)
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for source, output in ((tmp_path, "logits"), (str(tmp_path), lambda result: result.logits), (hf, "logits")):
        model = interp.load(source, output=output)
        assert isinstance(model, Net) and torch.equal(model.run(x).logits[:, 0], hf(x).logits)
    with pytest.raises(LayoutError, match=r"no attention was seen.* as a net of its modules: .*output=\"logits\""):
        interp.load(tmp_path)
    with pytest.raises(LayoutError, match="output='embeds': forward returns logits; expected the name of a tensor"):
        interp.load(hf, output="embeds")
    decoder = interp.load(interp.load("demo"), output="logits")
    ids = torch.tensor([[1, 5, 9]])
    assert isinstance(decoder, Net) and torch.equal(decoder.run(ids).logits, interp.load("demo").run(ids).logits)
