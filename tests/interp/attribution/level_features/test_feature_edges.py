"""Edges between features: they add up to the score of their sender, and are the direct effects that interventions show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import interp
from interp.attribution.feature_edges import feature_edges
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

pytestmark = pytest.mark.filterwarnings("ignore:the model answers")
WIDE = torch.float64


def everywhere() -> dict[str, Dictionary]:
    """Five dictionaries of a model of width 32, one of them a transcoder, of every activation."""
    return {
        "z.0": made("z.0", 32, dtype=WIDE, seed=5),
        "resid_post.0": made("resid_post.0", 32, kind="topk", dtype=WIDE),
        "attn_out.1": made("attn_out.1", 32, kind="jumprelu", dtype=WIDE, seed=3),
        "mlp_out.1": made("mlp_normed.1", 32, target="mlp_out.1", dtype=WIDE, seed=4),
        "resid_post.1": made("resid_post.1", 32, kind="gated", dtype=WIDE, seed=7),
    }


@pytest.mark.broad
@pytest.mark.parametrize("method", ["atp", "relp", "relp-ah", "gim"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox", "granite", "qwen3"])
def test_the_edges_out_of_a_node_add_up_to_its_score(name: str, method: str) -> None:
    model, task, given = hooked(name, dtype=WIDE), toy_task(3, lengths=(6, 5), changed=2), everywhere()
    with true_float64():
        scores = interp.attribute(model, task, method=method, level="features", dictionaries=given)
        edges = feature_edges(model, task, [p.name for p in scores.parts], dictionaries=given, method=method)
    total = {part.name: torch.zeros(3, dtype=WIDE) for part in scores.parts}
    for edge, column in zip(edges.edges, edges.per_example.T, strict=True):
        total[edge.sender.name] += torch.from_numpy(column)
    for part, column in zip(scores.parts, scores.per_example.T, strict=True):
        torch.testing.assert_close(total[part.name], torch.from_numpy(column), rtol=0, atol=1e-11)
    senders = {edge.sender.name for edge in edges.edges if edge.receiver.name != "logits"}
    assert any("error" in name for name in senders) and abs(edges.mean).max() > 1e-3


def test_a_normalised_dictionary_adds_up_as_well() -> None:
    """What its scale carries is the error's."""
    model, task = hooked("gpt2", dtype=WIDE), toy_task(2)
    given = {
        "resid_post.0": made("resid_post.0", 32, dtype=WIDE),
        "attn_out.1": made("attn_out.1", 32, dtype=WIDE, normalize="layer_norm", seed=2),
    }
    with true_float64():
        scores = interp.attribute(model, task, method="atp", level="features", dictionaries=given)
        edges = feature_edges(model, task, [p.name for p in scores.parts], dictionaries=given, method="atp")
    total = {part.name: 0.0 for part in scores.parts}
    for edge, value in zip(edges.edges, edges.mean, strict=True):
        total[edge.sender.name] += float(value)
    assert all(abs(total[part.name] - scores[part.name]) < 1e-11 for part in scores.parts)


# ---------------------------------------------------------------- against interventions


class Intervened:
    """One pair by hand: the base run with every place held at its base value, but for what is moved along the way of a node."""

    def __init__(self, model: HookedModel, pair: TokenPair, given: dict[str, Dictionary]) -> None:
        self.model, self.given, self.pair = model, given, pair
        self.ids = torch.tensor([pair.corrupt])
        reads = [*given, *(f"{site}.{part}" for site in given for part in ("features", "error"))]
        with torch.no_grad():
            self.base = model.run(self.ids, reads=reads, dictionaries=given)
            self.source = model.run(torch.tensor([pair.clean]), reads=reads, dictionaries=given)

    def moved(self, node: str, eps: float) -> Tensor:
        """What the node's change, times eps, adds at its place."""
        site, _, part = node.rpartition(".")
        if part == "error":
            return eps * (self.source[f"{site}.error"] - self.base[f"{site}.error"])
        features = self.source[f"{site}.features"] - self.base[f"{site}.features"]
        u = int(part[1:])
        return eps * features[..., u : u + 1] * self.given[site].W_dec[u]

    def run(self, sender: str, eps: float, receiver: str) -> dict[str, Tensor] | Tensor:
        """The features and error at the receiver's place, or the metric, with all other places held."""
        at = sender.rpartition(".")[0]
        later = receiver.rpartition(".")[0]
        edits = []
        for site in self.given:
            if site == later:
                continue
            value = self.base[site]
            if site == at:
                value = value + self.moved(sender, eps).view_as(value)
            edits.append(interp.patch(site, value))
        parts = [f"{later}.features", f"{later}.error"] if later else []
        with torch.no_grad():
            run = self.model.run(self.ids, reads=parts, edits=edits, dictionaries=self.given)
        if not later:
            return self.metric(run.logits)
        return {part: run[f"{later}.{part}"] for part in ("features", "error")}

    def metric(self, logits: Tensor) -> Tensor:
        return logits[0, -1, self.pair.answers[0]] - logits[0, -1, self.pair.wrong[0]]

    def rho(self, site: str) -> Tensor:
        """d metric / d place in the base run, [1 pos d]."""
        run = self.model.run(self.ids, reads=[site])
        return torch.autograd.grad(self.metric(run.logits), run[site])[0].flatten(2)

    def edge(self, sender: str, receiver: str, eps: float = 1e-5) -> float:
        """The slope of the receiver along the sender's change, times the metric's slope at the receiver."""
        up, down = self.run(sender, eps, receiver), self.run(sender, -eps, receiver)
        if isinstance(up, Tensor) or isinstance(down, Tensor):
            return float((up - down) / (2 * eps))  # type: ignore[operator]
        site, _, part = receiver.rpartition(".")
        if part == "error":
            return float(((up["error"] - down["error"]) / (2 * eps) * self.rho(site)).sum())
        u = int(part[1:])
        slope = (up["features"][..., u] - down["features"][..., u]) / (2 * eps)
        return float((slope * (self.rho(site) @ self.given[site].W_dec[u])).sum())


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_edge_is_the_slope_that_interventions_show(name: str) -> None:
    model, task, given = hooked(name, dtype=WIDE), toy_task(2), everywhere()
    with true_float64():
        scores = interp.attribute(model, task, method="atp", level="features", dictionaries=given)
        edges = feature_edges(model, task, [p.name for p in scores.parts], dictionaries=given, method="atp")
        pairs = task.tokenize(None, 64)
        hands = [Intervened(model, pair, given) for pair in pairs]
        order = abs(edges.mean).argsort()[::-1]
        of_errors = [i for i in order if "error" in edges.parts[i].name][:6]
        to_metric = [i for i in order if edges.parts[i].name.endswith("logits")][:4]
        chosen = {*order[:25:2].tolist(), *of_errors, *to_metric, *order[200:400:50].tolist()}
        for i in chosen:
            edge = edges.edges[i]
            by_hand = [hand.edge(edge.sender.name, edge.receiver.name.removesuffix("logits")) for hand in hands]
            assert by_hand == pytest.approx(edges.per_example[:, i], rel=1e-4, abs=1e-7), edge.name


def test_a_chosen_few_have_the_same_edges_as_among_all() -> None:
    model, task, given = hooked("gpt2", dtype=WIDE), toy_task(3), everywhere()
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=given)
    every = feature_edges(model, task, [p.name for p in scores.parts], dictionaries=given)
    names = [name for name, _ in scores.top(8)] + ["resid_post.0.error"]
    some = feature_edges(model, task, names, dictionaries=given, batch_size=1)
    assert {p.sender.name for p in some.edges} <= set(names)
    for part, value in zip(some.parts, some.mean, strict=True):
        assert value == pytest.approx(every[part.name], abs=1e-12)


class Shapes(TorchDispatchMode):
    """The shape of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = f(*args, **(kwargs or {}))
        self.seen |= {
            tuple(x.shape) for x in (found if isinstance(found, tuple | list) else [found]) if isinstance(x, Tensor)
        }
        return found


@pytest.mark.parametrize("kind", ["jumprelu", "topk"])
def test_no_table_of_all_features_of_all_tokens_is_made(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary of a large model has a hundred thousand features; those that are silent must not take memory."""
    model, task, n = hooked("gpt2"), toy_task(3, lengths=(5,)), 600
    given = {at: made(at, 32, kind=kind, n=n, seed=i) for i, at in enumerate(("resid_post.0", "attn_out.1"))}
    given = {at: replace(d, b_enc=d.b_enc - 2) for at, d in given.items()}
    names = ["resid_post.0.error", "attn_out.1.error"]
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=given)
    names += [name for name, _ in scores.top(8) if name not in names]
    monkeypatch.setattr("interp.attribution.features.listed.CODE_BYTES", 1)  # tokens are encoded one by one
    with Shapes() as shapes:
        edges = feature_edges(model, task, names, dictionaries=given)
    assert abs(edges.mean).max() > 1e-4
    assert (1, n) in shapes.seen and not shapes.seen & {(3, 5, n), (15, n)}


def test_edges_are_scores_that_can_be_saved(tmp_path: Path) -> None:
    model, task, given = hooked("gpt2"), toy_task(2), {"resid_post.0": made("resid_post.0", 32)}
    names = [p.name for p in interp.attribute(model, task, method="atp", level="features", dictionaries=given).parts]
    edges = feature_edges(model, task, names[-4:], dictionaries=given, method="atp")
    edges.save(tmp_path / "edges.parquet")
    again = Scores.load(tmp_path / "edges.parquet")
    assert again.parts == edges.parts and (again.per_example == edges.per_example).all()
    assert again.provenance == edges.provenance and again.provenance.level == "feature_edges"
    assert again.provenance.forwards == 5.0 and again.provenance.dictionaries
    assert list(again.to_pandas().columns[:3]) == ["edge", "sender", "receiver"]


@pytest.mark.parametrize(
    ("message", "nodes", "options"),
    [
        ("no coefficients at the base run", ["resid_post.0.error"], {"method": "exact"}),
        ("no coefficients at the base run", ["resid_post.0.error"], {"method": "relp-ig"}),
        ("all positions together", ["resid_post.0.error"], {"positions": "each"}),
        ("none given", [], {}),
        ("resid_post.0.f999", ["resid_post.0.f999"], {}),
        ("needs dictionaries", ["resid_post.0.error"], {"dictionaries": None}),
    ],
)
def test_what_cannot_be_is_refused(message: str, nodes: list[str], options: dict[str, Any]) -> None:
    given = {"dictionaries": {"resid_post.0": made("resid_post.0", 32)}, **options}
    with pytest.raises(MethodError, match=message):
        feature_edges(hooked("gpt2"), toy_task(2), nodes, **given)
