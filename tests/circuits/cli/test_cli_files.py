"""Options in a file, `init`, and options that are checked before the model is loaded."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from circuits.cli.options.configuration import described
from circuits.jobs import starting
from circuits.runs.made_with import to_toml
from circuits.settings.run_options import DEFAULT_METHODS, Comparison, Discovery, ScoringRun
from interp.option import options_of, plain
from interp.scores.scores import Scores
from tests.circuits.cli.called import Run, run

__all__ = ["run"]


def no_model(*args: object) -> None:
    raise AssertionError("the model was loaded")


def test_the_file_of_a_run_gives_the_same_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("init")[0] == 0
    args = ("--method", "relp", "--n", "4", "--random", "2", "--seed", "3", "--direction", "noise", "--out", "first")
    code, _, err = run("discover", "circuits.toml", *args, "--quiet")
    assert code == 0 and err == ""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("discover", "../first/config.toml", "--out", "second", "--quiet")
    assert code == 0, err
    first, second = (Scores.load(tmp_path / place / "scores.parquet") for place in ("first", "elsewhere/second"))
    assert first.parts == second.parts and np.array_equal(first.per_example, second.per_example)
    for name in ("circuit.json", "evaluation.json", "config.toml"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "elsewhere" / "second" / name).read_bytes()
    assert tomllib.loads((tmp_path / "first" / "config.toml").read_text())["task"] == str(tmp_path / "prompts.jsonl")


def test_the_prompts_of_init_are_answered_by_the_embedded_model(run: Run) -> None:
    assert run("init", "a/b")[0] == 0
    code, out, err = run("discover", "a/b/circuits.toml", "--random", "1", "--n", "2", "--json")
    assert code == 0 and "WARNING" not in err
    assert json.loads(out)["accuracy"] == {"clean": 1.0, "corrupt": 1.0}


def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What jobs are asked for, in place of running them."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(
        "circuits.jobs.discovery.run",
        lambda given: asked.append({"command": given.command, **plain(given), "methods": list(given.names)}),
    )
    return asked


def test_the_command_line_comes_before_the_file_and_the_file_before_defaults(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = given(monkeypatch)
    (tmp_path / "sub").mkdir()
    lines = [
        'task = "mine.jsonl"',
        "n = 7",
        "seed = 5",
        'out = "r"',
        "hold_out = false",
        'pair = ["a", "b"]',
        "tau = 1",
    ]
    (tmp_path / "sub" / "o.toml").write_text("\n".join(lines))
    code, _, err = run("discover", "sub/o.toml", "--seed", "0", "--quiet")
    assert code == 0, err
    found = asked[0]
    assert found["task"] == "sub/mine.jsonl" and found["out"] == Path("sub/r") and found["model"] == "demo"
    assert (found["n"], found["seed"], found["hold_out"], found["pair"], found["quiet"]) == (
        7,
        0,
        False,
        ("a", "b"),
        True,
    )
    assert found["tau"] == 1.0 and isinstance(found["tau"], float) and found["methods"] == []


BAD_FILES = {
    "misspelt": ('modle = "demo"', "Did you mean model"),
    "several methods": ('methods = "atp"', "--method NAME"),
    "of another command": ('data = "demo"', "circuits sae train: is it meant for another command?"),
    "bad value of the other command": ("positions = 3", "expected text"),
    "positions of heads": ('positions = "each"', "circuits at positions are those of edges"),
    "text for a number": ('n = "5"', "expected a whole number"),
    "number for text": ("method = 3", "expected text"),
    "truth for a number": ("seed = true", "expected a whole number"),
    "number for truth": ("prune = 1", "expected true or false"),
    "fraction": ("n = 1.5", "expected a whole number"),
    "too small": ("seed = -1", "expected 0 or more"),
    "pair of one": ('pair = ["a"]', "a list of two texts"),
    "section": ("[discover]\nn = 3", "section"),
    "no TOML": ("n = = 3", "cannot be read"),
    "twice": ("n = 3\nn = 4", "cannot be read"),
    "bad value": ('method = "rlep"', "Did you mean relp"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line_that_names_the_key(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuits.jobs.discovery.load_model", no_model)
    text, said = BAD_FILES[case]
    (tmp_path / "o.toml").write_text(text)
    code, out, err = run("discover", "o.toml")
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err, err
    assert [path.name for path in tmp_path.iterdir()] == ["o.toml"]


def test_a_file_of_discover_is_one_of_compare_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is of no use to `compare` is named in one line; the method of `discover` has to be said where the file has several."""
    asked = given(monkeypatch)
    own = {name: o.default for name, o in options_of(Discovery).items() if name not in ("json", "quiet", "force")}
    (tmp_path / "d.toml").write_text(to_toml(own | {"method": "relp", "n": 7, "level": "blocks", "seed": 5}))
    code, out, err = run("compare", "d.toml")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert "n, ranking, algorithm, prune, random, hold_out, method in 'd.toml'" in err
    assert asked[0]["methods"] == DEFAULT_METHODS.split(",") and (asked[0]["level"], asked[0]["seed"]) == ("blocks", 5)
    assert set(options_of(Comparison)) - {"methods", "json", "quiet"} <= set(asked[0])
    assert run("compare", "d.toml", "--quiet")[2] == ""
    (tmp_path / "c.toml").write_text('methods = "atp,relp"\npositions = "all"\nseed = 4')
    code, _, err = run("discover", "c.toml", "--method", "atp")
    assert code == 0 and "no use for methods in 'c.toml'" in err
    assert (asked[-1]["methods"], asked[-1]["seed"]) == (["atp"], 4)


def test_a_missing_file_of_options(run: Run) -> None:
    code, _, err = run("compare", "nowhere.toml")
    assert code == 2 and "nowhere.toml" in err and "No such file" in err


# ------------------------------------------------------------ init


@pytest.mark.parametrize("command", [Discovery, Comparison])
def test_the_file_of_init_has_every_option_with_its_default_and_help(command: type[ScoringRun]) -> None:
    text = starting.config_text(described(command, command.command))
    assert tomllib.loads(text) == starting.SET
    options = options_of(command)
    entries = dict(re.findall(r"^#?(\w+) = (.+)$", text, re.MULTILINE))
    assert set(entries) == set(options) - set(starting.OF_A_CALL)
    for name, value in entries.items():
        default = starting.SET.get(name, options[name].default)
        if default is None:  # to take the # away is no way to a value that nobody chose
            assert value.strip().startswith("# not given; ")
            with pytest.raises(tomllib.TOMLDecodeError):
                tomllib.loads(f"x = {value}")
        else:
            assert tomllib.loads(f"x = {value}")["x"] == default
            options[name].accept(default, "the file")
    assert "{names" not in text
    assert all(
        " ".join(one.help.split()[:3]) in text for one in described(command, command.command) if one.name in entries
    )


def test_the_options_of_a_file_are_those_of_the_command_line(run: Run) -> None:
    _, out, _ = run("discover", "--help")
    flags = {flag.replace("-", "_") for flag in re.findall(r"^ *--([a-z][a-z-]*)", out, re.MULTILINE)}
    assert {name for name in options_of(Discovery) if len(name) > 1} <= flags


def test_init_replaces_nothing_unasked(run: Run, tmp_path: Path) -> None:
    assert run("init", "d")[0] == 0
    (tmp_path / "d" / "prompts.jsonl").write_text("mine")
    code, out, err = run("init", "d")
    assert code == 2 and out == "" and "--force" in err and err.count("\n") == 1
    assert (tmp_path / "d" / "prompts.jsonl").read_text() == "mine"
    code, out, _ = run("init", "d", "--force")
    assert code == 0 and "circuits discover d/circuits.toml" in out
    assert "mine" not in (tmp_path / "d" / "prompts.jsonl").read_text()


# ------------------------------------------------------------ checked before the model is loaded

EARLY = {
    "method": (["--method", "rlep"], "relp"),
    "level": (["--level", "head"], "heads"),
    "metric": (["--metric", "logitdiff"], "logit_diff"),
    "ablation": (["--ablation", "men"], "mean"),
    "direction": (["--direction", "both"], "denoise"),
    "direction and ablation": (["--direction", "denoise", "--ablation", "zero"], "noise"),
    "ranking": (["--ranking", "best"], "absolute"),
    "signed without signs": (["--ranking", "signed", "--method", "atp-star"], "absolute"),
    "n": (["--n", "0"], "n=0"),
    "n and threshold": (["--n", "3", "--threshold", "1"], "one of them"),
    "algorithm": (["--algorithm", "gredy"], "greedy"),
    "algorithm and level": (["--algorithm", "greedy"], "edges"),
    "prune and level": (["--prune"], "edges"),
    "kv": (["--level", "edges", "--method", "relp", "--kv", "both"], "split"),
    "method and level": (["--level", "edges", "--method", "atp-star"], "atp-star"),
    "tau and method": (["--tau", "1"], "acdc"),
    "steps and method": (["--method", "relp", "--steps", "3"], "IG"),
    "quadrature": (["--method", "atp-ig", "--quadrature", "simpson"], "midpoint"),
    "budget": (["--budget", "soon"], "budget"),
    "chance": (["--chance", "2"], "chance"),
    "memory": (["--max-memory", "much"], "max_memory"),
    "batch": (["--batch-size", "0"], "batch_size"),
    "random": (["--random", "0"], "random"),
    "task": (["--task", "ioy"], "ioi"),
    "task file": (["--task", "none.json"], "none.json"),
    "broken task file": (["--task", "broken.json"], "cannot be read"),
    "limit": (["--limit", "0"], "one pair"),
    "limit beyond the file": (["--task", "one.json", "--limit", "2"], "has 1 pairs"),
    "pair": (["--pair", "a", "b"], "--answer"),
    "dictionaries": (["--level", "features"], "--dictionaries"),
    "out": (["--out", "."], "exists"),
}


@pytest.mark.parametrize("case", EARLY)
def test_options_are_checked_before_the_model_is_loaded(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuits.jobs.discovery.load_model", no_model)
    (tmp_path / "broken.json").write_text("{")
    pair = {"clean": "a b", "corrupt": "a c", "answer": " d", "wrong": " e"}
    (tmp_path / "one.json").write_text(json.dumps([pair]))
    args, said = EARLY[case]
    code, out, err = run("discover", *args)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.json", "one.json"]
