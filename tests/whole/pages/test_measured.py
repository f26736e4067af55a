"""The scripts behind the tables of the documentation: each runs, on the embedded model at its smallest; that of the tables on real
models prints what the functions find, keeps it, and mixes no settings."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import circuits
import interp
from tests.circuits.cli.called import calling
from tests.house import ROOT

#: The smallest settings of every script; RUN is a run of discover, EXPERTS a tiny Qwen3-MoE, OUT a new folder.
SMALLEST = {
    "measure": "--pairs 4 --methods exact,relp --share 0.02",
    "measure_agreement": "--out OUT --tasks ioi --levels blocks --directions noise --pairs 2 --methods relp",
    "measure_architectures": "--rows OUT.jsonl GPT2LMHeadModel",
    "measure_auto": "--tasks ioi --levels heads --pairs 2",
    "measure_circuits": "--out OUT --tasks ioi --pairs 4 --methods relp",
    "measure_depth": "--texts 4 --drop 1",
    "measure_features": (
        "--folder OUT --features 8 --k 2 --tokens 4096 --pairs 4 --methods relp --steps 2 --sample 2 --picture OUT.svg"
    ),
    "measure_heads": "--run RUN",
    "measure_routing": "--models EXPERTS --tasks sva --directions noise --pairs 1 --methods relp",
    "measure_runs": "RUN",
    "measure_secants": "--pairs 2",
    "measure_tokens": "--pairs 2 --methods occlusion,saliency,relp --orders 2 --draws 2",
}


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module(name)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """A tiny Qwen3-MoE, trained for two steps."""
    script = loaded("train_experts", monkeypatch)
    monkeypatch.setattr(
        sys, "argv", ["train_experts", "--out", str(folder), "--steps", "2", "--width", "32", "--pairs", "8", *more]
    )
    assert script.main(script.options()) == 0


def test_every_script_has_its_smallest_settings() -> None:
    assert {path.stem for path in (ROOT / "docs").glob("measure*.py")} == set(SMALLEST)


def test_every_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, circuits = tmp_path / "run", calling(monkeypatch, capsys)
    experts = tmp_path / "experts"
    trained(experts, monkeypatch)
    code, *_ = circuits("discover", "--task", "ioi", "--limit", "8", "--n", "3", "--random", "1", "--out", str(run))
    assert code == 0
    for name, given in SMALLEST.items():
        script = loaded(name, monkeypatch)
        words = given.replace("RUN", str(run)).replace("EXPERTS", str(experts)).replace("OUT", str(tmp_path / name))
        monkeypatch.setattr(sys, "argv", [name, *words.split()])
        assert script.main(script.options()) == 0, name
        tables = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        rows = [line for i, line in enumerate(tables) if i > 1 and "| --- |" not in line]
        assert rows and not any(cell.strip() == "nan" for line in tables for cell in line.split("|")), name
    assert (tmp_path / "measure_features.svg").read_text().startswith("<svg")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return loaded("measure_agreement", monkeypatch)


def asked(folder: Path, **other: Any) -> Namespace:
    given = {"out": folder, "models": "demo", "tasks": "ioi", "levels": "blocks", "directions": "noise", "pairs": 3}
    return Namespace(**given | {"methods": "atp,relp", "seed": 0} | other)


def test_the_tables_are_what_the_functions_find_and_are_kept(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main(asked(tmp_path)) == 0
    first = capsys.readouterr().out
    model = interp.load("demo")
    task = interp.task("ioi", model, n=3)
    found = interp.attribute_all(model, task, methods=["exact", "atp", "relp"], level="blocks", direction="noise")
    row = next(line for line in first.splitlines() if line.startswith("| demo | ioi | noise |"))
    for name, cell in zip(("atp", "relp"), row.split("|")[5:7], strict=True):
        agreed = interp.agreement(found[name], found["exact"])
        for kind, shown in zip(("all", "attn_out", "mlp"), cell.split(" / "), strict=True):
            pearson = agreed[kind].pearson
            assert pearson is not None and float(shown.split()[0]) == pytest.approx(pearson, abs=0.0051)
    assert "sha256" in first and "| demo | " in first

    monkeypatch.setattr(script, "measured", None)
    script.main(asked(tmp_path))
    assert capsys.readouterr().out == first


def test_cases_of_other_settings_are_not_shown_as_these(script: Any, tmp_path: Path) -> None:
    (tmp_path / "demo-ioi-blocks-noise.json").write_text('{"pairs": 8, "agreement": {"atp": {}}, "seed": 0}')
    with pytest.raises(SystemExit, match="choose another --out"):
        script.main(asked(tmp_path))


def test_circuits_farther_from_the_whole_model_are_listed_also_of_one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """By more than half the narrower interval; one pair has none, and then whatever is farther."""
    script = loaded("measure_circuits", monkeypatch)

    def listed(own: str, relp: str) -> int:
        rows = [
            {"method": name, "ranking": "signed", "reason": "", "curve": {"5%": said}}
            for name, said in (("relp", relp), ("learned", own))
        ]
        return len(list(script.farther({"task": "ioi", "rows": rows, "asked": {"seed": 0}})))

    assert (
        listed("0.80 [0.70, 0.90]", "0.85 [0.83, 0.87]") == 1 and listed("0.80 [0.70, 0.90]", "0.81 [0.79, 0.83]") == 0
    )
    assert listed("0.974", "0.988") == 1 and listed("0.988", "0.974") == 0


def test_the_smallest_circuits_are_those_of_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = loaded("measure_circuits", monkeypatch)
    given = {"models": "demo", "tasks": "ioi", "level": "heads", "direction": "noise", "methods": "relp", "pairs": 6}
    assert script.main(Namespace(out=tmp_path, seed=0, splits=1, **given)) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| ioi | signed |"))
    model = interp.load("demo")
    scoring, judged = interp.task("ioi", model, n=6).split(seed=0)
    scores = interp.attribute(model, scoring, method="relp", level="heads", direction="noise")
    for n in range(1, len(scores.parts)):
        circuit = circuits.discover(scores, n=n, ranking="signed")
        f = circuits.evaluate(model, scoring, circuit, sizes=[n], n_random=1).faithfulness
        if f.value is not None and 0.9 <= f.value <= 1.1:
            break
    held = circuits.evaluate(model, judged, circuit, sizes=[n], n_random=1).faithfulness
    assert row.startswith(f"| ioi | signed | **{n}** ({n / 20:.0%}), f {held}")


def test_splits_stand_in_one_line_and_what_is_farther_than_relp_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two splits: both sizes, the mean of f; and the one circuit that is farther from 1 by more than half the narrower interval."""
    script = loaded("measure_circuits", monkeypatch)

    def case(seed: int, relp: str, other: str) -> dict[str, Any]:
        rows = [
            {"method": m, "ranking": "signed", "size": n, "of": 90, "reason": "", "cost": 4.0, "curve": {"1%": f}}
            for m, n, f in (("relp", 9, relp), ("eap", None if seed else 7, other))
        ]
        return {"model": "m", "task": "t", "pairs": (3, 3), "asked": {"seed": seed}, "rows": rows}

    script.say_splits(
        [
            case(0, "0.800 [0.700, 0.900]", "1.250 [1.000, 1.500]"),
            case(1, "0.800 [0.700, 0.900]", "0.650 [0.600, 0.700]"),
        ]
    )
    out = capsys.readouterr().out
    assert "| t | `eap` | 4 | 7, none | 0.95 |" in out and "| t | `relp` | 4 | 9, 9 | 0.80 |" in out
    listed = [line for line in out.splitlines() if line.startswith("* ")]
    assert listed == ["* t (seed 1), 1%: `eap` f 0.650 [0.600, 0.700], `relp` 0.800 [0.700, 0.900]"]
