"""Rules in nets without blocks: LRP against sums, folds, captum and gradients; DeepLIFT against what the metric changes by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import interp
from interp.errors import UnsupportedRuleError
from interp.model.nets.net import Net
from interp.rules.lrp import OF_NETS
from interp.rules.rules import Rules
from tests.interp.model.nets.made import NETS, cnn, drawn, settled, sound

LRP = {preset.name: preset.rules for preset in OF_NETS}


def loaded(net: nn.Module) -> Net:
    return Net(net.double())


def relevance(model: Net, x: Tensor, rules: Rules) -> Tensor:
    """The relevance of the input [batch pos channel] for output 1."""
    run = model.run(x, reads=["embed"], rules=rules)
    (arrived,) = torch.autograd.grad(run.logits[:, 0, 1].sum(), run["embed"])
    return rules.linear.relevance(run["embed"].detach(), arrived)


@pytest.mark.parametrize("name", LRP)
def test_what_is_shared_out_is_the_output_without_biases(name: str) -> None:
    net, x = settled(cnn(bias=False)), drawn(3, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(4)  # so that epsilon is small beside the outputs
    model = loaded(net)
    total = relevance(model, x, LRP[name]).sum((1, 2))
    assert torch.allclose(total, model.run(x).logits[:, 0, 1].detach(), rtol=1e-3)


def test_epsilon_of_0_is_gradient_times_input_in_a_relu_net_without_biases() -> None:
    model, x = loaded(settled(cnn(bias=False))), drawn(3, 1, 8, 8, dtype=torch.float64)
    rule = interp.LayerRule("epsilon", epsilon=0.0)
    rules = Rules(act="identity", linear=interp.LinearRule(rule, rule))
    assert torch.allclose(relevance(model, x, rules), relevance(model, x, interp.GRADIENT), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LRP)
def test_a_batch_norm_that_is_folded_is_one_that_was(name: str) -> None:
    for net, places, x in ((settled(cnn()), (0, 1), drawn(2, 1, 8, 8)), (settled(sound()), (0, 1), drawn(2, 2, 24))):
        net, x = net.double(), x.double()
        own = list(net)
        folded = nn.Sequential(fuse_conv_bn_eval(own[places[0]], own[places[1]]), *own[2:]).eval()
        model, other = loaded(net), loaded(folded)
        assert model.operations.layers["0"].folded == "1"
        assert torch.allclose(relevance(model, x, LRP[name]), relevance(other, x, LRP[name]), rtol=1e-8, atol=1e-11)


def test_a_batch_norm_that_others_read_too_is_not_folded() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return self.head((self.norm(h) + h).flatten(1))  # type: ignore[no-any-return]

    model = Net(settled(Beside()), inputs=drawn(1, 1, 8))
    assert model.operations.layers["conv"].folded is None and model.operations.layers["conv"].first


def test_epsilon_is_that_of_captum() -> None:
    lrp = pytest.importorskip("captum.attr").LRP
    net = settled(
        nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
    ).double()

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = net, nn.Linear(5, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).flatten(1))  # type: ignore[no-any-return]

    x = drawn(2, 1, 8, 8, dtype=torch.float64)
    flat = Flat().eval()
    rule = interp.LayerRule("epsilon", epsilon=1e-9)  # captum's own default
    ours = relevance(loaded(flat), x, Rules(act="identity", linear=interp.LinearRule(rule, rule)))
    theirs = lrp(flat).attribute(x.clone().requires_grad_(), target=1)
    assert torch.allclose(ours[..., 0], theirs.flatten(1), rtol=1e-5, atol=1e-7 * float(theirs.detach().abs().max()))


def test_tanh_is_right_at_0_and_a_sigmoid_is_refused_by_name() -> None:
    model = loaded(settled(nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False))))
    x = torch.zeros(2, 3, dtype=torch.float64)
    x[1] = 0.5
    run = model.run(x, reads=["module:0"], rules=interp.RELP)
    (rho,) = torch.autograd.grad(run.logits[..., 1].sum(), run["module:0"])
    h = run["module:0"].detach()
    expected = torch.where(h == 0, 1.0, h.tanh() / torch.where(h == 0, 1.0, h)) * model.hf[2].weight[1]
    assert torch.allclose(rho, expected, rtol=1e-12)
    sigmoid = loaded(settled(nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 3))))
    for rules in (interp.RELP, interp.EPSILON):
        with pytest.raises(UnsupportedRuleError, match=r"1 \(sigmoid, whose f\(x\) / x has a pole at 0"):
            sigmoid.run(x, rules=rules)
    assert torch.equal(sigmoid.run(x, rules=interp.RELP, allow_unsupported=True).logits[:, 0], sigmoid.hf(x))
    gap = completeness(sigmoid, x + 0.3, x)
    assert float(gap.abs().max()) < 1e-12


def completeness(model: Net, x: Tensor, other: Tensor) -> Tensor:
    """What the input's contributions miss of the change of output 1 [batch]."""
    toward = model.run(other, reads=["embed"], keep_operands=True)
    run = model.run(x, reads=["embed"], rules=interp.DEEPLIFT, toward=toward)
    (m,) = torch.autograd.grad(run.logits[:, 0, 1].sum(), run["embed"])
    added = ((run["embed"] - toward["embed"]).detach() * m).sum((1, 2))
    return (added - (run.logits - toward.logits)[:, 0, 1]).detach()


@pytest.mark.parametrize("name", [name for name in NETS if name != "residual"])
def test_deeplift_is_complete_and_the_same_from_both_sides(name: str) -> None:
    make, shape = NETS[name]
    model = loaded(settled(make()))
    x, other = (drawn(3, *shape, seed=seed, dtype=torch.float64) for seed in (1, 2))
    assert float(completeness(model, x, other).abs().max()) < 1e-12
    assert float((completeness(model, x, other) + completeness(model, other, x)).abs().max()) < 1e-12


def test_group_norm_between_two_runs_and_with_its_scale_held() -> None:
    net = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ELU(0.7), nn.Flatten(), nn.Linear(64, 3)))
    model = loaded(net)
    assert model.operations.norms["1"].name == "GroupNorm of 2" and model.operations.activations["2"].name == "elu"
    x, other = (drawn(2, 2, 6, 6, seed=seed, dtype=torch.float64) for seed in (1, 2))
    assert float(completeness(model, x, other).abs().max()) < 1e-12
    run = model.run(x, reads=["module:0", "module:1"], rules=Rules(norm="frozen"))
    (found,) = torch.autograd.grad(run.logits[..., 1].sum(), run["module:0"], retain_graph=True)
    (behind,) = torch.autograd.grad(run.logits[..., 1].sum(), run["module:1"])
    h = run["module:0"].detach().view(2, 2, -1).requires_grad_()  # batch group number
    sigma = (h.var(-1, keepdim=True, unbiased=False) + net[1].eps).sqrt().detach()
    normed = ((h - h.mean(-1, keepdim=True)) / sigma).view(2, 4, 4, 4) * net[1].weight.view(-1, 1, 1)
    (expected,) = torch.autograd.grad(normed, h, behind)
    assert torch.allclose(found, expected.view_as(found), rtol=1e-9, atol=1e-12)


def test_what_has_no_rule_is_named() -> None:
    nets = (
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1)), drawn(1, 3), interp.RELP, r"1 \(Softmax\)"),
        (
            nn.Sequential(nn.ConvTranspose1d(1, 2, 3), nn.Flatten(), nn.LazyLinear(3)),
            drawn(1, 1, 4),
            interp.EPSILON,
            "transposed",
        ),
        (nn.Sequential(nn.Linear(3, 3), nn.PReLU(), nn.Linear(3, 3)), drawn(1, 3), interp.RELP, r"1 \(PReLU\)"),
        (nn.Sequential(nn.Linear(3, 3)), drawn(1, 3), interp.RELP_AH, "attention, of which none"),
    )
    for net, x, rules, said in nets:
        net(x)
        with pytest.raises(UnsupportedRuleError, match=said):
            Net(settled(net), inputs=x).run(x, rules=rules)


def test_residual_nets_of_transformers_are_complete() -> None:
    from transformers import RegNetConfig, RegNetForImageClassification, ResNetConfig, ResNetForImageClassification

    sizes = {"num_channels": 1, "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "num_labels": 3}
    for hf in (
        ResNetForImageClassification(ResNetConfig(layer_type="bottleneck", **sizes)),
        RegNetForImageClassification(RegNetConfig(layer_type="x", groups_width=4, **sizes)),
    ):
        model = Net(settled(hf).double(), output=lambda result: result.logits)
        x, other = (drawn(2, 1, 32, 32, seed=seed, dtype=torch.float64) for seed in (1, 2))
        change = (model.run(x).logits - model.run(other).logits)[:, 0, 1].detach()
        assert float(completeness(model, x, other).abs().max()) < 1e-12 < float(change.abs().min())
        assert torch.equal(model.run(x, rules=interp.EPSILON_PLUS).logits[:, 0], hf(x).logits)
