"""What the test files take from the packages and from each other, and the room that each of them stands in.

The tests have the rooms of the packages: `tests/interp/model/` tests `interp/model/` and may take from that room and from
rooms below it, also by way of shared modules, which stand in rooms like the tests that they serve. A folder that is no
room (`tests/interp/attribution/level_edges/`) is a part of the room around it. Only `tests/whole/` is free.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.house import FLOORS, PACKAGES, ROOT, Arrow, module_in, modules, room_of

TESTS = "tests"
#: Laws across rooms: they take from everywhere, and no other test takes from them.
WHOLE = "tests/whole"
#: What every test may use, whatever its room: this file, the table of floors, the fixtures of all tests.
GROUND = "tests"

_NAME = re.compile(r"(?:interp|circuits|tests)(?:\.\w+)+")
_SCRIPT = re.compile(r"\bimport\b.*\b(?:interp|circuits|tests)\b|\bfrom (?:interp|circuits|tests)\b")


@cache
def modules_of_tests() -> dict[str, str]:
    """Dotted name -> file, of every module of the tests."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / TESTS).rglob("*.py"))
    return {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in found}


@cache
def every_module() -> dict[str, str]:
    """Dotted name -> file, of the packages and of the tests."""
    return modules() | modules_of_tests()


@cache
def public_names() -> dict[str, str]:
    """`interp.load` -> the file that holds it, from the stubs of both packages."""
    found = {}
    for package in PACKAGES:
        stub = ast.parse((ROOT / package / "__init__.pyi").read_text(encoding="utf-8"))
        for node in stub.body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:  # `from . import NAME` is a room
                    found[f"{package}.{alias.name}"] = modules()[f"{package}.{node.module or alias.name}"]
    return found


def file_of(name: str) -> str | None:
    """The file of ours that a dotted name is taken from: that of a public name, else of the longest beginning that is a module.

    None for the bare name of a package, and for names of neither: `interp.__version__`, `circuits.toml`.
    """
    return module_in(name, every_module()) or public_names().get(".".join(name.split(".")[:2]))


def taken(text: str) -> Iterator[tuple[int, str]]:
    """Line and file of everything of ours that a source text takes.

    Imports wherever they stand, attributes of the packages (`interp.load`), dotted names in strings (patched attributes,
    modules started with -m), and the same in scripts that are strings.
    """
    nodes = list(ast.walk(ast.parse(text)))
    bound = _bound(nodes)
    for node in nodes:
        for name in _names(node, bound):
            file = file_of(name)
            if file is not None:
                yield node.lineno, file  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SCRIPT.search(node.value):
            yield from ((node.lineno, file) for _, file in _script(node.value))


def _bound(nodes: list[ast.AST]) -> dict[str, str]:
    """Local name -> package, where a package is imported whole."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in PACKAGES:
                    found[alias.asname or alias.name] = alias.name
                elif alias.asname is None and alias.name.split(".")[0] in PACKAGES:
                    found[alias.name.split(".")[0]] = alias.name.split(".")[0]
    return found


def _names(node: ast.AST, bound: dict[str, str]) -> Iterator[str]:
    """The dotted names of ours that stand in one node."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute):
        words = [node.attr]
        while isinstance(node.value, ast.Attribute):
            node = node.value
            words.insert(0, node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in bound:
            yield ".".join([bound[node.value.id], *words])
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
        yield node.value
    elif isinstance(node, (ast.List, ast.Tuple)):
        words = [part.value if isinstance(part, ast.Constant) else None for part in node.elts]
        yield from (f"{b}.__main__" for a, b in itertools.pairwise(words) if a == "-m" and b in PACKAGES)


def _script(text: str) -> Iterator[tuple[int, str]]:
    """What a string takes if it is a script; its fields to fill in are read as zeros. Nothing where it is no Python."""
    try:
        yield from list(taken(re.sub(r"\{[^{}\n]*\}", "0", text)))
    except SyntaxError:
        return


def room_of_test(file: str) -> str:
    """The room that a file of the tests stands in: of the packages, or `WHOLE`, or `GROUND`; "" for a folder of neither."""
    folder = room_of(file)
    if folder == GROUND or f"{folder}/".startswith(f"{WHOLE}/"):
        return GROUND if folder == GROUND else WHOLE
    inside = folder.removeprefix(f"{TESTS}/")
    while inside and inside not in FLOORS:
        inside = room_of(inside)
    return inside


def height(file: str) -> int:
    """How high the room of a file of the packages or of the tests stands: the ground of the tests lowest, `WHOLE` highest."""
    room = room_of_test(file) if file.startswith(f"{TESTS}/") else room_of(file)
    return {GROUND: -1, WHOLE: len(FLOORS)}[room] if room in (GROUND, WHOLE) else FLOORS.index(room)


def arrows_of_tests() -> Iterator[Arrow]:
    """Everything that the files of the tests take, but for those in `WHOLE`."""
    for file in modules_of_tests().values():
        if room_of_test(file) != WHOLE:
            text = Path(ROOT, file).read_text(encoding="utf-8")
            yield from (Arrow(file, line, target) for line, target in taken(text))
