"""The script behind the tables on real models: it prints what the functions find, keeps it, and mixes no settings."""

from __future__ import annotations

import importlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import circuits
import interp
from tests.house import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("measure_agreement")


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


def test_the_smallest_circuits_are_those_of_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    script = importlib.import_module("measure_circuits")
    given = {"models": "demo", "tasks": "ioi", "level": "heads", "direction": "noise", "methods": "relp", "pairs": 6}
    assert script.main(Namespace(out=tmp_path, seed=0, **given)) == 0
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
