"""The command line: bad input is one line on standard error, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interp.demo import path as demo_path
from tests.circuits.cli.called import Run, run

__all__ = ["run"]
GOOD = {"clean": "The war lasted", "corrupt": "The war ended", "answer": " from", "wrong": " to"}


def _file(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


def _task(name: str = "t.json", **changes: object) -> Callable[[Path], None]:
    pair = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return _file(name, json.dumps({"pairs": [pair]}))


def _folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def _full_folder(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")


def _truncated_model(folder: Path) -> None:
    shutil.copytree(demo_path(), folder / "broken")
    weights = folder / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _lines(folder: Path) -> None:
    """Eight pairs, of which the seventh has an answer of two tokens: whichever half it is in, it is line 7."""
    rows = [
        {"clean": "The war lasted", "corrupt": "The dog lasted", "answer": " from", "wrong": " the"} for _ in range(8)
    ]
    rows[6]["answer"] = " from the"
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _nothing(folder: Path) -> None:
    return None


BAD = {
    "no such command": (_nothing, ["discver"], "discver"),
    "no such option": (_nothing, ["discover", "--modle", "demo"], "modle"),
    "limit is no number": (_nothing, ["discover", "--limit", "many"], "--limit"),
    "limit 0": (_nothing, ["discover", "--limit", "0"], "expected one pair"),
    "no such folder": (_nothing, ["discover", "--model", "nowhere/gpt2"], "hf:ORG/NAME"),
    "folder without config": (_folder, ["discover", "--model", "empty"], "config.json"),
    "truncated weights": (
        _truncated_model,
        ["discover", "--model", "broken"],
        "model.safetensors of model 'broken' cannot be read",
    ),
    "bad dtype": (_nothing, ["discover", "--dtype", "float8"], "float32"),
    "bad device": (_nothing, ["discover", "--device", "tpu9"], "tpu9"),
    "no such task": (_nothing, ["discover", "--task", "ioy"], "Did you mean ioi"),
    "no such task file": (_nothing, ["discover", "--task", "missing.json"], "missing.json"),
    "wrong kind of task file": (_file("t.yaml", "a: 1"), ["discover", "--task", "t.yaml"], ".jsonl"),
    "broken JSON": (_file("t.json", "{"), ["discover", "--task", "t.json"], "cannot be read"),
    "JSON of another shape": (_file("t.json", '{"a": 1}'), ["discover", "--task", "t.json"], "'pairs'"),
    "no pairs": (_file("t.json", '{"pairs": []}'), ["discover", "--task", "t.json"], "empty"),
    "row is no object": (_file("t.json", '{"pairs": [3]}'), ["discover", "--task", "t.json"], "pair 1 of 1"),
    "wrong pair of a file": (_lines, ["discover", "--task", "t.jsonl"], "t.jsonl line 7: answer"),
    "missing key": (_task(wrong=None), ["discover", "--task", "t.json"], "'wrong'"),
    "unequal lengths": (_task(corrupt="The war lasted from"), ["discover", "--task", "t.json"], "equal lengths"),
    "answer of two tokens": (_task(answer=" from the"), ["discover", "--task", "t.json"], "expected one"),
    "the same prompt twice": (_task(corrupt="The war lasted"), ["discover", "--task", "t.json"], "the same text"),
    "prompt beyond the context": (
        _task(clean=" war" * 99, corrupt=" the" + " war" * 98),
        ["discover", "--task", "t.json"],
        "context",
    ),
    "ids of another tokeniser": (
        _task(clean_ids=[1, 2], corrupt_ids=[1, 3], answer_id=4, wrong_id=5),
        ["discover", "--task", "t.json"],
        "another model",
    ),
    "deep JSON": (_file("t.json", "[" * 100_000), ["discover", "--task", "t.json"], "cannot be read"),
    "negative seed": (_nothing, ["discover", "--seed", "-1"], "--seed"),
    "no CUDA here": (_nothing, ["discover", "--device", "cuda:77"], "cuda:77"),
    "no steps without IG": (_nothing, ["discover", "--method", "relp", "--steps", "0"], "IG methods"),
    "empty metric": (_nothing, ["discover", "--metric", ""], "logit_diff"),
    "too many generated pairs": (_nothing, ["discover", "--limit", "1000000000"], "at most"),
    "pair with limit": (_nothing, ["discover", "--pair", "a", "b", "--limit", "3"], "--limit"),
    "answer is wrong too": (_task(wrong=" from"), ["discover", "--task", "t.json"], "both an answer and wrong"),
    "text is a number": (_task(clean=3), ["discover", "--task", "t.json"], "expected text"),
    "bad CSV": (_file("t.csv", "clean,corrupt\na,b\n"), ["discover", "--task", "t.csv"], "'answer'"),
    "no such method": (_nothing, ["discover", "--method", "rlep"], "Did you mean relp"),
    "no such level": (_nothing, ["discover", "--level", "head"], "Did you mean heads"),
    "level resid": (_nothing, ["discover", "--level", "resid"], "map by position"),
    "no such direction": (_nothing, ["discover", "--direction", "both"], "denoise"),
    "denoise with zero ablation": (_nothing, ["discover", "--direction", "denoise", "--ablation", "zero"], "noise"),
    "no such ablation": (_nothing, ["discover", "--ablation", "men"], "mean"),
    "no such metric": (_nothing, ["discover", "--metric", "logitdiff"], "logit_diff"),
    "metric flat at the base": (_nothing, ["discover", "--method", "relp", "--metric", "kl_base"], "flat at the base"),
    "steps without IG": (_nothing, ["discover", "--method", "relp", "--steps", "4"], "IG methods"),
    "no budget": (_nothing, ["discover", "--budget", "soon"], "budget='soon'"),
    "budget of nothing": (_nothing, ["discover", "--budget", "0s"], "budget='0s'"),
    "budget without auto": (
        _nothing,
        ["discover", "--method", "relp", "--budget", "60s"],
        "method auto and searches on masks only",
    ),
    "chance of one": (_nothing, ["discover", "--chance", "1"], "chance=1"),
    "tau without acdc": (_nothing, ["discover", "--tau", "0.1"], "acdc"),
    "auto with positions apart": (_nothing, ["compare", "--methods", "auto", "--positions", "each"], "method auto"),
    "auto of the residual stream": (_nothing, ["compare", "--methods", "auto", "--level", "resid"], "method auto"),
    "no steps": (_nothing, ["discover", "--method", "atp-ig", "--steps", "0"], "steps=0"),
    "no such quadrature": (_nothing, ["discover", "--method", "atp-ig", "--quadrature", "simpson"], "midpoint"),
    "batch of none": (_nothing, ["discover", "--batch-size", "0"], "batch_size=0"),
    "circuit of none": (_nothing, ["discover", "--n", "0"], "n=0"),
    "circuit too large": (_nothing, ["discover", "--n", "100000"], "n=100000"),
    "no such ranking": (_nothing, ["discover", "--ranking", "best"], "absolute"),
    "no random circuits": (_nothing, ["discover", "--random", "0"], "1 random"),
    "pair without answers": (_nothing, ["discover", "--pair", "a", "b"], "--answer"),
    "answers without pair": (_nothing, ["discover", "--answer", " a"], "--pair"),
    "out exists": (_full_folder, ["discover", "--out", "mine"], "exists"),
    "force on no run": (_full_folder, ["discover", "--out", "mine", "--force"], "not a run directory"),
    "no methods": (_nothing, ["compare", "--methods", ""], "unknown method"),
    "method twice": (_nothing, ["compare", "--methods", "atp,atp"], "each once"),
    "report of nothing": (_folder, ["report", "empty"], "not a run directory"),
    "report of an unfinished run": (
        lambda f: (f / "r").mkdir() or (f / "r" / "manifest.json").write_text('{"format": 1, "status": "running"}'),
        ["report", "r"],
        "not complete",
    ),
    "no such preset": (_nothing, ["sites", "--rules", "relpp"], "Did you mean relp"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_2_and_writes_nothing(case: str, run: Run, tmp_path: Path) -> None:
    prepare, args, said = BAD[case]
    prepare(tmp_path)
    before = {p: p.read_bytes() if p.is_file() else None for p in sorted(tmp_path.rglob("*"))}
    if args[0] in ("discover", "compare"):
        args = [*args, "--quiet"]
    code, out, err = run(*args)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("circuits: ") and said in err, err
    assert {p: p.read_bytes() if p.is_file() else None for p in sorted(tmp_path.rglob("*"))} == before


def test_more_than_twenty_kinds_of_bad_input() -> None:
    assert len(BAD) > 20


def test_discover_writes_a_complete_run_and_report_renders_it_again(run: Run, tmp_path: Path) -> None:
    code, out, err = run("discover", "--task", "gender", "--limit", "12", "--n", "4", "--out", "r", "--json", "--quiet")
    assert code == 0 and err == ""
    said = json.loads(out)
    assert len(said["circuit"]) == 4
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert set(manifest["model"]["files"]) >= {"config.json", "model.safetensors"}
    assert manifest["task"]["scored"] + manifest["task"]["evaluated"] == 12
    phases = manifest["forwards_by_phase"]
    assert manifest["forwards_total"] == pytest.approx(sum(phases.values()), abs=0.1) and min(phases.values()) > 0
    assert manifest["circuits_run"] > 0 and 0 <= manifest["memory_mib"]["above"] < manifest["memory_mib"]["highest"]
    for name in ("config.toml", "scores.parquet", "circuit.json", "evaluation.json", "report.html"):
        assert (tmp_path / "r" / name).stat().st_size > 0
    first = (tmp_path / "r" / "report.html").read_bytes()
    code, out, _ = run("report", "r")
    assert code == 0 and out.strip().endswith("report.html")
    assert (tmp_path / "r" / "report.html").read_bytes() == first


def test_force_replaces_a_run_and_a_failed_one_puts_the_old_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("discover", "--task", "gender", "--limit", "8", "--n", "2", "--out", "r", "--quiet")
    assert run(*args)[0] == 0
    assert run(*args)[0] == 2
    (tmp_path / "r" / "mark").write_text("old")
    monkeypatch.setattr("circuits.jobs.discovery.run_discovery", _interrupt)
    assert run(*args, "--force")[0] == 130
    assert (tmp_path / "r" / "mark").read_text() == "old"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"]


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_fails_says_so_in_its_manifest(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("circuits.jobs.discovery.run_discovery", broken)
    code, _, err = run("discover", "--limit", "8", "--out", "r", "--quiet")
    assert code == 1 and "out of luck" in err and err.count("\n") == 1
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["status"] == "failed" and "out of luck" in manifest["error"]


def test_compare_prints_agreement_per_kind(run: Run) -> None:
    code, out, _ = run("compare", "--task", "gender", "--limit", "8", "--methods", "atp,relp", "--json", "--quiet")
    said = json.loads(out)
    assert code == 0
    assert set(said["agreement"]) == {"atp", "relp"}
    assert {"all", "head", "mlp"} <= set(said["agreement"]["atp"])


def test_one_pair_from_the_command_line(run: Run, tmp_path: Path) -> None:
    from interp.model.loading.load import load
    from interp.tasks.find import task

    pair = task("ioi", load("demo"), n=1).pairs[0]
    args = ["--pair", pair.clean, pair.corrupt, "--answer", pair.answers[0], "--wrong", pair.wrong[0]]
    code, out, err = run("discover", *args, "--n", "3", "--json", "--quiet")
    assert code == 0, err
    said = json.loads(out)
    assert said["evaluation"]["held_out"] is False and said["evaluation"]["n_pairs"] == 1


@pytest.mark.parametrize("command", ["models", "tasks", "methods", "sites"])
def test_listings(command: str, run: Run) -> None:
    code, out, err = run(command)
    assert code == 0 and len(out.splitlines()) > 4, err


def test_verify_passes_on_the_embedded_model(run: Run) -> None:
    code, out, _ = run("verify")
    assert code == 0 and "parity" in out and "FAIL" not in out


def test_a_hostile_task_name_stays_inside_runs_and_off_the_terminal(run: Run, tmp_path: Path) -> None:
    from interp.model.loading.load import load
    from interp.tasks.find import task

    pairs = task("gender", load("demo"), n=4).pairs
    rows = [{"clean": p.clean, "corrupt": p.corrupt, "answer": p.answers[0], "wrong": p.wrong[0]} for p in pairs]
    name = "x/../../../escaped\x1b[31m\u202e" + "n" * 400
    (tmp_path / "t.json").write_text(json.dumps({"task": name, "pairs": rows}))
    code, out, err = run("discover", "--task", "t.json", "--n", "2", "--random", "1")
    assert code == 0, err
    assert not {"\x1b", "\u202e"} & set(out + err)
    made = [p for p in tmp_path.iterdir() if p.name != "t.json"]
    assert [p.name for p in made] == ["runs"] and len(list(made[0].iterdir())) == 1


def test_the_prompts_are_measured_with_the_metric_of_the_run(run: Run, tmp_path: Path) -> None:
    args = ["--task", "gender", "--limit", "8", "--n", "2", "--random", "1", "--out", "r", "--quiet"]
    assert run("discover", *args, "--metric", "log_prob")[0] == 0
    shown = json.loads((tmp_path / "r" / "prompts.json").read_text())["prompts"]
    assert all(p["metric"] == "log_prob" and p["unit"] == "nats" and p["clean_metric"] <= 0 for p in shown)


def test_exact_with_a_distance_to_the_base_run(run: Run) -> None:
    code, _, err = run(
        "discover",
        "--task",
        "gender",
        "--limit",
        "6",
        "--n",
        "2",
        "--random",
        "1",
        "--method",
        "exact",
        "--metric",
        "kl_base",
        "--json",
        "--quiet",
    )
    assert code == 0, err
