"""Nets without blocks: what loads, what their sites are, what reads and edits do, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import interp
from interp.errors import (
    EditError,
    InterpError,
    LayoutError,
    LoadError,
    MethodError,
    SiteError,
    TaskError,
    UnsupportedRuleError,
)
from interp.model.nets.net import Net
from interp.rules.lrp import OF_NETS
from interp.rules.rules import RELP
from tests.interp.model.nets.made import NETS, Letters, cnn, drawn, settled
from tests.interp.model.tiny import hooked


def hooks(net: nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("given", (True, False))
def test_reads_and_edits_that_change_nothing_are_bit_identical(name: str, given: bool) -> None:
    make, shape = NETS[name]
    net, x = settled(make()), drawn(3, *shape)
    inplace = [getattr(m, "inplace", None) for m in net.modules()]
    model = Net(net, inputs=x if given else None)
    assert model.outputs.n == 3
    sites = [site for site in model.sites() if site != "logits"]
    expected = net(x.clone())
    assert torch.equal(model.run(x).logits[:, 0], expected)
    run = model.run(x, reads=sites, edits=[interp.Edit(site, torch.clone) for site in sites])
    assert torch.equal(run.logits[:, 0], expected) and len(run) == len(sites)
    for rules in (RELP, *(preset.rules for preset in OF_NETS)):
        if name == "residual" and rules.linear.direct:  # its pixels are added later too
            with pytest.raises(UnsupportedRuleError, match="first layer: none reads"):
                model.run(x, rules=rules)
            continue
        assert torch.equal(model.run(x, reads=sites, rules=rules).logits[:, 0], expected)
    other = model.run(drawn(3, *shape, seed=1), keep_operands=True)
    if name == "residual":  # its function in place of a module has no average
        with pytest.raises(UnsupportedRuleError, match="relu in no module"):
            model.run(x, rules=interp.DEEPLIFT, toward=other)
    else:
        assert torch.equal(model.run(x, rules=interp.DEEPLIFT, toward=other).logits[:, 0], expected)
    assert not any(hooks(net)) and [getattr(m, "inplace", None) for m in net.modules()] == inplace


def test_a_site_is_what_the_module_gives_and_gets() -> None:
    net, x = settled(cnn()), drawn(2, 1, 8, 8)
    model, seen = Net(net), dict[str, Tensor]()
    handles = [
        m.register_forward_hook(lambda m, a, y, p=p: seen.update({p: y.clone(), f"{p}:in": a[0].clone()}))
        for p, m in net.named_children()
        if p != "2"
    ]
    net(x)
    for handle in handles:
        handle.remove()
    run = model.run(x, reads=[f"module:{path}" for path in seen])
    assert all(torch.equal(run[f"module:{path}"], value) for path, value in seen.items())
    assert torch.equal(
        model.run(x, reads=["module:2:in"])["module:2:in"], seen["1"]
    )  # it writes into what it reads: a copy here
    assert torch.equal(run["module:4"], run[interp.Site("module", path="4")]) and interp.Site(
        "module", "4:in"
    ) == interp.Site("module", path="4", into=True)
    embed = model.run(x, reads=["embed"])["embed"]
    assert torch.equal(embed[..., 0].reshape(x.shape), x) and model.positions()[8:10] == ("r1c0", "r1c1")


def test_edits_act_on_a_part_and_gradients_reach_it() -> None:
    net, x = settled(cnn()), drawn(2, 1, 8, 8)
    model = Net(net)
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    mask[1, :, 2] = True
    for index, part in (
        (2, (slice(None), 2)),
        ((slice(1, 3), 0), (slice(None), slice(1, 3), 0)),
        (mask, (slice(None), mask)),
    ):
        run = model.run(x, reads=["module:4", "module:10"], edits=[interp.patch("module:4", 0.25, index=index)])
        expected = model.run(x, reads=["module:4"])["module:4"].clone()
        expected[part] = 0.25
        assert torch.equal(run["module:4"], expected)
        assert torch.equal(run["module:10"], net[5:](expected))
    steered = model.run(x, reads=["module:4"], edits=[interp.add("module:4:in", 1.0, scale=2.0)])
    (slope,) = torch.autograd.grad(steered.logits.sum(), steered["module:4"])
    assert slope.shape == (2, 4, 4, 4) and bool(slope.any())


def test_inputs_that_require_gradients_are_leaves() -> None:
    net, x = settled(cnn()), drawn(2, 1, 8, 8).requires_grad_()
    run = Net(net).run(x, reads=["module:3"])
    for of, alone in ((run["module:3"], net[:4](x)), (run.logits[:, 0], net(x))):  # type: ignore[index]
        weights = drawn(*of.shape, seed=2)
        found, want = (torch.autograd.grad((y * weights).sum(), x, retain_graph=True)[0] for y in (of, alone))
        assert torch.equal(found, want) and bool(want.any())


def test_every_model_has_sites_of_modules() -> None:
    model = hooked("gpt2")
    ids = torch.tensor([[3, 5, 7]])
    path = f"module:{model.layout.blocks[1].mlp.module}"
    run = model.run(ids, reads=[path, f"{path}:in", "mlp_out.1", "mlp_normed.1"])
    assert torch.equal(run[path], run["mlp_out.1"]) and torch.equal(run[f"{path}:in"], run["mlp_normed.1"])
    off = [model.run(ids, edits=[interp.zero(site)]).logits for site in (path, "mlp_out.1")]
    assert torch.equal(*off) and not torch.equal(off[0], run.logits)
    with pytest.raises(SiteError, match="unknown module"):
        model.run(ids, reads=[f"{path}x"])
    with pytest.raises(MethodError, match="nets without blocks"):
        model.check_level("channels")


def test_ids_of_an_embedding_are_inputs() -> None:
    net = settled(Letters())
    model, ids = Net(net), torch.tensor([[1, 5, 10, 0], [3, 3, 2, 7]])
    run = model.run(ids, reads=["embed", "module:letters", "module:lstm"])
    assert torch.equal(run.logits[:, 0], net(ids)) and torch.equal(run["embed"], net.letters(ids))
    assert run["module:lstm"].shape == (2, 4, 5) and model.positions(ids) == ("t0", "t1", "t2", "t3")
    for bad, said in ((ids + 4, "ids 0 to 10"), (ids.float(), "expected token ids"), (ids[0], "expected token ids")):
        with pytest.raises(TaskError, match=said):
            model.run(bad)


def test_a_function_makes_the_output_and_a_model_of_transformers_a_net() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", num_labels=3
    )
    torch.manual_seed(0)
    hf = ResNetForImageClassification(config).eval()
    x = drawn(2, 1, 32, 32)
    model = Net(hf, output=lambda result: result.logits)
    run = model.run({"pixel_values": x}, reads=["module:resnet.encoder.stages.1"])
    assert torch.equal(run.logits[:, 0], hf(x).logits) and run["module:resnet.encoder.stages.1"].shape[:2] == (2, 6)
    recurrent = Net(nn.GRU(3, 4, batch_first=True).eval(), output=lambda result: result[0][:, -1])
    assert recurrent.run(drawn(2, 5, 3)).logits.shape == (2, 1, 4) and recurrent.layout.output.linear
    assert not Net(settled(cnn()), output=torch.tanh).layout.output.linear


def test_the_order_in_memory_stays_what_convolutions_round_by() -> None:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    torch.manual_seed(0)
    hf = ConvNextForImageClassification(ConvNextConfig(num_stages=2, hidden_sizes=[16, 32], depths=[1, 1])).eval()
    for x in (drawn(1, 3, 224, 224), drawn(2, 3, 64, 64).to(memory_format=torch.channels_last)):
        model = Net(hf, output=lambda result: result.logits, inputs=x)
        expected = hf(x).logits
        assert torch.equal(model.run(x, reads=model.sites()).logits[:, 0], expected)
        edits = [interp.Edit(site, torch.clone) for site in model.sites()]
        assert torch.equal(model.run(x, edits=edits).logits[:, 0], expected)


class Turned(nn.Module):
    """A norm whose output is read with its channels last, so that the gradient comes in that order."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 6, 3), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).flatten(2).transpose(1, 2) ** 2  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.InstanceNorm2d(6, affine=True, track_running_stats=True)])
def test_gradients_of_norms_are_those_of_their_definition(norm: nn.Module) -> None:
    """Of one example whose gradient comes in another order torch itself gives others, without a word."""
    net = settled(Turned(norm)).double()
    x = drawn(1, 2, 6, 7, dtype=torch.float64)
    run = Net(net, inputs=x).run(x, reads=["module:conv", "module:norm"])
    weights = drawn(*run.logits.shape, seed=1, dtype=torch.float64)
    found, behind = torch.autograd.grad((run.logits * weights).sum(), [run["module:conv"], run["module:norm"]])
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[None, :, None, None]
    assert torch.allclose(behind, 2 * run["module:norm"] * weights.transpose(1, 2).reshape(behind.shape), rtol=1e-9)
    assert torch.allclose(found, behind * scale, rtol=1e-9)


class Parts(NamedTuple):
    found: Tensor
    other: int


class Named(nn.Module):
    """Its table comes last, a table of places stands before it, and what its body gives has names."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)

        def forward(self, h: Tensor) -> Parts:
            return Parts(self.one(h), 3)

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = self.Body(), nn.Linear(4, 3)
        self.places, self.table = nn.Embedding(9, 4), nn.Embedding(11, 4)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.places(torch.arange(ids.shape[1])) + self.table(ids)
        return self.head(self.body(h).found).mean(1)  # type: ignore[no-any-return]


def test_a_table_is_found_by_the_ids_it_reads_and_what_has_names_keeps_them() -> None:
    net, ids = settled(Named()), torch.tensor([[1, 5, 10, 0]])
    model = Net(net, inputs=ids)
    assert model.layout.embedding == "table" and model.vocabularies == {"ids": 11}
    run = model.run(ids, reads=["embed"], edits=[interp.Edit("module:body", torch.clone)])
    assert torch.equal(run.logits[:, 0], net(ids)) and torch.equal(run["embed"], net.table(ids))
    off = model.run(ids, edits=[interp.zero("module:body")]).logits[:, 0]
    assert torch.equal(off, net.head(torch.zeros(1, 4, 4)).mean(1))
    refused(TaskError, "ids 0 to 10", lambda: model.run(ids + 1))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).mean(1) - self.table(ids[:, -1]))  # type: ignore[no-any-return]


def test_a_table_that_is_called_again_is_no_site() -> None:
    net, ids = settled(Shared()), torch.tensor([[1, 5, 10, 0]])
    model = Net(net)
    assert torch.equal(model.run(ids, reads=["module:head"]).logits[:, 0], net(ids))
    assert "embed" not in model.sites() and "table: it is called 2 times" in model.missing_sites()["embed"]
    refused(SiteError, "site 'embed': .*called 2 times", lambda: model.run(ids, reads=["embed"]))
    refused(SiteError, "site 'embed': .*called 2 times", lambda: model.run(ids, edits=[interp.zero("embed")]))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.act = nn.Linear(3, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.one(self.act(self.one(x))))


class Rewritten(nn.Module):
    """What is added is what the module before has written over."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.act = nn.Linear(3, 3), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        return self.act(h) + h


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.one(x) + self.two(y)  # type: ignore[no-any-return]


class Anything(nn.Module):
    def forward(self, *args: Tensor) -> Tensor:
        return args[0]


def refused(kind: type[InterpError], said: str, act: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=said):
        act()


def test_what_has_no_one_value_is_refused_by_name() -> None:
    model, x = Net(settled(Twice())), drawn(2, 3)
    refused(SiteError, "one.*called 2 times", lambda: model.run(x, reads=["module:one"]))
    refused(SiteError, "act.*called 2 times", lambda: model.run(x, edits=[interp.zero("module:act")]))
    assert "module:one" in model.missing_sites() and "module:one" not in model.sites()
    refused(LayoutError, "act: it writes into what it reads, and something else", lambda: Net(settled(Rewritten())))
    once = Net(settled(cnn()))
    for site, said in (
        ("module:44", "unknown module '44'. Did you mean 4"),
        ("z", "no chain of blocks"),
        ("module:", "without a path"),
        ("zz", "unknown site"),
    ):
        refused(SiteError, said, lambda site=site: once.run(drawn(1, 1, 8, 8), reads=[site]))  # type: ignore[misc]
    refused(EditError, "heads=1", lambda: interp.zero("module:4", heads=1))
    refused(EditError, "positions=0", lambda: interp.patch("module:4", 0.0, positions=0))
    refused(EditError, "only sites of modules", lambda: interp.zero("z.0", index=1))
    for index in (9, torch.ones(2, 2, dtype=torch.bool), True, "a"):
        edit = interp.zero("module:4", index=index)  # type: ignore[arg-type]
        refused(EditError, "behind the batch have", lambda edit=edit: once.run(drawn(1, 1, 8, 8), edits=[edit]))  # type: ignore[misc]


def test_inputs_and_nets_that_cannot_be_are_refused_by_name() -> None:
    net = settled(cnn())
    model = Net(net)
    for x, said in (
        (drawn(1, 1, 9, 30), "does not run on"),
        (drawn(1, 3, 8, 8), "does not run on"),
        ((drawn(1, 1, 8, 8) * 255).to(torch.uint8), "whole numbers"),
        (drawn(1, 1, 8, 8) * torch.nan, "not finite"),
        ("a text", "not text"),
    ):
        refused(TaskError, said, lambda x=x: model.run(x))  # type: ignore[misc]
    refused(LoadError, "eval", lambda: Net(cnn().train()))
    batch = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()).eval()
    refused(LoadError, "statistics from the batch", lambda: Net(batch))
    refused(LayoutError, "gives a tuple.*output=", lambda: Net(nn.LSTM(3, 4).eval()))
    refused(
        LayoutError,
        r"expected \[batch pos output\] or \[batch output\]",
        lambda: Net(nn.Sequential(nn.Conv2d(1, 2, 3)).eval()),
    )
    pair = Net(Both().eval(), inputs={"x": drawn(1, 3), "y": drawn(1, 2)})
    assert pair.run({"x": drawn(2, 3), "y": drawn(2, 2)}, reads=["module:two"])["module:two"].shape == (2, 4)
    refused(TaskError, "needs x, y: y missing", lambda: pair.run(drawn(2, 3)))
    refused(LoadError, "no argument with a name", lambda: Net(Anything().eval(), inputs=drawn(1, 2)))
    refused(LoadError, "no input was found", lambda: Net(nn.Sequential(nn.ReLU()).eval()))
    refused(LoadError, "expected a function", lambda: Net(net, output=5))
