"""Real trained models against the scores of independent implementations."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import interp
from interp.scores.scores import Scores

METHODS = ("atp", "relp", "relp-ah", "atp-ig", "relp-ig")
#: Published with the design: Pearson with exact patching over all nodes / heads / MLPs, stories260K, float64, first 100
#: pairs, positions summed, integrated gradients with 8 midpoint steps.
PEARSON = {
    ("they_plural", "noise"): (
        (0.443, 0.975, -0.574), (0.846, 0.817, 0.321), (0.880, 0.945, 0.506), (0.866, 0.966, 0.730), (0.936, 0.923, 0.788),
    ),
    ("they_plural", "denoise"): (
        (0.966, 0.999, 0.761), (0.946, 0.989, 0.806), (0.976, 0.995, 0.853), (0.928, 0.971, 0.656), (0.730, 0.899, -0.169),
    ),
    ("gender_pronoun", "noise"): (
        (0.982, 0.995, 0.945), (0.969, 0.983, 0.794), (0.950, 0.992, 0.697), (0.996, 0.994, 0.994), (0.974, 0.987, 0.822),
    ),
    ("gender_pronoun", "denoise"): (
        (0.983, 0.996, 0.952), (0.969, 0.984, 0.799), (0.953, 0.991, 0.723), (0.996, 0.994, 0.987), (0.976, 0.987, 0.831),
    ),
}  # fmt: skip


@cache
def attributed(folder: Path, task: str, direction: str) -> dict[str, Scores]:
    """All methods at once on a model in float64 and the first 100 pairs of one of its tasks."""
    torch.set_num_threads(1)
    model = interp.load(folder, dtype="float64")
    pairs = interp.task(folder / "tasks" / f"{task}.json", model, n=100)
    assert len(pairs) == 100
    methods = ("exact", *METHODS)
    return interp.attribute_all(
        model, pairs, methods=methods, level="heads", direction=direction, steps=8, quadrature="midpoint"
    )


def node_scores(scores: Scores) -> dict[str, float]:
    return {node.name: score for node, score in zip(scores.parts, scores.mean, strict=True) if node.kind != "embed"}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("stories260K", "they_plural"),
        pytest.param("stories260K", "gender_pronoun", marks=pytest.mark.slow),
        ("induction-gpt2", "induction"),
    ],
)
def test_exact_and_atp_are_those_of_an_independent_implementation(assets: Path, name: str, task: str) -> None:
    reference = assets / "models" / name / "tasks" / f"{task}.reference_patching.json"
    if not reference.is_file():
        pytest.skip(f"no reference at {reference}")
    known = json.loads(reference.read_text(encoding="utf-8"))
    found = attributed(assets / "models" / name, task, "noise")
    assert found["exact"].provenance.n_pairs == known["n"]
    assert found["exact"].provenance.base_metric == pytest.approx(known["logit_diff_clean"], rel=1e-6)
    assert found["exact"].provenance.source_metric == pytest.approx(known["logit_diff_corrupt"], rel=1e-6)
    for method, key in (("exact", "activation_patching"), ("atp", "attribution_patching")):
        ours, theirs = node_scores(found[method]), known[key]
        assert ours.keys() == theirs.keys()
        largest = max(map(abs, theirs.values()))
        assert max(abs(ours[n] - theirs[n]) for n in theirs) <= 1e-6 * largest, method


def test_every_reference_is_tested(assets: Path) -> None:
    found = {path.name.split(".")[0] for path in (assets / "models").glob("*/tasks/*.reference_patching.json")}
    assert found == {"they_plural", "gender_pronoun", "induction"}


@pytest.mark.parametrize(
    ("task", "direction"),
    [pytest.param(*key, marks=[pytest.mark.slow] if key[0] == "gender_pronoun" else []) for key in PEARSON],
)
def test_agreement_with_exact_is_the_published_one(assets: Path, task: str, direction: str) -> None:
    folder = assets / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    found = attributed(folder, task, direction)
    exact = node_scores(found["exact"])
    kinds = (sorted(exact), sorted(n for n in exact if n[0] == "a"), sorted(n for n in exact if n[0] == "m"))
    assert [len(names) for names in kinds] == [45, 40, 5]
    for method, published in zip(METHODS, PEARSON[task, direction], strict=True):
        ours = node_scores(found[method])
        for names, value in zip(kinds, published, strict=True):
            r = np.corrcoef([exact[n] for n in names], [ours[n] for n in names])[0, 1]
            assert r == pytest.approx(value, abs=0.01), (method, len(names))
