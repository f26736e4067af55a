"""The options of attribution: batches, positions, levels, metrics; and what they refuse."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.attribution.request import attribute, attribute_all
from interp.errors import MethodError, MetricError, SiteError, TaskError
from interp.model.model import HookedModel
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from interp.tasks.task_files import load_task
from tests.interp.attribution.test_attribution import APPROXIMATE, by_name, seen
from tests.interp.model.tiny import hooked
from tests.interp.parts.tokenisers import words
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.test_task_files import ROW, write
from tests.interp.tasks.toy import measured, pairs_of, toy_task


@pytest.mark.broad
@pytest.mark.parametrize("positions", ["all", "end", "spans"])
def test_batch_size_and_pair_order_do_not_matter(positions: str) -> None:
    model, task = hooked("llama"), toy_task(7, lengths=(5, 8, 6))
    order = [3, 0, 6, 2, 5, 1, 4]
    shuffled = replace(task, pairs=tuple(task.pairs[i] for i in order))
    options: dict[str, Any] = {"methods": ["exact", *APPROXIMATE], "level": "heads", "positions": positions}
    whole = attribute_all(model, task, **options)
    small, mixed = attribute_all(model, task, batch_size=1, **options), attribute_all(model, shuffled, **options)
    for method, scores in whole.items():
        assert scores.parts == small[method].parts == mixed[method].parts
        size = np.abs(scores.per_example).max()
        assert np.abs(scores.per_example - small[method].per_example).max() <= 1e-5 * size
        assert np.abs(scores.per_example[order] - mixed[method].per_example).max() <= 1e-5 * size


@pytest.mark.broad
@pytest.mark.parametrize("level", ["blocks", "heads", "qkv", "neurons"])
def test_positions_of_an_approximation_add_up(level: str) -> None:
    model, task = hooked("qwen3"), toy_task(3, lengths=(6,), changed=2)
    whole = attribute_all(model, task, methods=APPROXIMATE, level=level)
    for positions, count in (("each", 6), ("end", 6), ("spans", 3)):
        apart = attribute_all(model, task, methods=APPROXIMATE, level=level, positions=positions)
        for method, scores in apart.items():
            assert len(scores.parts) == count * len(whole[method].parts)
            total: dict[str, np.ndarray] = {}
            for node, column in zip(scores.parts, scores.per_example.T, strict=True):
                name = replace(node, position=None).name
                total[name] = total.get(name, 0) + column
            size = np.abs(whole[method].per_example).max()
            for name, column in by_name(whole[method]).items():
                assert np.abs(total[name] - column).max() <= 1e-5 * size


def test_labels_of_positions() -> None:
    model, task = hooked("gpt2"), toy_task(3, lengths=(5, 7))
    end = attribute(model, task, method="exact", level="resid", positions="end")
    labels = {n.position for n in end.parts}
    assert labels == {"rest", -1, -2, -3, -4, -5}
    short, long = (replace(task, pairs=task.pairs[i : i + 1]) for i in (0, 1))
    alone, found = by_name(attribute(model, long, method="exact", level="resid")), by_name(end)
    for back in range(1, 6):
        assert found[f"resid_pre.1@-{back}"][1] == pytest.approx(alone[f"resid_pre.1@{7 - back}"][0], abs=1e-5)
    assert found["resid_pre.1@rest"][0] == 0  # the short prompt has no other positions
    spans = attribute(model, short, method="atp", level="resid", positions="spans")
    each = by_name(attribute(model, short, method="atp", level="resid"))
    assert spans["resid_pre.1@head"] == pytest.approx(
        float(each["resid_pre.1@0"][0] + each["resid_pre.1@1"][0]), rel=1e-5
    )
    assert spans["resid_pre.1@tail"] == pytest.approx(float(each["resid_pre.1@4"][0]), rel=1e-5)


def test_what_positions_refuse() -> None:
    model, task = hooked("gpt2"), toy_task(4, lengths=(5, 8, 6))
    with pytest.raises(MethodError, match="same number at every"):
        attribute(model, task, method="atp", level="resid", positions="all")
    for level, positions in (("resid", None), ("heads", "each")):
        with pytest.raises(MethodError, match="these have 5, 6, 8 tokens"):
            attribute(model, task, method="atp", level=level, positions=positions)
    bare = Task("bare", tuple(replace(p, ids=replace(p.ids, spans={})) for p in task.pairs if p.ids))
    with pytest.raises(MethodError, match="names no spans"):
        attribute(model, bare, method="atp", level="heads", positions="spans")


# ---------------------------------------------------------------- levels, metrics, statistics


def test_qkv_of_grouped_queries() -> None:
    """One node per query head, and per K/V head; a K/V head serves two query heads."""
    with true_float64():
        model, task = hooked("llama", dtype=torch.float64), toy_task(2)
        scores = attribute(model, task, method="exact", level="qkv", direction="noise")
        names = [n.name for n in scores.parts if n.layer == 0]
        assert names == [*(f"a0.h{i}<q>" for i in range(4)), *(f"a0.kv{i}<{x}>" for x in "kv" for i in range(2))]
        pairs = pairs_of(task)
        clean, corrupt = torch.tensor([p.clean for p in pairs]), torch.tensor([p.corrupt for p in pairs])
        projection = model.hf.model.layers[1].self_attn.v_proj
        start, value = measured(model.run(clean).logits, pairs), seen(model.hf, projection, corrupt)
        v = projection(value)

        def after(_: Any, args: Any, y: Tensor) -> Tensor:
            return torch.cat([y[..., :8], v[..., 8:]], -1)

        handle = projection.register_forward_hook(after)
        expected = measured(model.hf(input_ids=clean).logits, pairs) - start
        handle.remove()
        assert np.allclose(by_name(scores)["a1.kv1<v>"], expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    with pytest.raises(SiteError, match="AttentionInterface"):
        attribute(hooked("falcon"), toy_task(2), method="atp", level="qkv")
    with pytest.raises(SiteError, match="mixture of experts"):
        attribute(hooked("mixtral"), toy_task(2), method="atp", level="neurons")


@pytest.mark.parametrize("metric", ["kl_base", "l2_base"])
def test_distances_to_the_base_run(metric: str) -> None:
    model, task = hooked("gpt2"), toy_task(3)
    for method in ("atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim"):
        with pytest.raises(MetricError, match=f"{metric}.*flat at the base run.*{method}"):
            attribute(model, task, method=method, level="heads", metric=metric)
    for method in ("exact", "atp-ig", "relp-ig"):
        scores = attribute(model, task, method=method, level="heads", metric=metric)
        assert scores.provenance.base_metric == pytest.approx(0, abs=1e-6) and np.abs(scores.mean).max() > 1e-3
        assert method != "exact" or scores.per_example.min() > -1e-5
    toward = attribute(model, task, method="atp", level="heads", metric=metric.replace("base", "source"))
    assert np.abs(toward.mean).max() > 1e-3


def test_normalised_metric() -> None:
    model, task = hooked("gpt2"), toy_task(4)
    model.hf.double()
    for direction, sign in (("denoise", 1), ("noise", -1)):
        options: dict[str, Any] = {"methods": ["exact", "relp"], "level": "heads", "direction": direction}
        raw = attribute_all(model, task, **options)
        unit = attribute_all(model, task, metric="normalized_logit_diff", **options)
        p = raw["exact"].provenance
        span = sign * (p.source_metric - p.base_metric)  # type: ignore[operator]
        for method, scores in raw.items():
            assert np.allclose(unit[method].per_example * span, scores.per_example, rtol=1e-9, atol=1e-12)
        assert unit["exact"]["embed"] == pytest.approx(sign, abs=1e-6)


def test_mean_and_standard_error() -> None:
    scores = attribute(hooked("gpt2"), toy_task(5), method="exact", level="heads")
    x = scores.per_example
    assert x.shape == (5, 11) and np.allclose(scores.mean, [np.mean(c) for c in x.T])
    assert np.allclose(scores.stderr, [np.sqrt(np.sum((c - c.mean()) ** 2) / 4 / 5) for c in x.T])
    assert np.isnan(attribute(hooked("gpt2"), toy_task(1), method="exact", level="heads").stderr).all()


def test_what_the_driver_refuses() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    for wrong, message in (
        ({"method": "atp-gi"}, "atp-ig"), ({"level": "head"}, "heads"), ({"direction": "up"}, "noise"),
        ({"ablation": "none"}, "zero"), ({"steps": 4}, "IG methods"), ({"batch_size": 0}, "batch_size"),
        ({"method": "atp-ig", "steps": 0}, "steps=0"), ({"method": "atp-ig", "quadrature": "simpson"}, "midpoint"),
        ({"parts": ["a9.h0"]}, "a9.h0"), ({"positions": "some"}, "spans"),
    ):  # fmt: skip
        with pytest.raises(MethodError, match=message):
            attribute(model, task, **{"method": "atp", "level": "heads", **wrong})  # type: ignore[arg-type]


def test_one_attention_serves_all_runs_of_a_call() -> None:
    """A method that needs eager attention takes the others of its call along; alone they keep the user's."""
    names = ["exact", "atp", "relp-ah"]
    sdpa, eager = hooked("llama", attn="sdpa"), hooked("llama")
    ours, theirs = (attribute_all(m, toy_task(3), methods=names, level="heads") for m in (sdpa, eager))
    for name in names:
        assert np.array_equal(ours[name].per_example, theirs[name].per_example)
        assert ours[name].provenance.attention == "eager"
    alone = attribute(sdpa, toy_task(3), method="atp", level="heads")
    assert alone.provenance.attention == "sdpa" == sdpa.hf.config._attn_implementation
    assert np.allclose(alone.per_example, ours["atp"].per_example, atol=1e-4)


def test_text_without_a_tokeniser(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, "t.json", [ROW]))
    with pytest.raises(TaskError, match="no tokeniser"):
        interp.attribute(hooked("gpt2"), task, method="atp", level="heads")


def test_equal_prompts_are_for_ablations_that_need_no_other_run() -> None:
    """Patched from the paired prompt they would all score 0, and nothing would say why."""
    model = HookedModel(hooked("llama").hf, words())
    task = Task("t", (Pair("Mary gave to", "Mary gave to", ("Tom",), ("Anna",)),))
    with pytest.raises(TaskError, match=r"t pair 1 of 1: 'clean' and 'corrupt' are the same; .* zero or mean"):
        attribute(model, task, method="exact", level="heads", show_progress=False)
    same = Task("t", (Pair("", "", (), (), ids=TokenPair((5, 6, 7), (5, 6, 7), (8,), (9,))),))
    with pytest.raises(TaskError, match=r"t pair 1 of 1: 'clean' and 'corrupt' are the same; .* zero or mean"):
        attribute(model, same, method="exact", level="heads", show_progress=False)
    assert (
        np.abs(
            attribute(model, task, method="exact", level="heads", ablation="zero", show_progress=False).per_example
        ).max()
        > 0
    )


def test_the_metric_is_read_behind_the_last_word_and_not_behind_the_end() -> None:
    hf = hooked("llama").hf
    task = Task("t", (Pair("Mary gave the book to", "John gave the book to", ("Tom",), ("Anna",)),))
    found = attribute(
        HookedModel(hf, words(behind="</s>")),
        task,
        method="exact",
        level="heads",
        direction="noise",
        show_progress=False,
    )
    ids = words().encode("Mary gave the book to")
    logits = hf(torch.tensor([ids])).logits[0, -1]
    right, wrong = words(bos=False).encode("Tom Anna")
    assert found.provenance.base_metric == pytest.approx(float(logits[right] - logits[wrong]), abs=1e-5)


def test_whole_numbers_of_numpy_are_options() -> None:
    """An option of another kind would fail late, or not be written to the file of the scores."""
    how: dict[str, Any] = {"method": "exact", "level": "heads", "ablation": "resample", "show_progress": False}
    found = [attribute(hooked("llama"), toy_task(4), seed=seed, batch_size=seed, **how) for seed in (np.int64(3), 3)]
    assert np.array_equal(found[0].per_example, found[1].per_example)
    assert type(found[0].provenance.seed) is int


@pytest.fixture(scope="module")
def demo() -> Any:
    return interp.load("demo")


@pytest.mark.parametrize("options", [{"level": "heads", "positions": "each"}, {"level": "resid"}])
def test_of_a_named_task_as_many_pairs_are_made_with_the_commonest_length(demo: Any, options: Any) -> None:
    with pytest.warns(UserWarning, match="100 are made"):
        scores = interp.attribute(demo, "ioi", method="relp", **options)
    task = interp.task("ioi", demo, length="commonest")
    assert scores.positions() == list(range(task.tokenize(demo.tokenizer, demo.layout.d_vocab)[0].length))
    assert scores.provenance.n_pairs == 100
    again = interp.attribute(demo, task, method="relp", **options)
    assert (scores.per_example == again.per_example).all()


def test_of_a_file_it_says_how_many_are_left_out_and_pairs_of_the_user_are_refused(demo: Any, tmp_path: Path) -> None:
    rows = [
        {"clean": p.clean, "corrupt": p.corrupt, "answer": p.answers[0], "wrong": p.wrong[0]}
        for p in interp.task("ioi", demo, n=30).pairs
    ]
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(rows))
    kept = interp.task(mixed, demo, length="commonest")
    asked: Any = {"method": "relp", "level": "heads", "positions": "each"}
    with pytest.warns(UserWarning, match=f"{len(kept)} of 30 are taken, the others left out"):
        interp.attribute(demo, mixed, **asked)
    with pytest.raises(MethodError, match="length='commonest'"):
        interp.attribute(demo, interp.task(mixed, demo), **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interp.attribute(demo, kept, **asked)
