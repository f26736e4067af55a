"""What the packages must never contain, file by file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import ROOT, files

FILES = [ROOT / file for file in files()]
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(module: ast.Module) -> Iterator[str]:
    """The full names of everything imported anywhere in a file, inside functions too."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def calls(module: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_there_is_something_to_read() -> None:
    assert {"interp/model/run.py", "circuits/circuit/circuit.py"} <= {str(path.relative_to(ROOT)) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    module = tree(path)
    roots = {name.split(".")[0] for name in imported(module)}
    if path.is_relative_to(ROOT / "interp"):
        assert "circuits" not in roots
    assert "tests" not in roots and not roots & UNSAFE
    assert not any(name.startswith(".") for name in imported(module)), "relative import"
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(module)), "assert"
    for name, call in calls(module):
        assert name not in ("print", "eval", "exec", "torch.load", "compile"), f"{name} in line {call.lineno}"
        for keyword in call.keywords:
            if keyword.arg in ("trust_remote_code", "allow_pickle"):
                assert ast.unparse(keyword.value) == "False", f"{keyword.arg} in line {call.lineno}"
            assert not (keyword.arg == "weights_only" and ast.unparse(keyword.value) == "False")
            assert not (keyword.arg == "shell" and ast.unparse(keyword.value) == "True")


def test_there_are_no_circular_layers() -> None:
    """What is said of single modules beyond their floors: the sites know no torch, the tasks no engine, the model no nodes."""
    found = {str(path.relative_to(ROOT)): set(imported(tree(path))) for path in FILES}
    assert not any(name.split(".")[0] in ("torch", "transformers") for name in found["interp/parts/sites.py"])
    pairs = [file for file in found if file.startswith("interp/tasks/pairs/")]
    for quiet in ("interp/tasks/metrics.py", "interp/tasks/task.py", *pairs):
        assert not found[quiet] & {"interp.model.model", "interp.model.run", "interp.model.probing.probe"}
    for held in ("interp/model/held.py", "interp/model/model.py"):
        assert "interp.parts.nodes" not in found[held]
