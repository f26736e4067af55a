"""Runs do not reach into each other, edits act on the axis that they name, and scores know their pairs."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchEncoding

import circuits
import interp
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.smallest import smallest_faithful
from interp.errors import EditError, ScoreError, TaskError
from interp.model.model import HookedModel
from tests.interp.model.tiny import tiny
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return HookedModel(tiny("llama"))


IDS = torch.tensor([[5, 6, 7, 8, 9]])


def test_a_run_inside_an_edit_is_refused_and_leaves_the_model_usable(model: HookedModel) -> None:
    before = model.run(IDS).logits
    inner = interp.Edit("resid_post.0", lambda x: model.run(IDS).logits[..., : x.shape[-1]] * 0 + x)
    with pytest.raises(EditError, match="inside an edit"):
        model.run(IDS, edits=[inner])
    assert torch.equal(model.run(IDS).logits, before)


def test_runs_of_several_threads_take_turns(model: HookedModel) -> None:
    plain = model.run(IDS).logits
    zeroed = model.run(IDS, edits=[interp.zero("mlp_out")]).logits
    wrong: list[str] = []

    def work(edits: list[interp.Edit], want: torch.Tensor) -> None:
        for _ in range(40):
            if not torch.equal(model.run(IDS, edits=edits).logits, want):
                wrong.append(f"{len(edits)} edits")

    threads = [threading.Thread(target=work, args=a) for a in (([], plain), ([interp.zero("mlp_out")], zeroed)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_heads_are_heads_at_every_site_that_has_them(model: HookedModel) -> None:
    run = model.run(
        IDS, reads=["pattern.0", "z.1"], edits=[interp.zero("pattern.0", heads=2), interp.zero("z.1", heads=1)]
    )
    pattern, z = run["pattern.0"], run["z.1"]
    assert not pattern[:, 2].any() and pattern[:, [0, 1, 3]].sum(-1).allclose(torch.ones(1, 3, 5))
    assert not z[:, :, 1].any() and z[:, :, [0, 2, 3]].abs().sum() > 0
    late = model.run(IDS, reads=["pattern.0"], edits=[interp.zero("pattern.0", positions=3)])["pattern.0"]
    assert not late[:, :, 3].any() and late[:, :, 2].sum(-1).allclose(torch.ones(1, 4))
    with pytest.raises(EditError, match="have heads"):
        interp.zero("resid_post.1", heads=2)
    with pytest.raises(EditError, match="list"):
        model.run(IDS, edits=interp.zero("z.1"))  # type: ignore[arg-type]


def test_what_a_tokeniser_returns_is_run_as_its_ids(model: HookedModel) -> None:
    want = model.run(IDS).logits
    assert torch.equal(
        model.run(BatchEncoding({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})).logits, want
    )
    assert torch.equal(model.run(IDS.tolist()).logits, want)
    assert torch.equal(model.run(np.array(IDS)).logits, want)
    padded = {
        "input_ids": torch.cat([torch.zeros(1, 2).long(), IDS], 1),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1]]),
    }
    assert torch.allclose(model.run(padded).logits[:, 2:], want, atol=1e-5)
    with pytest.raises(TaskError, match="input_ids"):
        model.run({"ids": IDS})  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="context"):
        model.run([3] * 1000)


def test_a_model_is_freed_after_a_run_with_rules() -> None:
    model = HookedModel(tiny("gpt2"))
    model.run(IDS, rules=interp.RELP)
    alive = weakref.ref(model.hf)
    del model
    gc.collect()
    assert alive() is None


def test_scores_of_other_pairs_are_not_compared(model: HookedModel) -> None:
    here, there = toy_task(seed=0), toy_task(seed=1)
    scores = interp.attribute(model, here, method="relp", level="heads")
    exact = interp.attribute(model, there, method="exact", level="heads")
    with pytest.raises(ScoreError, match="pairs"):
        interp.agreement(scores, exact)


def test_held_out_is_found_out_and_not_claimed(model: HookedModel) -> None:
    here, there = toy_task(seed=0), toy_task(seed=1)
    circuit = circuits.discover(interp.attribute(model, here, method="relp", level="heads"), n=2)
    found: Any = circuits.evaluate(model, there, circuit, sizes=[2], n_random=1)
    assert found.held_out and not circuits.evaluate(model, here, circuit, sizes=[2], n_random=1).held_out
    with pytest.raises(CircuitError, match="were used to choose"):
        circuits.evaluate(model, here, circuit, held_out=True)


def test_the_smallest_faithful_size_is_found_between_the_sizes_tried(model: HookedModel) -> None:
    """The halving must end where trying every size ends, on a model whose neurons matter equally little."""
    scores = interp.attribute(model, toy_task(), method="exact", level="neurons")
    every = smallest_faithful(model, toy_task(), scores, target=0.9, every=True)
    halved = smallest_faithful(model, toy_task(), scores, target=0.9)
    assert every is not None and halved is not None
    order = [scores.parts[i] for i in scores.rank()]

    def value(size: int) -> float:
        chosen = Circuit(tuple(order[:size]), "neurons", "m", "t", "exact", "")
        return circuits.evaluate(model, toy_task(), chosen, sizes=[size], n_random=1).faithfulness.value or 0.0

    assert value(halved) >= 0.9 > value(halved - 1)


def test_normalised_metric_is_0_at_corrupt_and_1_at_clean(model: HookedModel) -> None:
    p = interp.attribute(model, toy_task(), method="atp", level="heads", metric="normalized_logit_diff").provenance
    assert (p.base_metric, p.source_metric) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0))


def test_scores_do_not_depend_on_the_callers_contexts(model: HookedModel) -> None:
    plain = interp.attribute(model, toy_task(), method="relp", level="heads").per_example
    for context in (torch.inference_mode(), torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            assert np.array_equal(interp.attribute(model, toy_task(), method="relp", level="heads").per_example, plain)
