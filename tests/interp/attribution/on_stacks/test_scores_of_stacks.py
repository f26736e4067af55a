"""Scores of nodes of encoder-decoders and of two towers, against loops of runs with patches, finite differences and plain means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.attribution.request import attribute
from interp.errors import MethodError, MetricError, SiteError
from interp.model.model import HookedModel
from interp.tasks.pairs.input_pairs import InputPair
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.interp.attribution.on_stacks.pairs import ANSWER, WRONG, effect, inputs, site_of, task, value
from tests.interp.model.several import odd_stacks as odd
from tests.interp.model.several.made import BART, CLIP, T5, WHISPER, known, made
from tests.interp.model.several.own_stacks import Both
from tests.interp.model.several.speaking import speaking
from tests.interp.model.several.unheard import given_of, hooked_of
from tests.interp.rules.float64 import true_float64

SOME = pytest.mark.parametrize("name", [T5, BART, WHISPER, CLIP])


def _options(name: str) -> dict[str, str]:
    return {"metric": "logit"} if name == CLIP else {}


@SOME
def test_exact_is_a_loop_of_runs_with_patches(name: str) -> None:
    """Every node of every stack, so also what a replay from the middle gives."""
    model = known(name)
    scores = attribute(model, task(name), method="exact", level="heads", **_options(name))
    sides = [inputs(name, seed) for seed in (2, 1)]
    source = model.run(sides[1], reads=[site_of(node) for node in scores.parts])
    stacks = {"vision", "text"} if name == CLIP else {"encoder", ""}
    assert {node.stack for node in scores.parts} == stacks
    assert len(scores.parts) == (2 * (1 + 2 * 5) if name == CLIP else 2 * (1 + 2 * 5) + 2 * 4)
    expected = [effect(model, name, node, sides[0], source[site_of(node)]) for node in scores.parts]
    np.testing.assert_allclose(scores.mean, expected, rtol=1e-4, atol=2e-5 * max(map(abs, expected)))
    for stack in stacks:
        assert any(abs(e) > 1e-3 for e, node in zip(expected, scores.parts, strict=True) if node.stack == stack)


@pytest.mark.parametrize("level", ["blocks", "qkv", "neurons"])
def test_exact_at_other_levels(level: str) -> None:
    model = known(T5)
    scores = attribute(model, task(T5), method="exact", level=level)
    base, clean = inputs(T5, 2), inputs(T5, 1)
    some = scores.parts[:: 1 if level != "neurons" else 17]
    source = model.run(clean, reads=list({site_of(node) for node in some}))
    expected = [effect(model, T5, node, base, source[site_of(node)]) for node in some]
    found = [scores[node.name] for node in some]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5 * max(map(abs, expected)))
    kinds = {
        "blocks": {"embed", "attn_out", "cross_out", "mlp"},
        "qkv": {"q", "k", "v", "cross_q", "cross_k", "cross_v"},
        "neurons": {"neuron"},
    }
    assert {node.kind for node in scores.parts} == kinds[level]


@pytest.mark.parametrize(
    "kind", [Both, odd.Bare, odd.HeadOfBoth, odd.FedSource, odd.SharedNorm, odd.Halved], ids=lambda kind: kind.__name__
)
def test_exact_on_models_of_tomorrow(kind: type) -> None:
    """Also where the decoder cannot run without its encoder, or reads it elsewhere."""
    model = hooked_of(kind)
    clean, corrupt = ({key: x[:1] for key, x in given_of(kind, seed=seed).items()} for seed in (1, 2))
    corrupt["decoder_input_ids"] = clean["decoder_input_ids"]
    swap = Task("swap", (InputPair(clean, corrupt, answers=[ANSWER], wrong=[WRONG]),))
    scores = attribute(model, swap, method="exact", level="heads")
    source = model.run(clean, reads=[site_of(node) for node in scores.parts])
    expected = [effect(model, "", node, corrupt, source[site_of(node)]) for node in scores.parts]
    np.testing.assert_allclose(scores.mean, expected, rtol=1e-4, atol=2e-5 * max(map(abs, expected)))


@SOME
def test_atp_is_the_slope_of_a_small_patch(name: str) -> None:
    with true_float64():
        model = HookedModel(made(name, torch.float64))
        scores = attribute(model, task(name, dtype=torch.float64), method="atp", level="heads", **_options(name))
        base, clean = (inputs(name, seed, dtype=torch.float64) for seed in (2, 1))
        source = model.run(clean, reads=[site_of(node) for node in scores.parts])
        for node in scores.parts[::2]:
            up, down = (effect(model, name, node, base, source[site_of(node)], share) for share in (1e-5, -1e-5))
            assert scores[node.name] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6), node


def test_mean_ablation_counts_the_positions_of_each_stack() -> None:
    """The mean over all positions of all clean prompts: of the encoder eleven of two prompts, of the decoder ten."""
    model = known(T5)
    scores = attribute(model, task(T5, (5, 6)), method="exact", level="heads", ablation="mean", direction="noise")
    cleans = [inputs(T5, 1, 5), inputs(T5, 11, 6)]
    runs = [model.run(clean, reads=[site_of(node) for node in scores.parts]) for clean in cleans]
    for node in scores.parts[::3]:
        rows = np.concatenate([run[site_of(node)][0].detach().double().numpy() for run in runs])
        assert len(rows) == (11 if node.stack else 10)
        mean = torch.from_numpy(rows.mean(0)).float()[None, None]
        expected = [effect(model, T5, node, clean, mean) for clean in cleans]
        np.testing.assert_allclose(scores.per_example[:, scores.parts.index(node)], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stack", "n"),
    [
        (T5, "encoder", 6),
        (T5, "", 5),
        (BART, "encoder", 6),
        (WHISPER, "encoder", 16),
        (CLIP, "vision", 17),
        (CLIP, "text", 6),
    ],
)
def test_positions_of_one_stack_sum_to_all(name: str, stack: str, n: int) -> None:
    model, more = known(name), _options(name)
    whole = attribute(model, task(name), method="atp", level="heads", **more)
    each = attribute(model, task(name), method="atp", level="heads", positions="each", stack=stack, **more)
    assert {node.stack for node in each.parts} == {stack}
    assert {node.position for node in each.parts} == set(range(n))
    for node in (node for node in whole.parts if node.stack == stack):
        parts = [each[f"{node.name}@{p}"] for p in range(n)]
        assert sum(parts) == pytest.approx(whole[node.name], rel=1e-4, abs=1e-5)
    exact = attribute(model, task(name), method="exact", level="resid", positions="each", stack=stack, **more)
    first = [node for node in exact.parts if node.name.partition("@")[0].endswith("resid_pre.0")]
    base, source = inputs(name, 2), model.run(inputs(name, 1), reads=[site_of(first[0])])[site_of(first[0])]
    own = model.run(base, reads=[site_of(first[0])])[site_of(first[0])].detach()
    for p in (0, n - 1):
        mixed = own.clone()
        mixed[:, p] = source[:, p]
        node = next(node for node in first if node.position == p)
        assert exact[node.name] == pytest.approx(effect(model, name, node, base, mixed), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", ["relp", "deeplift", "atp-ig", "atp-star"])
def test_what_other_methods_give(method: str) -> None:
    """An estimate that knows both stacks, or a refusal that names them."""
    model = known(T5)
    if method == "atp-star":
        with pytest.raises(MethodError, match="encoder and decoder"):
            attribute(model, task(T5), method=method, level="heads")
        return
    scores = attribute(model, task(T5), method=method, level="heads")
    if method == "deeplift":
        change = value(T5, model.run(inputs(T5, 1)).logits) - value(T5, model.run(inputs(T5, 2)).logits)
        embeds = sum(scores[node] for node in ("encoder:embed", "embed"))
        assert embeds == pytest.approx(change, abs=1e-2 * max(1.0, abs(change)))
    assert scores["encoder:m0"] != 0.0 and scores["x1.h0"] != 0.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "edges"}, "several streams"),
        ({"level": "heads", "ablation": "optimal"}, "several streams"),
        ({"level": "heads", "positions": "each"}, "stack='encoder' or ''"),
        ({"level": "resid", "positions": "each"}, "stack='encoder' or ''"),
        ({"level": "qkv", "positions": "each", "stack": "encoder"}, "any level but qkv"),
        ({"level": "heads", "positions": "spans", "stack": "encoder"}, "'each' or 'end'"),
        ({"level": "heads", "method": "learned"}, "several streams"),
        ({"level": "heads", "method": "acdc"}, ""),
    ],
)
def test_what_knows_one_stream_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        attribute(known(T5), task(T5), **{"method": "atp", **options})  # type: ignore[arg-type]


def test_a_stack_that_is_not_there_is_refused() -> None:
    for name, stack in ((T5, "decoder"), (T5, "text"), (CLIP, "")):
        with pytest.raises(SiteError, match="prefix"):
            attribute(known(name), task(name), method="atp", level="heads", stack=stack, **_options(name))


@torch.no_grad()
def test_pairs_of_towers_are_compared_one_by_one() -> None:
    """Two images and two texts are two pairs, not four."""
    model, both = known(CLIP), [inputs(CLIP, seed) for seed in (1, 2)]
    whole = {key: torch.cat([own[key] for own in both]) for key in both[0]}
    logits = model.run(whole, reads=["vision:z.0"]).logits
    assert logits.shape == (2, 1, 1)
    for i, own in enumerate(both):
        torch.testing.assert_close(logits[i : i + 1], model.run(own).logits, rtol=1e-5, atol=1e-5)


def test_slopes_along_masks_of_both_stacks_sum_to_the_change() -> None:
    """From no part replaced to all of them: the heads, MLPs and embeddings of both stacks make up the metric."""
    model = known(BART)
    scores = attribute(model, task(BART), method="mask-ig", level="heads", steps=40)
    change = value(BART, model.run(inputs(BART, 1)).logits) - value(BART, model.run(inputs(BART, 2)).logits)
    assert abs(change) > 0.1 and min(abs(scores[node]) for node in ("encoder:m0", "x1.h0", "m1")) > 0
    assert float(scores.mean.sum()) == pytest.approx(change, rel=0.03)


def test_metrics_that_read_a_wrong_answer_need_one() -> None:
    pair = Pair("the cat", "the dog", "katze", decoder="der")
    with pytest.raises(MetricError, match="wrong"):
        attribute(speaking(), Task("words", (pair,)), method="atp", level="heads")
    assert attribute(speaking(), Task("words", (pair,)), method="atp", level="heads", metric="log_prob")[
        "encoder:embed"
    ]
