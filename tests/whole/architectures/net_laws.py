"""The columns of docs/architectures.md for a model as a net of its modules: each law held to plain hooks on the bare model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.backbone_utils import BackboneMixin

from interp.model.edits import Edit
from interp.model.loading.load import load
from interp.model.modules.calling import main_input, on_inputs
from interp.model.nets.net import Net
from interp.parts.outputs import ATTRIBUTES
from interp.rules.rules import RELP
from tests.interp.rules.float64 import true_float64
from tests.whole.architectures.building import Built, outputs
from tests.whole.architectures.laws import MAPS, REFUSED, YES, Fails, equal, turned, without_biases


def net_of(model: nn.Module, inputs: Mapping[str, Tensor]) -> Net:
    """A model of transformers as a net of its modules, read at its first output that is known by name."""
    output: Any = lambda result: MAPS(result, inputs)  # noqa: E731
    if not isinstance(model, BackboneMixin):
        output = next((name for name in ATTRIBUTES if name in outputs(model, inputs)), None)
    first = main_input(model)
    net = load(model, output=output, inputs={first: inputs[first], **inputs})
    assert isinstance(net, Net)
    return net


def net_reads(model: Net, built: Built) -> None:
    """Every module read, and every module edited to what it is: the output is that of the bare model, bit for bit."""
    with torch.no_grad():
        expected = _plain(model, built.inputs)
        equal(model.run(built.inputs, reads=model.sites()).logits, expected, "with every module read")
        for site in model.sites():
            equal(model.run(built.inputs, edits=[Edit(site, torch.clone)]).logits, expected, f"{site} edited to itself")


def net_patching(model: Net, built: Built) -> None:
    """What a module gives in another run, put in: the output is that of the bare model with a plain hook that returns it, bit for bit."""
    with torch.no_grad():
        sites = [site for name in model.sites() for site in model.resolve(name) if site.path]
        run = model.run(turned(built.inputs), reads=sites)
        if torch.equal(run.logits, model.run(built.inputs).logits):
            raise Fails("another input gives the same output, so that patching shows nothing")
        for site in sites:
            found = model.run(built.inputs, edits=[Edit(site, lambda x, value=run[site]: value)]).logits
            handle = model.hf.get_submodule(site.path).register_forward_hook(_giving(run[site]))
            try:
                expected = _plain(model, built.inputs)
            finally:
                handle.remove()
            equal(found, expected, f"{site} of another run put in")


def _giving(value: Tensor) -> Callable[..., Any]:
    """A plain hook that puts a tensor in the place of what a module returns, or of the first tensor in that."""

    def hook(module: nn.Module, given: Any, result: Any) -> Any:
        if isinstance(result, Tensor):
            return value
        if isinstance(result, Mapping):
            own = copy.copy(result)
            own[next(key for key, x in result.items() if isinstance(x, Tensor))] = value
            return own
        if hasattr(result, "_replace"):
            return result._replace(**{result._fields[0]: value})
        at = next(i for i, x in enumerate(result) if isinstance(x, Tensor))
        return type(result)((*result[:at], value, *result[at + 1 :]))

    return hook


def net_relp(model: Net, built: Built) -> str:
    """RelP in float64, without biases and other tables than that of the ids: the relevance of the input is the output. Or refused by name."""
    if model.coverage(RELP).unsupported:
        return REFUSED
    with true_float64():
        hf = _one_table(without_biases(copy.deepcopy(built.model).double()), model.layout.embedding)
        inputs = {name: x.double() if x.is_floating_point() else x for name, x in built.inputs.items()}
        run = net_of(hf, inputs).run(inputs, reads=["embed"], rules=RELP)
        weights = torch.randn(run.logits.shape, generator=torch.Generator().manual_seed(2))
        metric = (run.logits * weights).sum()
        (slope,) = torch.autograd.grad(metric, [run["embed"]])
        off = float(((run["embed"] * slope).sum() - metric).abs() / metric.abs())
        if not off < 1e-6:
            raise Fails(f"relevance at embed is not conserved, off by {off:.1g} of the output")
    return YES


def _one_table(hf: nn.Module, embedding: str) -> nn.Module:
    """A model whose other embeddings, of positions and types, are 0."""
    kept = hf.get_submodule(embedding).weight if embedding else None
    with torch.no_grad():
        for module in hf.modules():
            if isinstance(module, nn.Embedding) and module.weight is not kept:
                module.weight.zero_()
    return hf


def _plain(model: Net, inputs: Mapping[str, Tensor]) -> Tensor:
    return model.layout.output(model.hf(**on_inputs(model.hf, inputs)), inputs)
