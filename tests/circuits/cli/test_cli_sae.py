"""`circuits sae train`: options, a TOML file, the run's folder and report, bad input, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interp
from circuits.report.pages import render_training
from interp.dictionaries.training.steps.learner import Learner
from tests.circuits.cli.called import Run, calling

SMALL = [
    "--site",
    "resid_post.1",
    "--d-sae",
    "64",
    "--k",
    "8",
    "--tokens",
    "3000",
    "--batch-tokens",
    "300",
    "--out",
    "run",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits sae train ARGS` in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys, "sae", "train")


def weights(folder: str | Path) -> str:
    return hashlib.sha256((Path(folder) / "sae_weights.safetensors").read_bytes()).hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_and_its_folder(run: Run, tmp_path: Path) -> None:
    code, out, err = run(*SMALL, "--json", "--quiet")
    assert (code, err) == (0, "")
    said = json.loads(out)
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert said["final"] == record["final"] and said["out"] == "run" and record["status"] == "complete"
    assert files(tmp_path / "run") == [
        "cfg.json",
        "config.toml",
        "report.html",
        "sae_weights.safetensors",
        "training.json",
    ]
    d = interp.load_dictionary(tmp_path / "run")
    assert (str(d.site), d.n_features, d.activation.k) == ("resid_post.1", 64, 8)  # type: ignore[attr-defined]
    assert record["steps"] == 10 and record["identity"]["data"]["name"] == "demo"


def test_the_report_is_one_offline_file_with_what_was_measured(run: Run, tmp_path: Path) -> None:
    assert run(*SMALL, "--quiet")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert page.count("<script") == 1 and "://" not in page and " src=" not in page and "default-src 'none'" in page
    assert page.count("<svg") == 4 and page == render_training(record)
    final = next(iter(record["final"].values()))
    assert f"{final['held_out_explained_variance']:.3f}" in page.replace("\u2212", "-")
    record["identity"]["data"]["name"] = "<script>alert(1)</script>"
    assert "<script>alert" not in render_training(record)


def test_batches_of_one_token_have_no_variance_and_the_record_stays_plain_json(run: Run, tmp_path: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    few = ["--tokens", "12", "--batch-tokens", "1", "--buffer", "400", "--context", "8", "--quiet"]
    assert run(*SMALL, *few)[0] == 0
    record = json.loads((tmp_path / "run" / "training.json").read_text(), parse_constant=refuse)
    final = next(iter(record["final"].values()))
    assert "explained_variance" not in final and final["held_out_explained_variance"] < 1
    assert run(*SMALL[:-1], "none", *few, "--hold-out", "0")[0] == 0
    page = (tmp_path / "none" / "report.html").read_text()
    assert (
        page.count("<svg") == 4
        and not re.search(r"\bnan\b", page.split("</head>")[1])
        and "explains - of the variance" in page
    )


def test_options_override_the_toml_and_the_config_of_a_run_does_it_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'site = "resid_post.0"\nd_sae = 32\nk = 4\ntokens = 2000\nbatch_tokens = 200\narchitecture = "batchtopk"\nbuffer = "1MiB"\n'
    )
    assert run("c.toml", "--site", "resid_post.2", "--set", "adam_beta1=0.5", "--out", "a", "--quiet")[0] == 0
    d = interp.load_dictionary(tmp_path / "a")
    assert (str(d.site), d.n_features) == ("resid_post.2", 32)
    assert d.details["training"]["options"]["adam_beta1"] == 0.5
    assert run("a/config.toml", "--out", "b", "--quiet")[0] == 0
    assert weights("a") == weights("b")


def test_several_dictionaries_of_one_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "tokens = 2000\nbatch_tokens = 200\nd_sae = 32\n"
        '[[dictionaries]]\nsite = "resid_post.0"\nk = 4\n'
        '[[dictionaries]]\nsite = "mlp_normed.1"\narchitecture = "transcoder"\nl1_coefficient = 2.0\n'
    )
    assert run("c.toml", "--out", "run", "--quiet")[0] == 0
    found = interp.load_dictionaries(tmp_path / "run")
    assert sorted(map(str, found)) == ["mlp_out.1", "resid_post.0"]
    assert run("run/config.toml", "--out", "again", "--quiet")[0] == 0
    for name in ("resid_post.0-topk-32", "mlp_normed.1-transcoder-32"):
        assert weights(tmp_path / "run" / name) == weights(tmp_path / "again" / name)


def test_data_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text(
        "\n\n".join(f"The war lasted from the year 17{i} to the year 18." for i in range(10, 99))
    )
    code, out, _ = run(*SMALL, "--data", "my.txt", "--tokens", "2000", "--json", "--quiet")
    assert code == 0 and json.loads(out)["source"]["epoch"] >= 1


# ---------------------------------------------------------------- what is said


def test_without_a_terminal_lines_say_where_it_is_and_quiet_says_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp.dictionaries.training.loop.status.EVERY", 0.0)
    code, _, err = run(*SMALL)
    phases = [line.split("  ")[-1] for line in err.splitlines() if line.startswith("[")]
    assert phases == ["loading demo", "training 1 dictionary", "writing the report"]
    lines = ["loading demo", *(line for line in err.splitlines() if not line.startswith(("[", "done")))]
    assert code == 0 and lines[1] == "filling the buffer"
    pattern = r"step {} of 10: loss [\d.]+, L0 8\.0, EV -?[\d.]+, dead [\d.]+%"
    assert len(lines) == 11 and all(re.fullmatch(pattern.format(i + 1), line) for i, line in enumerate(lines[2:]))
    assert run(*SMALL[:-1], "other", "--quiet")[2] == ""


def test_a_finished_run_says_that_nothing_was_trained(run: Run) -> None:
    assert "finished" not in run(*SMALL)[1]
    before = weights("run")
    code, out, _ = run(*SMALL, "--resume")
    assert code == 0 and "This run was finished before: nothing was trained" in out and weights("run") == before


# ---------------------------------------------------------------- Ctrl-C


def test_ctrl_c_says_how_to_go_on_and_that_ends_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SMALL, "--quiet")[0] == 0
    wanted = weights("run")
    (tmp_path / "run").rename(tmp_path / "whole")
    learn = Learner.learn
    steps: list[int] = []

    def pressed(self: Learner, *given: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return learn(self, *given)

    monkeypatch.setattr(Learner, "learn", pressed)
    code, out, err = run(*SMALL, "--quiet")
    assert code == 130 and out == "" and err.count("\n") == 1 and "go on with: circuits sae train" in err
    assert not (tmp_path / "run" / "cfg.json").exists()
    again = shlex.split(err.split("go on with: ")[1])
    assert run(*again[3:])[0] == 0
    assert weights("run") == wanted and len(steps) == 10


# ---------------------------------------------------------------- bad input


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).write_text(text), None][1]


def _nothing(folder: Path) -> None:
    return None


BASE = ["--site", "resid_post.1", "--d-sae", "48", "--out", "run"]
BAD: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "no site": (_nothing, ["--d-sae", "16", "--out", "run"], "without site"),
    "no features": (_nothing, ["--site", "resid_post.1", "--d-sae", "0", "--out", "run"], "d_sae=0"),
    "no such site": (_nothing, ["--site", "resid_past.1", "--d-sae", "64", "--out", "run"], "Did you mean"),
    "no such architecture": (_nothing, [*BASE, "--architecture", "topj"], "Did you mean topk"),
    "no such option": (_nothing, [*BASE, "--set", "l1=3"], "unknown option 'l1'"),
    "option of another": (_nothing, [*BASE, "--set", "l1_coefficient=3"], "unknown option of topk"),
    "option without value": (_nothing, [*BASE, "--set", "k"], "KEY=VALUE"),
    "no such file": (_nothing, [*BASE, "--data", "nowhere.txt"], "nowhere.txt"),
    "empty file": (_write("a.txt", ""), [*BASE, "--data", "a.txt"], "no documents"),
    "short file": (_write("a.txt", "One.\n\nTwo."), [*BASE, "--data", "a.txt"], "one step takes"),
    "wrong kind of file": (_write("a.csv", "a,b"), [*BASE, "--data", "a.csv"], ".jsonl"),
    "broken JSON": (_write("a.json", "[1"), [*BASE, "--data", "a.json"], "a.json"),
    "line without text": (_write("a.jsonl", '{"txt": "x"}\n' * 50), [*BASE, "--data", "a.jsonl"], "key 'text'"),
    "no such config": (_nothing, ["c.toml", *BASE], "c.toml"),
    "broken config": (_write("c.toml", "site ="), ["c.toml", *BASE], "c.toml"),
    "unknown key": (_write("c.toml", "d_seaa = 3"), ["c.toml", *BASE], "Did you mean d_sae"),
    "file of discover": (_write("c.toml", "random = 3"), ["c.toml", *BASE], "an option of circuits discover: is"),
    "unknown key of a dictionary": (_write("c.toml", "[[dictionaries]]\ntokens = 3"), ["c.toml", *BASE], "'tokens'"),
    "option of another in one of several": (
        _write("c.toml", 'k = 8\n[[dictionaries]]\nsite = "z.1"\n[[dictionaries]]\nsite = "mlp_normed.1"\narchitecture = "transcoder"'),
        ["c.toml", "--d-sae", "48", "--out", "run"],
        "dictionary 2 of 2, at mlp_normed.1: unknown option of transcoder 'k'",
    ),
    "one of several without features": (
        _write("c.toml", '[[dictionaries]]\nsite = "z.1"\nd_sae = 8\n[[dictionaries]]\nsite = "z.2"'),
        ["c.toml", "--out", "run"],
        "dictionary 2 of 2, at z.2: a dictionary without d_sae",
    ),
    "dictionaries that are none": (_write("c.toml", "dictionaries = 3"), ["c.toml", *BASE], "[[dictionaries]]"),
    "text for a number": (_write("c.toml", 'tokens = "many"'), ["c.toml", *BASE], "tokens='many'"),
    "text for a share": (_write("c.toml", 'hold_out = "some"'), ["c.toml", *BASE], "hold_out='some'"),
    "text for a switch": (_write("c.toml", 'keep_bos = "no"'), ["c.toml", *BASE], "keep_bos='no'"),
    "text for a context": (_write("c.toml", 'context = "long"'), ["c.toml", *BASE], "context='long'"),
    "number for a site": (_write("c.toml", "site = 3"), ["c.toml", "--d-sae", "48", "--out", "run"], "site 3"),
    "number for a model": (_write("c.toml", "model = 3"), ["c.toml", *BASE], "model=3"),
    "number for a cache": (_write("c.toml", "cache = 5"), ["c.toml", *BASE], "cache=5"),
    "empty architecture": (_write("c.toml", 'architecture = ""'), ["c.toml", *BASE], "architecture=''"),
    "text for another switch": (_write("c.toml", 'keep_checkpoint = "no"'), ["c.toml", *BASE], "keep_checkpoint='no'"),
    "dictionaries on the command line": (_nothing, [*BASE, "--set", "dictionaries=3"], "--set 'dictionaries=3'"),
    "resume without out": (_nothing, ["--site", "resid_post.1", "--d-sae", "8", "--resume"], "--out"),
    "resume of nothing": (_nothing, [*BASE, "--resume"], "nothing to resume at 'run': no run there; leave out --resume"),
    "no such model": (_nothing, [*BASE, "--model", "nowhere", "--data", "demo"], "nowhere"),
    "model without data": (_nothing, [*BASE, "--model", "nowhere"], "no data"),
    "not a run": (lambda folder: [(folder / "run").mkdir(), (folder / "run" / "thesis").write_text("x"), None][2], BASE, "no training run"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(run: Run, tmp_path: Path, case: str) -> None:
    prepare, args, words = BAD[case]
    prepare(tmp_path)
    before = files(tmp_path)
    code, out, err = run(*args, "--quiet")
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err, err
    assert files(tmp_path) == before


def test_a_run_that_is_there_is_not_replaced(run: Run, tmp_path: Path) -> None:
    assert run(*SMALL, "--quiet")[0] == 0
    before = weights("run")
    code, _, err = run(*SMALL, "--seed", "1", "--quiet")
    assert code == 2 and "(finished): go on with --resume, or choose another folder" in err and weights("run") == before
    code, _, err = run(*SMALL, "--seed", "1", "--resume", "--quiet")
    assert code == 2 and "seed was 0, now 1" in err and weights("run") == before
