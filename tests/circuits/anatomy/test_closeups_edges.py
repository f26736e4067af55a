"""The arrows of a circuit of nodes: estimates of a run of level edges, the strongest of them exact, against whole patched runs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

import interp
from circuits.anatomy.closeups import look_closely
from circuits.anatomy.closeups_edges import MOST_CHECKED
from circuits.circuit.selection import discover
from circuits.settings.prepared import Settings, prepare_run
from interp.attribution.request import prepare
from interp.scores.scores import Scores
from tests.circuits.anatomy.test_closeups import _looked
from tests.interp.attribution.edges.edge_checks import ends
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.attribution.edges.edge_weights import read_weights
from tests.interp.model.tiny import hooked, tiny
from tests.interp.tasks.toy import toy_task


def _inside(edge: str, inside: set[str]) -> bool:
    """Whether an edge joins nodes that are inside, or are the embedding or the logits; two heads of tiny llama share keys and values."""
    sender, receiver = edge.split("->")
    found = re.fullmatch(r"a(\d)\.kv(\d)<[kv]>", receiver)
    readers = {f"a{found[1]}.h{2 * int(found[2]) + i}" for i in range(2)} if found else {receiver.split("<")[0]}
    return sender in inside | {"embed"} and bool(readers & (inside | {"logits"}))


@pytest.mark.parametrize(("name", "direction"), [("gpt2", "denoise"), ("llama", "noise")])
def test_the_strongest_edges_are_patched_and_the_others_are_those_of_a_run_of_level_edges(
    name: str, direction: str
) -> None:
    """By one whole forward of the twin for each edge that was checked, in float64."""
    job, circuit, found, edges = _looked(name, n=8, direction=direction)
    whole = interp.attribute(job.model, job.scoring, method="relp", level="edges", direction=direction)
    inside = {node.name for node in circuit.nodes}
    wanted = [p.name for p in whole.parts if _inside(p.name, inside)]
    assert isinstance(edges, Scores) and edges.provenance.level == "edges" and edges.provenance.method == "relp"
    assert [p.name for p in edges.parts] == wanted and MOST_CHECKED < len(wanted) < len(whole.parts)
    means = dict(zip((p.name for p in whole.parts), whole.mean, strict=True))
    estimates = np.array([means[name] for name in wanted])
    checked = np.isin(np.arange(len(wanted)), np.argsort(-np.abs(estimates), kind="stable")[:MOST_CHECKED])
    assert edges.exact is not None and np.array_equal(edges.exact, checked)
    assert np.allclose(edges.mean[~checked], estimates[~checked], rtol=1e-5, atol=1e-7)

    own = edges.select(np.flatnonzero(checked))
    prompts = Prompts.of(read_weights(tiny(name, dtype=torch.float64)), job.scoring, direction)
    exact = prompts.effects(ends(own), prompts.values(prompts.source)).numpy()
    assert np.abs(own.per_example - exact).max() < 1e-4 * np.abs(exact).max() and np.abs(exact).max() > 1e-2

    assert found.arrows is not None and found.arrows.method == "relp" and found.arrows.n_pairs == len(job.scoring)
    assert found.arrows.sampled == f"{MOST_CHECKED} of {len(wanted)} edges: the top {MOST_CHECKED} by relp"
    row, mean = found.arrows["all"], exact.mean(0)
    assert row.n == MOST_CHECKED and row.pearson == pytest.approx(pearsonr(estimates[checked], mean)[0], abs=1e-4)
    assert row.spearman == pytest.approx(spearmanr(estimates[checked], mean)[0], abs=1e-2)
    assert row.slope == pytest.approx(np.linalg.lstsq(mean[:, None], estimates[checked], rcond=None)[0][0], rel=1e-3)
    assert row.pearson_ci is not None and row.pearson_ci[0] <= row.pearson <= row.pearson_ci[1]


def test_the_cost_that_is_said_is_what_the_methods_spent() -> None:
    """Writes take a forward, neurons two; the edges keep what both of their methods took."""
    job, circuit, _, edges = _looked("gpt2")
    said: list[str] = []
    _, more = look_closely(job, job.request.score()["relp"], circuit, said.append)
    assert more is not None and np.array_equal(more.per_example, edges.per_example)
    assert "replay" in edges.provenance.engine and 4 < edges.provenance.forwards < 4 + int(edges.exact.sum())
    assert said == [
        f"looked at the parts of the circuit with {3 + edges.provenance.forwards:.1f} forwards and 2 backwards over the pairs, "
        "and 3 forwards over 3 prompts"
    ]


def test_where_exact_patching_is_refused_the_arrows_stay_estimates_with_the_reason() -> None:
    """With the memory that the estimates need: exact patching needs a little more."""
    model, task = hooked("gpt2"), toy_task(n=8)
    options: dict[str, Any] = {"level": "edges", "batch_size": 1}
    scoring, _ = task.split(0)
    memory = prepare(model, scoring, methods=["relp"], max_memory="9GiB", **options).memory.total
    settings = Settings(methods=("relp",), n=5, n_random=1, batch_size=1, max_memory=str(memory))
    job = prepare_run(model, task, settings)
    scores = job.request.score()["relp"]
    found, edges = look_closely(job, scores, discover(scores, n=5), lambda message: None)
    assert edges is not None and edges.exact is None and found.arrows is None
    assert f"max_memory={memory}" in found.reason("arrows") and {m.view for m in found.missing} == {"arrows"}
