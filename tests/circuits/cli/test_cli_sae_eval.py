"""`circuits sae eval`: what it writes is what the library says; bad input is one line, exit code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuits.runs.directory import read_manifest
from interp import load
from interp.demo import path as demo_path
from interp.dictionaries.evaluation.dashboards import load_dashboards
from interp.dictionaries.evaluation.evaluate import evaluate_dictionary
from interp.dictionaries.evaluation.measured import DictionaryEvaluation
from interp.dictionaries.storage import save_dictionary
from tests.circuits.cli.called import Run, calling
from tests.interp.dictionaries.random_dictionaries import made

D = 128


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits sae eval ARGS` in a folder that holds dictionaries: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    save_dictionary(made("resid_post.1", D, n=96, kind="topk", name="first"), tmp_path / "both" / "a")
    save_dictionary(made("mlp_normed.1", D, target="mlp_out.1", n=96, kind="jumprelu"), tmp_path / "both" / "b")
    save_dictionary(made("resid_post.1", 64), tmp_path / "narrow")
    save_dictionary(made("resid_post.9", D), tmp_path / "deep")
    return calling(monkeypatch, capsys, "sae", "eval")


def labels(path: Path, n: int = 24) -> str:
    lines = [{"text": f"The {'cat' if i % 2 else 'dogs'} number {i} went to", "label": i % 2} for i in range(n)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path.name


def test_one_dictionary(run: Run, tmp_path: Path) -> None:
    asked = ["both/a", "--tokens", "1500", "--dashboards", "4", "--pca", "8", "--seed", "3", "--out", "o"]
    code, out, err = run(*asked, "--probe", labels(tmp_path / "cats.jsonl"))
    assert code == 0 and "Traceback" not in err
    names = {"manifest.json", "config.toml", "evaluation.json", "densities.parquet", "dashboards.json"}
    assert {p.name for p in (tmp_path / "o").iterdir()} == names | {"probe-cats.json", "report.html"}
    found = DictionaryEvaluation.load(tmp_path / "o" / "evaluation.json")
    again = evaluate_dictionary(
        load("demo"), made("resid_post.1", D, n=96, kind="topk", name="first"), "demo", tokens=1500, seed=3, pca=8
    )
    assert found.explained_variance == pytest.approx(again.explained_variance, abs=1e-6)
    assert found.tokens == again.tokens == 1500 and found.l0 == again.l0
    assert found.cross_entropies.spliced == pytest.approx(again.cross_entropies.spliced, abs=1e-5)
    assert f"{found.explained_variance:.4f}" in out and "first" in out and "cats" in out
    page = (tmp_path / "o" / "report.html").read_text()
    assert page.count("<script") == 1 and "resid_post.1" in page and "http://" not in page and "https://" not in page
    assert len(load_dashboards(tmp_path / "o" / "dashboards.json")) == 4
    manifest = read_manifest(tmp_path / "o")
    assert manifest["status"] == "complete"
    assert set(manifest["dictionary_files"]) == {"a/cfg.json", "a/sae_weights.safetensors"}


def test_densities_are_a_table(run: Run, tmp_path: Path) -> None:
    import pandas as pd

    assert run("both/a", "--tokens", "800", "--dashboards", "0", "--out", "o", "--quiet")[0] == 0
    found = DictionaryEvaluation.load(tmp_path / "o" / "evaluation.json")
    table = pd.read_parquet(tmp_path / "o" / "densities.parquet")
    assert table["tokens"].tolist() == found.counts.tolist() and table["feature"].tolist() == list(range(96))
    assert table["density"].to_numpy() == pytest.approx(found.counts / 800)
    assert table["density"].sum() == pytest.approx(found.l0)


def test_a_folder_of_dictionaries(run: Run, tmp_path: Path) -> None:
    """Each has what it has alone, several of one site too; --json says all of it."""
    save_dictionary(made("resid_post.1", D, n=64, kind="gated"), tmp_path / "both" / "c")
    code, out, err = run("both", "--tokens", "800", "--dashboards", "0", "--out", "o", "--json", "--quiet")
    assert code == 0 and err == ""
    said = json.loads(out)
    assert [one["target"] for one in said["dictionaries"]] == ["resid_post.1", "mlp_out.1", "resid_post.1"]
    numbers = {}
    for one in said["dictionaries"]:
        found = DictionaryEvaluation.load(tmp_path / "o" / one["folder"] / "evaluation.json")
        assert found.summary() == {k: v for k, v in one.items() if k not in ("probes", "folder")}
        assert (tmp_path / "o" / one["folder"] / "report.html").is_file()
        numbers[one["folder"]] = found.to_dict()
    code, out, _ = run("both", "--tokens", "800", "--dashboards", "0", "--out", "p")
    assert code == 0 and all(f"{n['explained_variance']:.4f}" in out for n in numbers.values())
    assert run("both/b", "--tokens", "800", "--dashboards", "0", "--out", "alone", "--quiet")[0] == 0
    alone = DictionaryEvaluation.load(tmp_path / "alone" / "evaluation.json")
    assert alone.to_dict() == numbers["b"]


def test_an_older_run_is_replaced_only_when_asked(run: Run, tmp_path: Path) -> None:
    asked = ("both/a", "--tokens", "300", "--dashboards", "0", "--pca", "0", "--out", "o", "--quiet")
    assert run(*asked)[0] == 0
    (tmp_path / "o" / "note").write_text("mine")
    assert run(*asked)[0] == 2 and (tmp_path / "o" / "note").exists()
    assert run(*asked, "--force")[0] == 0 and not (tmp_path / "o" / "note").exists()
    assert DictionaryEvaluation.load(tmp_path / "o" / "evaluation.json").pca == ()


def nothing(folder: Path) -> None:
    return None


def truncated(folder: Path) -> None:
    path = folder / "both" / "a" / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def unknown_architecture(folder: Path) -> None:
    path = folder / "both" / "a" / "cfg.json"
    path.write_text(path.read_text().replace('"topk"', '"temporal"'))


def pickle(folder: Path) -> None:
    (folder / "p").mkdir()
    (folder / "p" / "ae.pt").write_bytes(b"\x80\x02")
    (folder / "p" / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')


def texts(folder: Path) -> None:
    (folder / "empty.json").write_text("[]")
    (folder / "one.jsonl").write_text('{"label": 1, "text": "The cat"}\n')
    (folder / "same").mkdir()
    labels(folder / "l.jsonl")
    labels(folder / "same" / "l.jsonl")


def broken_model(folder: Path) -> None:
    """A model that makes numbers that are not finite at one late position."""
    (folder / "nan").mkdir()
    for path in demo_path().iterdir():
        (folder / "nan" / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "nan" / "model.safetensors")
    name = next(n for n in tensors if n.endswith("wpe.weight"))
    tensors[name][20] = torch.nan
    save_file(tensors, folder / "nan" / "model.safetensors", metadata={"format": "pt"})


BAD: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "no such folder": (nothing, ["nowhere"], "no such folder"),
    "no dictionary in it": (texts, ["same"], "holds no dictionary"),
    "truncated weights": (truncated, ["both/a"], "cannot be read"),
    "one of several is truncated": (truncated, ["both"], "cannot be read"),
    "unknown architecture": (unknown_architecture, ["both/a"], "unknown architecture 'temporal'"),
    "a pickle": (pickle, ["p"], "is a pickle"),
    "another model's width": (nothing, ["narrow"], "has width 64; this model has 128 there"),
    "a layer that is not there": (nothing, ["deep"], "layer 9 does not exist"),
    "a site of another width": (nothing, ["both/a", "--site", "mlp_post.1"], "has width 128; this model has 512"),
    "an unknown site": (nothing, ["both/a", "--site", "residual.1"], "unknown site 'residual.1'"),
    "a site for several": (nothing, ["both", "--site", "resid_post.1"], "holds 2 dictionaries; --site"),
    "no such model": (nothing, ["both/a", "--model", "nowhere", "--data", "demo"], "is no folder"),
    "no data for another model": (broken_model, ["both/a", "--model", "nan"], "give --data"),
    "numbers that are not finite": (broken_model, ["both/a", "--model", "nan", "--data", "demo"], "are not finite"),
    "no such data": (nothing, ["both/a", "--data", "nowhere.txt"], "cannot be read"),
    "empty data": (texts, ["both/a", "--data", "empty.json"], "holds no documents"),
    "no tokens": (nothing, ["both/a", "--tokens", "0"], "tokens=0"),
    "a context beyond the model's": (nothing, ["both/a", "--context", "100000"], "context=100000"),
    "a share beyond a half": (nothing, ["both/a", "--hold-out", "0.9"], "hold_out=0.9"),
    "components below none": (nothing, ["both/a", "--pca", "-1"], "pca=-1"),
    "dashboards below none": (nothing, ["both/a", "--dashboards", "-1"], "--dashboards"),
    "too few labels": (texts, ["both/a", "--probe", "one.jsonl"], "label"),
    "labels of nearly one name": (texts, ["both/a", "--probe", "a b.jsonl", "--probe", "A_b.jsonl"], "or nearly"),
    "labels of one name": (texts, ["both/a", "--probe", "l.jsonl", "--probe", "same/l.jsonl"], "two files of one name"),
    "no such labels": (nothing, ["both/a", "--probe", "nowhere.jsonl"], "cannot be read"),
    "an unknown dtype": (nothing, ["both/a", "--dtype", "int8"], "dtype 'int8'"),
    "an existing folder": (nothing, ["both/a", "--out", "both"], "exists"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(run: Run, tmp_path: Path, name: str) -> None:
    prepare, args, message = BAD[name]
    prepare(tmp_path)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    code, out, err = run(*args, "--quiet", *(() if "--tokens" in args else ("--tokens", "300")))
    assert code == 2 and out == "" and message in err
    assert err.startswith("circuits: ") and err.count("\n") == 1 and "Traceback" not in err
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
