"""Level edges under torch's modes, with threads, in half precision, and on models that somebody has hooked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from circuits.evaluation.running.edge_runner import EdgeRunner
from interp.attribution.request import attribute
from interp.errors import LayoutError
from interp.tasks.metrics import METRICS
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, hooked, ids
from tests.interp.tasks.toy import toy_task, with_twins

ROUTED = [name for name in ARCHITECTURES if name not in OWN_ATTENTION]
MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "grad off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
def test_the_callers_mode_changes_nothing(mode: str, ablation: str) -> None:
    model, task = hooked("gpt2"), toy_task(2)
    options = {"level": "edges", "direction": "noise", "ablation": ablation}
    plain = {m: attribute(model, task, method=m, **options).per_example for m in ("eap", "exact")}
    kept = frozenset(EdgeRunner(model, task, ablation, METRICS["logit_diff"], 0, None).parts[::2])
    alone = EdgeRunner(model, task, ablation, METRICS["logit_diff"], 0, None).metrics([kept], False)[kept]
    with MODES[mode]():
        for method, expected in plain.items():
            assert np.array_equal(attribute(model, task, method=method, **options).per_example, expected)
        runner = EdgeRunner(model, task, ablation, METRICS["logit_diff"], 0, None)
        assert np.array_equal(runner.metrics([kept], False)[kept], alone)


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ROUTED)
def test_patching_what_is_the_same_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    task = with_twins(model, toy_task(2))
    assert np.abs(attribute(model, task, method="exact", level="edges").per_example).max() == 0


def test_threads_take_turns() -> None:
    """Attribution and plain runs of one model at the same time; the user's attention implementation is put back."""
    model, task = hooked("llama", attn="sdpa"), toy_task(2)
    expected = attribute(model, task, method="eap", level="edges").mean
    logits = model.run(ids()).logits
    gaps: list[float] = []

    def score() -> None:
        for _ in range(3):
            gaps.append(float(np.abs(attribute(model, task, method="eap", level="edges").mean - expected).max()))

    def run() -> None:
        for _ in range(20):
            gaps.append(float((model.run(ids()).logits - logits).abs().max()))

    threads = [threading.Thread(target=work) for work in (score, score, run)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gaps) == 2 * 3 + 20 and max(gaps) == 0
    assert model.hf.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("path", ["ln_1", "attn.c_attn", "attn.c_proj"])
def test_a_hooked_module_that_edges_compute_themselves_is_named(path: str) -> None:
    model = hooked("gpt2")
    module = model.hf.transformer.h[1].get_submodule(path)
    handle = module.register_forward_hook(lambda m, args, output: 2 * output)
    with pytest.raises(LayoutError, match=rf"h\.1\.{path}"):
        attribute(model, toy_task(2), method="eap", level="edges")
    handle.remove()
    attribute(model, toy_task(2), method="eap", level="edges")


def test_a_model_that_was_checked_is_checked_again_when_it_is_another_one() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    before = attribute(model, task, method="eap", level="edges")
    attn, norm = model.hf.transformer.h[0].attn, model.hf.transformer.h[1].ln_1

    def doubled(module: Any, args: Any, output: Any) -> Any:
        return 2 * output if module is norm else output

    for handle in (
        norm.register_forward_hook(doubled),
        torch.nn.modules.module.register_module_forward_hook(doubled),
    ):
        with handle, pytest.raises(LayoutError, match=r"h\.1\.ln_1"):
            attribute(model, task, method="eap", level="edges")
    own = attn.resid_dropout
    attn.resid_dropout = torch.nn.ReLU()
    with pytest.raises(LayoutError, match="not the sum"):
        attribute(model, task, method="eap", level="edges")
    attn.resid_dropout = own
    assert np.array_equal(attribute(model, task, method="eap", level="edges").per_example, before.per_example)


def test_a_term_in_the_stream_that_no_writer_wrote_is_refused() -> None:
    model = hooked("gpt2")
    model.hf.transformer.h[0].register_forward_hook(lambda m, args, output: output + 1)
    with pytest.raises(LayoutError, match="not the sum"):
        attribute(model, toy_task(2), method="eap", level="edges")


def test_acdc_says_which_threshold_it_used() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    options = {"method": "acdc", "level": "edges", "direction": "noise"}
    own = attribute(model, task, **options)
    ends = own.provenance.base_metric, own.provenance.source_metric
    assert own.provenance.tau == pytest.approx(0.01 * abs(ends[0] - ends[1]), rel=1e-4)
    part = attribute(model, task, metric="normalized_logit_diff", **options)
    span = abs(ends[0] - ends[1])
    assert part.provenance.tau == pytest.approx(own.provenance.tau / span, rel=1e-4)
    kept = [np.abs(scores.mean) >= scores.provenance.tau for scores in (own, part)]
    assert np.array_equal(*kept)
    again = attribute(model, task, tau=own.provenance.tau, **options)
    assert np.array_equal(own.per_example, again.per_example) and again.provenance.tau == own.provenance.tau
