"""`circuits tokens`: what it prints, what JSON holds, and what is refused in one line with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import interp
from interp.evaluation.token_evaluation import MEASURES
from interp.model.loading.load import DEMO
from tests.circuits.cli.called import Run, run

__all__ = ["DEMO", "run"]

FEW = ("tokens", "--limit", "2", "--quiet")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--methods", "shapely"), "Did you mean shapley"),
        (("--methods", "deep-lift"), "is refused"),
        (("--features", "wrods"), "unknown features 'wrods'. Did you mean words"),
        (("--baseline", "mean"), "--baseline 'mean': expected corrupt or zero"),
        (("--truth", "subject"), "--truth belongs to --evaluate"),
        (("--again",), "--again belongs to --evaluate"),
        (("--evaluate", "--truth", "nobody"), "truth 'nobody': pair 1 has no such span"),
        (("--metric", "kl_source"), "distance to another run"),
        (("--evaluate", "--metric", "normalized_logit_diff"), "one of all pairs together"),
        (("--out", "none/x.json"), "does not exist"),
        (("--target", ""), "target is empty"),
        (("--seed", "9" * 25), "below 2**63"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args: tuple[str, ...], said: str, run: Run, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    code, out, err = run(*FEW, "--out", "x.json", *args)
    assert (code, out) == (2, "") and said in err and len(err.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_tables_and_json_have_what_the_functions_give(run: Run) -> None:
    code, out, err = run(*FEW, "--methods", "relp,shapley", "--evaluate", "--baseline", "zero", "--shown", "1")
    assert code == 0, err
    assert "prompt 1 of 2" in out and "prompt 2" not in out and "shapley" in out and "comprehensiveness" in out
    code, out, err = run(*FEW, "--methods", "shapley", "--features", "words", "--evaluate", "--json", "--out", "x.json")
    assert code == 0, err
    data = json.loads(out)
    assert data == json.loads(Path("x.json").read_text())
    model = interp.load("demo")
    task = interp.task("ioi", model, n=2)
    own = interp.attribute_tokens(model, task, method="shapley", features="words")
    assert data["attributions"][0]["values"] == [list(row) for row in own.values]
    judged = interp.evaluate_tokens(model, task, own)
    assert data["evaluation"] == judged.to_dict()
    assert [row["measure"] for row in data["evaluation"]["rows"]] == [
        name for name, m in MEASURES.items() if not m.again and name not in ("AUROC", "pointing")
    ]


def test_a_file_is_replaced_only_where_that_is_asked_for(run: Run) -> None:
    Path("x.json").write_text("mine")
    code, _, err = run(*FEW, "--out", "x.json")
    assert code == 2 and "x.json" in err and Path("x.json").read_text() == "mine"
    assert run(*FEW, "--target", " Mary", "--out", "x.json", "--force")[0] == 0
    assert json.loads(Path("x.json").read_text())["evaluation"] is None
