"""The benchmark: what it counts and divides by. No time is compared with any figure."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from circuits.bench import attribution_cost, exact_cost
from circuits.bench.workload import Measurement, Size, Skipped, random_task
from interp.attribution.edges import edge_maps
from interp.attribution.request import prepare
from interp.errors import MethodError
from interp.model.model import HookedModel
from tests.circuits.bench.clock import fixed_clock
from tests.interp.model.tiny import hooked

SMALL = Size(batch=2, length=6, repeats=1)
#: Multiply-adds of tiny GPT-2, by hand: 2 layers of 4 heads of 8, d_model 32, d_mlp 128, 64 tokens in the vocabulary.
QUERY, KEYS_VALUES, OUT, MLP = 32 * 32, 2 * 32 * 32, 32 * 32, 2 * 32 * 128
SCORE, LOGIT, VOCAB = 2 * 32, 32, 64


def _strict(text: str) -> Any:
    """JSON without NaN and infinities."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


# ---------------------------------------------------------------- the arithmetic of exact patching


def _request(model: HookedModel, level: str, positions: str, metric: str = "logit_diff", **only: Any) -> Any:
    task = random_task(model, SMALL.batch, SMALL.length)
    options = {"level": level, "positions": positions, "metric": metric, "batch_size": SMALL.batch, **only}
    return prepare(model, task, methods=["exact"], **options)


def _forward_price(length: int) -> int:
    return length * (2 * (QUERY + KEYS_VALUES + OUT + MLP + length * SCORE) + VOCAB * LOGIT)


def _slow(kind: str, layer: int, changed: set[int], columns: int, length: int = SMALL.length) -> int:
    """Multiply-adds of one patch for one prompt: sets of positions whose stream differs, layer by layer, read at the end."""
    end, total = length - 1, 0
    first = layer if kind == "resid_pre" else layer + 1
    if kind in ("head", "attn_out"):
        total += MLP * len(changed & {end} if layer == 1 else changed)
    for at in range(first, 2):
        behind = {p for p in range(length) if p >= min(changed)}
        needed = behind & {end} if at == 1 else behind
        total += KEYS_VALUES * len(changed) + QUERY * len(changed & needed) + (OUT + MLP) * len(needed)
        total += SCORE * sum(p + 1 for p in needed)
        changed = needed
    return total + columns * LOGIT if end in changed else 0


@pytest.mark.parametrize(("metric", "columns"), [("logit_diff", 2), ("log_prob", VOCAB)])
@pytest.mark.parametrize(
    ("level", "kinds", "positions"),
    [
        ("resid", ["resid_pre"], "each"),
        ("blocks", ["attn_out", "mlp"], "each"),
        ("blocks", ["attn_out", "mlp"], "all"),
        ("heads", ["head"], "each"),
        ("heads", ["head"], "all"),
    ],
)
def test_needed_arithmetic_is_a_count_over_sets(
    level: str, kinds: list[str], positions: str, metric: str, columns: int
) -> None:
    model = hooked("gpt2")
    every = [part for part in _request(model, level, positions, metric).space.parts([None]) if part.kind in kinds]
    request = _request(model, level, positions, metric, parts=[part.name for part in every])
    places = [set(range(SMALL.length))] if positions == "all" else [{p} for p in range(SMALL.length)]
    slow = sum(_slow(node.kind, node.layer, set(at), columns) for node in every for at in places)
    assert exact_cost.needed_forwards(model, request, SMALL) == pytest.approx(
        slow / _forward_price(SMALL.length), rel=1e-12
    )


def test_needed_arithmetic_of_two_heads_by_hand() -> None:
    model, price = hooked("gpt2"), _forward_price(6)
    last = exact_cost.needed_forwards(model, _request(model, "heads", "all", parts=["a1.h2"]), SMALL)
    assert last == pytest.approx((8192 + 2 * 32) / price)  # the MLP behind it, at the last position, and two logits
    first = exact_cost.needed_forwards(model, _request(model, "heads", "all", parts=["a0.h1"]), SMALL)
    by_hand = 6 * 8192 + (6 * 2048 + 1024 + 1024 + 8192 + 6 * 64) + 2 * 32
    assert first == pytest.approx(by_hand / price)


def test_a_sweep_counts_its_patches_and_divides_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_cost, "seconds_of", fixed_clock(96.0))
    found = list(exact_cost.bench_exact(hooked("gpt2"), SMALL))
    each, heads, both = 3 * 2 * 6, 2 * 4, 2 * 4 * 6  # kinds x layers x positions; layers x heads; x positions
    assert [one.patches for one in found if isinstance(one, Measurement)] == [each, each, heads, heads, both, both]
    for one in found:
        assert isinstance(one, Measurement) and one.ratio == pytest.approx(
            96.0 * exact_cost.FORWARDS / 2.0 / (one.patches or 0)
        )


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neo", "mixtral", "gemma2", "phi"])
def test_no_sweep_spends_less_than_is_needed(name: str) -> None:
    found = list(exact_cost.bench_exact(hooked(name), SMALL))
    assert len(found) == 6
    for one in found:
        assert isinstance(one, Measurement) and 0 < one.ratio < math.inf
        assert one.bound is not None and 0 < one.bound <= 1


def test_a_sweep_of_places_that_a_model_lacks_is_skipped() -> None:
    queries = exact_cost.Sweep("queries", (("qkv", ("q",)),), "all")
    first, second = exact_cost.bench_exact(hooked("gpt_neo"), SMALL, [queries])
    assert isinstance(first, Skipped) and isinstance(second, Skipped) and "AttentionInterface" in first.reason


# ---------------------------------------------------------------- attribution


def test_what_a_model_cannot_do_is_skipped_with_the_reason() -> None:
    found = list(attribution_cost.bench_attribution(hooked("gpt_neo"), attribution_cost.DEFAULT, SMALL))
    skipped = {one.name: one.reason for one in found if isinstance(one, Skipped)}
    assert set(skipped) == {"relp-ah, heads", "atp, qkv", "eap, edges", "relp, edges", "eap-ig, edges", "relp-ig, edges"}  # fmt: skip
    assert all("AttentionInterface" in skipped[name] for name in skipped if "heads" not in name)
    measured = {one.name for one in found if isinstance(one, Measurement)}
    assert measured == {attribution_cost.PLAIN, "atp, resid", "atp, blocks", "atp, heads", "relp, heads", "relp-ig, heads, 5 steps"}  # fmt: skip


def test_an_unknown_method_or_level_is_an_error_not_a_row() -> None:
    for method, level in (("magic", "heads"), ("atp", "sideways")):
        with pytest.raises(MethodError):
            list(attribution_cost.bench_attribution(hooked("gpt_neo"), [(method, level, None)], SMALL))


def test_attribution_is_a_ratio_to_the_plain_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution_cost, "seconds_of", fixed_clock(3.0))
    plain, atp = attribution_cost.bench_attribution(hooked("llama"), [("atp", "heads", None)], SMALL)
    assert isinstance(plain, Measurement) and plain.ratio == 1.0 and plain.above_mib == 0.0
    assert isinstance(atp, Measurement) and atp.ratio == 1.5 and atp.unit == attribution_cost.UNIT


def test_whole_calls_at_edges_are_timed_too_and_the_first_one_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    find = edge_maps.find_projections
    monkeypatch.setattr(edge_maps, "find_projections", lambda *of: looked.append(0) or find(*of))
    wanted = [("eap", "edges", None), ("relp", "edges", None)]
    found = [one.name for one in attribution_cost.bench_attribution(hooked("gpt2"), wanted, SMALL)]
    assert found == [attribution_cost.PLAIN, "eap, edges", "relp, edges", "eap, edges, first call", "eap, edges, later call"]  # fmt: skip
    rounds = 1 + SMALL.repeats
    assert len(looked) == 1 + 2 * rounds  # once for the model; by every first call, for its memory and for its time


def test_the_plain_passes_leave_the_parameters_as_they_were() -> None:
    model = hooked("gpt2")
    model.hf.transformer.wpe.weight.requires_grad_(False)
    before = [p.requires_grad for p in model.hf.parameters()]
    attribution_cost.plain_passes(model, random_task(model, 2, 6))
    assert [p.requires_grad for p in model.hf.parameters()] == before
    assert all(p.grad is None for p in model.hf.parameters())
