"""The commands that look inside: what they print and write, and what is refused in one line with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp.activations.summary import Summary
from interp.depth.drop_layers import DroppedLayers
from interp.depth.layer_use import LayerUse
from interp.lenses.lens import LogitLens
from tests.circuits.cli.called import Run, run

__all__ = ["run"]

#: Of each command: bad options, and what is said of them before a model is loaded.
BAD = {
    "lens": [
        (("--kind", "lgit"), "--kind 'lgit': expected logit"),
        (("--layers", "x"), "--layers 'x': 'x' is no layer"),
        (("--layers", "2-1"), "is no layer"),
        (("--layers", "0,,1"), "'' is no layer"),
        (("--layers", "-1"), "is no layer"),
        (("--layers", "1.5"), "is no layer"),
        (("--layers", "0-99999"), "is no layer"),
        (("--layers", ""), "is no layer"),
        (("--text", ""), "text 1 of 1 is empty"),
        (("--text", "a", "--text", " \n"), "text 2 of 2 is empty"),
        (("--text", "a", "--task", "sva"), "--task belongs to prompts of a task"),
        (("--text", "a", "--limit", "3"), "--limit belongs to prompts of a task"),
        (("--text", "a", "--pair", "b", "c"), "--pair belongs to prompts of a task"),
        (("--text", "a", "--chat"), "--chat belongs to prompts of a task"),
        (("--pair", "b", "b"), "the same text"),
        (("--pair", "b", "c"), "needs --answer"),
        (("--answer", "b"), "belong to --pair"),
        (("--limit", "0"), "limit=0: expected one pair or more"),
        (("--task", "none.jsonl"), "none.jsonl"),
        (("--seed", "9" * 25), "below 2**63"),
        (("--seed", "-1"), "'--seed'"),
        (("--out", "kept"), "'kept' exists; choose another --out"),
        (("--out", "kept", "--force"), "is not a run directory"),
        (("--out", "kept/file"), "exists"),
        (("--colour", "red"), "No such option: --colour"),
        (("--layer", "1"), "No such option: --layer"),
        (("none.toml",), "none.toml"),
    ],
    "depth": [
        (("--drop", "0"), "--drop=0: expected 1 or more"),
        (("--texts", "1"), "--texts=1: expected 2 or more"),
        (("--window", "7"), "--window=7: expected 8 or more"),
        (("--unit", "heads"), "unknown unit 'heads'"),
        (("--score", "influences"), "Did you mean influence"),
        (("--score", "exact"), "needs a task"),
        (("--score", "relp"), "needs a task"),
        (("--score", "lac"), "no default is published"),
        (("--score", "lac", "--alpha", "0.5", "--unit", "mlp"), "scores block"),
        (("--score", "lac", "--alpha", "0.5", "--search", "greedy"), "of the full model"),
        (("--alpha", "0.5"), "alpha belongs to"),
        (("--search", "all"), "unknown search 'all'"),
        (("--data", "none.txt"), "none.txt"),
        (("--model", "other"), "--data: none given"),
        (("--out", "kept"), "'kept' exists; choose another --out"),
    ],
    "statistics": [
        (("--what", "momentz"), "Did you mean moments"),
        (("--what", ""), "unknown statistic ''"),
        (("--what", "moments,,sparsity"), "unknown statistic ''"),
        (("--what", "positions"), "give --window"),
        (("--window", "2"), "--window=2"),
        (("--tokens", "0"), "--tokens=0"),
        (("--tokens", "x"), "--tokens"),
        (("--data", "none.txt"), "none.txt"),
        (("--data", "kept/file"), "kept/file"),
        (("--model", "other"), "--data: none given"),
        (("--seed", "-1"), "'--seed'"),
        (("--out", "kept"), "'kept' exists; choose another --out"),
        (("--site", "z.1"), "No such option: --site"),
        (("none.toml",), "none.toml"),
    ],
}
CASES = [(command, *case) for command, cases in BAD.items() for case in cases]


@pytest.mark.parametrize(("command", "args", "said"), CASES)
def test_what_needs_no_model_to_be_wrong_is_one_line_and_exit_2(
    command: str, args: tuple[str, ...], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(*given: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("circuits.jobs.looking.look.load_model", no_model)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    code, out, err = run(command, "--quiet", *args)
    assert (code, out) == (2, "") and said in err and len(err.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"kept", "file"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--layers", "1,4"), "model 'demo' has no layer 4; expected 0 to 3"),
        (("--task", "iio"), "Did you mean ioi"),
        (("--model", "dmeo"), "dmeo"),
        (("--dtype", "float8"), "float8"),
        (("--device", "tpu:0"), "tpu:0"),
    ],
)
def test_what_only_the_model_tells_is_refused_the_same_way(
    args: tuple[str, ...], said: str, run: Run, tmp_path: Path
) -> None:
    code, out, err = run("lens", "--quiet", *args)
    assert (code, out) == (2, "") and said in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_lens_leaves_a_run_that_opens_and_renders_again(run: Run) -> None:
    code, out, err = run("lens", "--limit", "3", "--json", "--out", "a", "--quiet")
    assert (code, err) == (0, "")
    said, manifest = json.loads(out), json.loads(Path("a/manifest.json").read_text())
    assert said["directory"] == "a" and said["tables"] == {"first_prompt": "first_prompt.parquet"}
    kl = [said["numbers"][f"kl_layer_{layer}"] for layer in range(4)]
    assert kl[3] == 0 and all(value > 0 for value in kl[:3])
    assert (manifest["status"], manifest["job"], manifest["forwards_total"]) == (
        "complete",
        "lens",
        pytest.approx(1, abs=0.3),
    )
    assert manifest["options"]["limit"] == 3 and manifest["versions"]["torch"] and manifest["seconds"] > 0
    lens = LogitLens.load("a/first_prompt.parquet")
    assert lens.logits.shape[:3] == (4, 1, 1) and lens.model == "demo"
    page = Path("a/report.html").read_bytes()
    assert run("open", "a")[0] == 0
    Path("a/report.html").unlink()
    assert run("report", "a")[0] == 0 and Path("a/report.html").read_bytes() == page
    for command in (("evaluate", "a"), ("stability", "a"), ("diff", "a", "a"), ("export", "a", "x.svg")):
        code, out, err = run(*command)
        assert code == 2 and "'a' is of circuits lens, which looks inside a model" in err and out == ""
    # The file of options gives the same numbers, and replaces only when it is told to.
    code, out, err = run("lens", "a/config.toml", "--out", "a", "--json", "--quiet")
    assert code == 2 and "exists" in err and out == ""
    code, out, err = run("lens", "a/config.toml", "--out", "a", "--force", "--json", "--quiet")
    assert code == 0 and json.loads(out)["numbers"] == said["numbers"]


def test_layers_and_texts_are_those_that_were_named(run: Run) -> None:
    code, out, err = run("lens", "--text", "Once upon a time", "--layers", "2,0-1", "--quiet")
    assert code == 0, err
    assert "layer 0 of demo" in out and "1 prompt" in out and "resid_post.2" in out
    assert Path("runs/lens-demo/looked.json").is_file()
    rows = json.loads(Path("runs/lens-demo/looked.json").read_text())["sections"][0]["rows"]
    assert [line[0] for line in rows["lines"]] == [0, 1, 2]


def test_depth_keeps_what_it_found(run: Run) -> None:
    code, out, err = run("depth", "--texts", "6", "--window", "24", "--json", "--out", "d", "--quiet")
    assert (code, err) == (0, "")
    said = json.loads(out)
    use, dropped = LayerUse.load("d/layer_use.parquet"), DroppedLayers.load("d/dropped_layers.parquet")
    assert set(use.layers) == {0, 1, 2, 3} and dropped.judged == "other" and dropped.n == 3
    assert said["numbers"]["cross_entropy_without_2"] == dropped.cross_entropy[2]
    assert [section["title"] for section in said["sections"]] == ["Layers", "What is left"]
    page = Path("d/report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and dropped.removed[0] in page
    for options, words in ((("--drop", "4"), "one must be left"), (("--window", "9999"), "context=9999")):
        code, out, err = run("depth", *options, "--quiet", "--out", "e")
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not Path("e").exists()


def test_statistics_of_a_text_are_a_run_with_a_file(run: Run, tmp_path: Path) -> None:
    args = (
        "--what",
        "moments,sparsity,positions",
        "--window",
        "16",
        "--tokens",
        "200",
        "--sites",
        "resid_post,mlp_post.3",
    )
    code, out, err = run("statistics", "--quiet", "--json", *args, "--out", "found")
    assert (code, err) == (0, "")
    data = json.loads(out)
    summary = Summary.load(tmp_path / "found" / data["tables"]["summary"])
    assert summary.n_tokens == data["numbers"]["tokens"] and summary.window == 16
    share = float(summary["resid_post.2"]["positions"]["share_pos"])
    assert data["numbers"]["positions_share_pos_resid_post.2"] == pytest.approx(share)
    assert [section["title"] for section in data["sections"]] == ["Moments", "Sparsity", "Positions"]
    assert (tmp_path / "found" / "report.html").is_file()
    code, out, err = run("statistics", "--quiet", "--sites", "z.9", "--out", "other")
    assert (code, out) == (2, "") and "layer 9 does not exist" in err and not (tmp_path / "other").exists()
