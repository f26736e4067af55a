"""The table of a paper: its numbers against scores and correlations made another way, a model on which every method is exact, and
which printed figures stand beside which model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import interp
from circuits.reproduction.measuring import measure, on_task, prepare
from circuits.reproduction.paper import Paper, Wanted
from circuits.reproduction.papers import PAPERS
from circuits.reproduction.relp import RELP
from circuits.reproduction.reproduced import ModelTable, agreement_lines, basis_lines
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked, linear_model
from tests.interp.tasks.toy import toy_task

ALL = (*RELP.methods, *RELP.others)
SITES = {"resid_pre": "resid_pre", "attn_out": "attn_out", "mlp": "mlp_out"}


def quiet(message: str) -> None:
    return None


def by_running(model: HookedModel, task: Task, site: str) -> np.ndarray:
    """Exact effects [pair node], denoise, of a site's layers and positions: one whole run with one edit for each."""
    rows = []
    for pair in task.tokenize(model.tokenizer, model.layout.d_vocab):
        clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])

        def metric(edits: list[Edit], pair: Any = pair, corrupt: Any = corrupt) -> float:
            logits = model.run(corrupt, edits=edits).logits[0, -1].double()
            return float(logits[pair.answers[0]] - logits[pair.wrong[0]])

        base, row = metric([]), []
        for layer in range(model.layout.n_layers):
            name = f"{site}.{layer}"
            value = model.run(clean, reads=[name])[name]
            for at in range(clean.shape[1]):
                row.append(metric([Edit(name, lambda x, value=value, at=at: _put(x, value, at))]) - base)
        rows.append(row)
    return np.array(rows)


def _put(x: torch.Tensor, value: torch.Tensor, at: int) -> torch.Tensor:
    patched = x.clone()
    patched[:, at] = value[:, at]
    return patched


def table_of(model: HookedModel, task: Task, methods: tuple[str, ...]) -> ModelTable:
    found, _ = measure(on_task("m", RELP, Wanted(methods=methods, limit=len(task)), model, task), quiet)
    return found


@torch.no_grad()
def test_its_numbers_are_those_of_scores_and_of_runs_made_apart() -> None:
    """Of a tiny model: exact effects by whole runs with one edit each, methods asked one at a time, correlations by numpy and scipy."""
    model, task = hooked("llama"), toy_task(3)
    found = table_of(model, task, ("atp", "relp"))
    for kind, site in SITES.items():
        exact = by_running(model, task, site).mean(0)
        for method in ("atp", "relp"):
            level = "resid" if kind == "resid_pre" else "blocks"
            scores = interp.attribute(model, task, method=method, level=level, positions="each", direction="denoise")
            ours = np.array([m for p, m in zip(scores.parts, scores.mean, strict=True) if p.kind == kind])
            row, largest = found.cell(kind, method).row, np.abs(exact).argmax()
            assert row.n == len(exact) == 12
            assert row.pearson == pytest.approx(np.corrcoef(ours, exact)[0, 1], abs=1e-4)
            rest = np.arange(12) != largest
            assert row.pearson_without == pytest.approx(np.corrcoef(ours[rest], exact[rest])[0, 1], abs=1e-4)
            assert row.spearman == pytest.approx(spearmanr(ours, exact).statistic, abs=0.02)
            assert row.error == pytest.approx(np.abs(ours - exact).mean() / np.abs(exact).mean(), rel=1e-3)
            assert f"{divmod(int(largest), 6)[0]}@{divmod(int(largest), 6)[1]}" in row.largest


def test_where_nothing_bends_every_method_is_exact() -> None:
    found = table_of(linear_model(), toy_task(3), ALL)
    for kind in ("resid_pre", "attn_out"):
        for method in ALL:
            row = found.cell(kind, method).row
            assert row.pearson == pytest.approx(1, abs=1e-9) and row.slope == pytest.approx(1, abs=1e-6)
            assert row.error == pytest.approx(0, abs=1e-6) and not row.carried
    none = [found.cell("mlp", method).row for method in ALL]
    assert all(row.pearson is None and row.slope is None for row in none), "what writes nothing correlates with nothing"
    _, lines = agreement_lines(found)
    assert [line[0] for line in lines] == list(ALL) and {line[3] for line in lines} == {"–"}


def test_prompts_are_of_the_commonest_length_or_of_the_one_that_is_asked_for() -> None:
    model, said = interp.load("demo"), list[str]()
    wanted = Wanted(methods=("atp",), limit=6)
    ready = prepare("demo", RELP, wanted, model, said.append)
    assert len(ready.task) == 6 and "the commonest of task 'ioi'" in said[0]
    own = len(ready.requests["resid"].pairs[0].clean)
    other = prepare("demo", RELP, replace(wanted, length=own + 1), model, said.append)
    assert {len(pair.clean) for pair in other.requests["resid"].pairs} == {own + 1} and len(said) == 1


# ---------------------------------------------------------------- what is printed


def configured(kind: str, layers: int, width: int, heads: int) -> tuple[Any, Any]:
    hf = SimpleNamespace(config=SimpleNamespace(model_type=kind))
    return hf, SimpleNamespace(n_layers=layers, d_model=width, n_heads=heads)


def test_printed_figures_stand_beside_the_paper_s_models_only() -> None:
    """By name and shape: neither a model of the same shape nor another one of that name has them."""
    small = configured("gpt2", 12, 768, 12)
    found = RELP.of_model("openai-community/gpt2", *small)
    assert found is not None and found.model == "GPT-2 small" and found.figures["mlp", "relp"] == 0.992
    assert RELP.of_model("gpt2", *small) is found
    assert RELP.of_model("my-finetune", *small) is None
    assert RELP.of_model("gpt2", *configured("gpt2", 6, 768, 12)) is None
    assert RELP.of_model("gpt2", *configured("gpt_neo", 12, 768, 12)) is None
    assert RELP.of_model("demo", *configured("gpt2", 4, 128, 4)) is None


@pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda paper: paper.name)
def test_a_paper_prints_only_what_its_table_has(paper: Paper) -> None:
    for one in paper.printed:
        assert all(kind in paper.kinds and method in paper.methods for kind, method in one.figures), one.model
        assert all(-1 <= value <= 1 for value in one.figures.values()) and all(n == n.lower() for n in one.names)
    shapes = [(name, one.shape) for one in paper.printed for name in one.names]
    assert len(set(shapes)) == len(shapes)


def test_printed_figures_are_a_line_below_the_method_that_they_are_of() -> None:
    found = table_of(hooked("gpt2"), toy_task(3), ("atp", "relp", "relp-ah"))
    beside = {("resid_pre", "atp"): 0.753, ("mlp", "atp"): 0.195}
    cells = tuple(replace(cell, printed=beside.get((cell.kind, cell.method))) for cell in found.cells)
    columns, lines = agreement_lines(replace(found, cells=cells))
    assert columns == ["method", "residual stream", "attention outputs", "MLP outputs"]
    assert [line[0] for line in lines] == ["atp", "atp, printed", "relp", "relp-ah"]
    assert lines[1][1:] == ["0.753", "–", "0.195"]
    assert len(basis_lines(found)[1]) == 9


# ---------------------------------------------------------------- a real model


@pytest.mark.real
@torch.no_grad()
def test_on_a_real_model_the_exact_map_is_what_whole_runs_give(real_model: Callable[[str], Path]) -> None:
    """Of the MLPs alone, at the largest of them."""
    model = interp.load(str(real_model("smollm2")))
    paper = replace(RELP, levels={"blocks": ("mlp",)})
    ready = prepare("smollm2", paper, Wanted(methods=("relp",), limit=2), model, quiet)
    found, scores = measure(ready, quiet)
    exact = scores["blocks"]["exact"]
    names = [part.name for part in exact.parts]
    row = found.cell("mlp", "relp").row
    layer, at = map(int, row.largest.removeprefix("m").split("@"))
    pair = ready.requests["blocks"].pairs[0]
    clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
    value = model.run(clean, reads=[f"mlp_out.{layer}"])[f"mlp_out.{layer}"]
    edits: list[list[Edit]] = [[], [Edit(f"mlp_out.{layer}", lambda x: _put(x, value, at))]]
    base, patched = (
        float(logits[pair.answers[0]] - logits[pair.wrong[0]])
        for logits in (model.run(corrupt, edits=edit).logits[0, -1] for edit in edits)
    )
    assert exact.per_example[0, names.index(row.largest)] == pytest.approx(patched - base, abs=2e-4)
    assert row.n == 30 * found.tokens and found.printed == ""
