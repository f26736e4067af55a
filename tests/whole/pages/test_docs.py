"""The documentation is true: its code runs, its links lead somewhere, its tables are current, its messages exist."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
#: What a page may take, in seconds of the processor; all pages together take less than two minutes.
PAGE_LIMIT = 60


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(first line, text) of every fenced block in a language."""
    text = page.read_text(encoding="utf-8")
    return [(text[: m.start(2)].count("\n"), m[2]) for m in _FENCE.finditer(text) if m[1] == language]


def in_tables(page: Path) -> list[tuple[int, str]]:
    """(line, code) of every piece of code in a column `here` of a table: what stands beside another project's call."""
    found: list[tuple[int, str]] = []
    column = None
    for line, text in enumerate(page.read_text(encoding="utf-8").splitlines()):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", text)]
        if not text.startswith("|"):
            column = None
        elif column is None:
            column = cells.index("here") if "here" in cells else -1
        elif column > 0:
            found += [(line, code.replace("\\|", "|")) for code in re.findall(r"`([^`]+)`", cells[column])]
    return found


# ---------------------------------------------------------------- code


def run_pages(pages: list[Path]) -> dict[str, str]:
    """Run every page in a fork of this process, in an empty folder; what went wrong by page, nothing if all went well.

    A fork, because a page may register methods and tasks, and because torch and the rest then are imported once, and the
    text that small dictionaries are trained on is written once.
    """
    import torch

    import interp
    from interp.dictionaries.training.data.documents import Written

    torch.set_num_threads(1)
    interp.load("demo")
    for library in ("pandas", "plotly.express", "circuits.evaluation.assessment"):
        importlib.import_module(library)
    for i in range(0, 8_000, Written.BLOCK):
        Written(0).read(i)
    failures = {}
    for page in pages:
        with tempfile.TemporaryDirectory() as folder:
            report, found = Path(folder, "failure.txt"), sorted((*blocks(page, "python"), *in_tables(page)))
            child = os.fork()
            if child == 0:
                try:
                    _in_child(name(page), found, Path(folder))
                except BaseException:
                    report.write_text(traceback.format_exc())
                    os._exit(1)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                failures[name(page)] = report.read_text() if report.exists() else f"stopped with status {status}"
    return failures


def _in_child(page: str, found: list[tuple[int, str]], folder: Path) -> None:
    """All Python blocks of a page in order, in one namespace."""
    import signal
    import warnings

    (folder / "work").mkdir()
    os.chdir(folder / "work")
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.setitimer(signal.ITIMER_PROF, PAGE_LIMIT)
    space: dict[str, object] = {"__name__": "__main__"}
    for line, text in found:
        # The padding makes line numbers those of the page.
        exec(compile("\n" * line + text, page, "exec"), space)


def test_python_blocks_run() -> None:
    """In a process of its own: nothing that a page registers reaches other tests."""
    pages = [page for page in PAGES if blocks(page, "python")]
    command = [sys.executable, "-m", "tests.whole.pages.test_docs", *map(str, pages)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    failures = json.loads(done.stdout.splitlines()[-1])
    assert not failures, "\n\n".join(f"{page}:\n{text}" for page, text in failures.items())


def test_code_beside_other_projects_is_found() -> None:
    found = in_tables(ROOT / "docs" / "users.md")
    assert len(found) > 50 and all(compile(text, "table", "exec") for _, text in found)


def test_how_to_extend_pages_have_an_example() -> None:
    without = [name(p) for p in (ROOT / "docs" / "extending").glob("*.md") if not blocks(p, "python")]
    assert not without


# ---------------------------------------------------------------- commands


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """(where, arguments) of every `circuits ...` line in a shell block."""
    for page in WRITTEN:
        for line, text in blocks(page, "bash"):
            for command in re.split(r"\n|&&|\|", text.replace("\\\n", " ")):
                words = shlex.split(command, comments=True)
                if words and Path(words[0]).name == "circuits":
                    yield f"{name(page)}:{line + 1}: {command.strip()}", words[1:]


@pytest.mark.parametrize(("where", "arguments"), command_lines(), ids=lambda x: x if isinstance(x, str) else "")
def test_command_lines_parse(where: str, arguments: list[str]) -> None:
    import typer

    from circuits.cli.app import app

    group = typer.main.get_command(app)
    context = group.make_context("circuits", list(arguments))
    rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
    if rest:
        command = group.commands[rest[0]]  # type: ignore[attr-defined]
        values = command.make_context(rest[0], rest[1:], parent=context).params
        check_names(values)


def check_names(values: dict[str, object]) -> None:
    """Methods, tasks, levels and metrics on a command line exist."""
    from interp.attribution.methods import METHODS
    from interp.attribution.token_methods import METHODS as TOKEN_METHODS
    from interp.parts.nodes import CIRCUIT_LEVELS, LEVELS
    from interp.tasks import builtin
    from interp.tasks.metrics import METRICS

    named = str(values.get("methods") or values.get("method") or "relp")
    known = TOKEN_METHODS if "features" in values else METHODS
    assert {m.strip() for m in named.split(",")} <= known.keys()
    assert (values.get("level") or "heads") in {*LEVELS, *CIRCUIT_LEVELS}
    assert values.get("metric") is None or values["metric"] in METRICS
    task = str(values.get("task", "ioi"))
    assert task in builtin.names() or Path(task).suffix in (".json", ".jsonl", ".csv")


def option_files(training: bool) -> list[tuple[str, str]]:
    """(where, text) of the TOML blocks that are for `circuits sae train`, or of those for `circuits discover`."""
    found = [(f"{name(p)}:{line + 1}", text) for p in PAGES for line, text in blocks(p, "toml")]
    return [
        (where, text)
        for where, text in found
        if ({"dictionaries", "site"} & {*tomllib.loads(text)} != set()) == training
    ]


@pytest.mark.parametrize(("where", "text"), option_files(training=False))
def test_option_files_are_understood(where: str, text: str) -> None:
    from circuits.settings.run_options import Discovery
    from interp.option import options_of

    options = options_of(Discovery)
    values = {key: options[key].accept(value, where) for key, value in tomllib.loads(text).items()}
    check_names(values)


@pytest.mark.parametrize(("where", "text"), option_files(training=True))
def test_training_files_are_understood(where: str, text: str, tmp_path: Path) -> None:
    """The options exist and the dictionaries can be made."""
    import interp
    from circuits.cli.options.training_options import merged
    from circuits.jobs.dictionaries.dictionary_training import split
    from circuits.settings.dictionary_options import Training
    from interp.dictionaries.training.loop.settings import wanted

    path = tmp_path / "run.toml"
    path.write_text(text)
    run, specs = split(merged(Training(config=path)))
    assert len(wanted(interp.load(run["model"]), specs)) == len(specs)


def test_there_are_files_of_options() -> None:
    assert option_files(training=True) and option_files(training=False)


# ---------------------------------------------------------------- links, tables, messages


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            broken.append(target)
    assert not broken


def test_every_page_is_reached_from_the_first() -> None:
    linked = {(page.parent / t.partition("#")[0]).resolve() for page in PAGES for t in _LINK.findall(page.read_text())}
    assert not [name(page) for page in PAGES[1:] if page not in linked]


def test_generated_tables_are_current() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def templates() -> set[str]:
    """Every text in the packages, with an ellipsis for what is filled in."""
    found = set()
    for path in (*(ROOT / "interp").rglob("*.py"), *(ROOT / "circuits").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_messages_of_troubleshooting_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^> (.+)$", page, re.MULTILINE)
    known = templates()
    assert len(messages) > 15
    assert not [m for m in messages if not any(m in template for template in known)]


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(run_pages([Path(page).resolve() for page in sys.argv[1:]])) + "\n")
