"""`open`, runs that are stopped, shell completion, `methods NAME`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.main import get_command
from typer.models import OptionInfo

from circuits.cli import app
from circuits.cli.options import completing, help_sections
from circuits.jobs import opening
from tests.circuits.cli.called import Run, run

__all__ = ["run"]


def made(folder: Path, status: str = "complete", report: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "status": status}))
    if report:
        (folder / "report.html").write_text("<title>r</title>")
    return folder


def test_open_takes_the_newest_complete_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("open")[0] == 2
    for i, (name, status) in enumerate((("b", "complete"), ("a", "complete"), ("c", "running"))):
        os.utime(made(tmp_path / "runs" / name, status) / "report.html", (i, i))
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or True)
    code, out, err = run("open")
    assert (code, out.strip()) == (0, str(tmp_path / "runs" / "a" / "report.html"))
    assert asked == [] and "browser" in err  # nobody looks on: standard output is no terminal
    monkeypatch.setattr(opening.sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("DISPLAY", ":0")
    assert run("open", "runs/b")[0] == 0
    assert asked == [(tmp_path / "runs" / "b" / "report.html").as_uri()]


def test_open_refuses_what_is_no_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    made(tmp_path / "half", "interrupted")
    made(tmp_path / "bare", report=False)
    said = {"nowhere": "no directory", "folder": "not a run", "half": "interrupted", "bare": "circuits report bare"}
    for name, why in said.items():
        code, out, err = run("open", name)
        assert (code, out, err.count("\n")) == (2, "", 1) and why in err, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_says_so(
    number: signal.Signals, code: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuits.jobs.discovery.run_discovery", lambda *_: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM)
    found, out, err = run("discover", "--limit", "4", "--out", "r", "--quiet")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


# ------------------------------------------------------------ completion, methods


def completed(line: str, folder: Path) -> tuple[list[str], str]:
    """What bash is given for a line, and every module that was loaded for it."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_CIRCUITS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    environment["PYTHONPATH"] = str(Path(app.__file__).parents[2])
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import sys; sys.argv[0] = 'circuits'; import circuits.cli.app as c; c.main()",
    ]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout.split(), done.stderr


#: Options whose names are listed elsewhere than in their help, and options of text that have none.
ELSEWHERE = {"method", "methods", "level", "task", "model", "architecture"}
FREE = {"answer", "wrong", "budget", "max_memory", "site", "sites", "target", "truth", "buffer", "layers"}


def commands() -> dict[str, Any]:
    """Every command by its name, those of `sae` by theirs."""
    whole: Any = get_command(app.app)
    found = {**whole.commands, **whole.commands["sae"].commands}
    return {name: command for name, command in found.items() if name != "sae"}


def texts(command: Any) -> Iterator[tuple[str, OptionInfo]]:
    """The options of a command that take one text, from its signature."""
    for name, hint in get_type_hints(command.callback, include_extras=True).items():
        info = hint.__metadata__[0] if hasattr(hint, "__metadata__") else None
        if isinstance(info, OptionInfo) and str in (get_args(hint.__origin__) or (hint.__origin__,)):
            yield name, info


def test_every_option_that_takes_names_completes_them() -> None:
    """An option of text completes something, or is known to be free; its help speaks of names that it completes."""
    found = [(name, option, info) for name, command in commands().items() for option, info in texts(command)]
    assert len(found) > 50 and {option for _, option, _ in found} >= FREE
    for command, option, info in found:
        names = set(info.autocompletion("")) if info.autocompletion else set()
        assert bool(names) != (option in FREE), (command, option)
        said = set(re.findall(r"[\w-]+", info.help or ""))
        assert names & said or option in FREE | ELSEWHERE, (command, option)


def test_bash_completes_names_without_loading_libraries(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    found, loaded = completed("circuits discover --method relp-", tmp_path)
    assert found == ["relp-ah", "relp-ig", "relp-ig-sites"]
    assert " circuits.cli.app\n" in loaded and not re.search(r"\| +(torch|transformers|numpy|pandas)\n", loaded)
    assert completed("circuits discover --model m", tmp_path)[0] == ["models/mine"]


def test_completion_can_be_installed_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    found = CliRunner().invoke(app.app, ["--show-completion"], prog_name="circuits")
    assert found.exit_code == 0 and "_CIRCUITS_COMPLETE=complete_bash" in found.output
    assert "complete -o default -F _circuits_completion circuits" in found.output
    assert "--install-completion" in CliRunner().invoke(app.app, ["--help"]).output


def test_methods_in_short_and_one_in_full(run: Run) -> None:
    from interp.attribution.methods import METHODS

    code, out, _ = run("methods")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert all(f" {name} " in out for name in completing.NAMES["methods"])
    for name in completing.NAMES["methods"]:
        code, out, _ = run("methods", name)
        text = re.sub(r"[\s│]+", " ", out)
        assert code == 0 and METHODS[name].formula in text and METHODS[name].paper in text and "Rule(" not in text
    assert "attention pattern held fixed" in re.sub(r"[\s│]+", " ", run("methods", "relp-ah")[1])
    code, _, err = run("methods", "rlep")
    assert code == 2 and "Did you mean relp" in err


# ------------------------------------------------------------ what can be copied


def test_no_summary_of_a_command_is_cut(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for args, first in ((("--help",), "Find a circuit:"), (("sae", "--help"), "Commands:")):
        code, out, _ = run(*args)
        assert code == 0 and first in out and "..." not in out.partition(first)[2]


def test_help_has_every_command_and_option_under_one_title(run: Run) -> None:
    _, out, _ = run("--help")
    whole: Any = get_command(app.app)
    assert sorted(name for names in help_sections.COMMANDS.values() for name in names) == sorted(whole.commands)
    assert "Other commands" not in out and "Begin with: circuits discover" in out
    for name, titles in help_sections.OPTIONS.items():
        own = [p.name for p in commands()[name].params if p.param_type_name == "option"]
        titled = [option for options in titles.values() for option in options if option in {*own, "help"}]
        assert sorted(titled) == sorted({*own, "help"}), name
        _, out, _ = run(*(["sae"] if name in ("train", "eval") else []), name, "--help")
        assert all(f"\n{title}:\n" in out for title in titles)
        assert "\nOptions:\n" not in out or "Options" in titles


def test_help_says_no_default_twice() -> None:
    for name, command in commands().items():
        for p in command.params:
            shown = p.default not in (None, False, ()) and p.show_default
            assert not (shown and "[default" in (p.help or "")), (name, p.name)
