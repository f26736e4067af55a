"""The tests stand in the rooms of the packages, and a test of a room takes only from that room and from rooms below it."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.house import MOST_FILES, ROOT, room_of
from tests.reach import GROUND, arrows_of_tests, height, modules_of_tests, room_of_test, taken

FILES = tuple(modules_of_tests().values())


def test_tests_of_a_room_take_from_it_and_from_below() -> None:
    found = list(arrows_of_tests())
    assert len(found) > 2000
    up = [f"{a.file}:{a.line}: takes {a.target}" for a in found if height(a.target) > height(a.file)]
    assert not up, "taken from a room above:\n" + "\n".join(up)


@pytest.mark.parametrize(
    "text",
    [
        "from circuits.report.pages import render",
        "import circuits.report.pages",
        "import circuits\ncircuits.render(1)",
        "import circuits as c\nc.render(1)",
        "from circuits import render",
        "def f():\n    from circuits.report.pages import render",
        "monkeypatch.setattr('circuits.report.pages.render', None)",
        "RUN = 'import sys, circuits; circuits.render(sys.argv)'",
        "RUN = '''\nsys.path.insert(0, {root!r})\nfrom circuits.report.pages import render\n'''",
    ],
)
def test_what_a_test_takes_is_seen_however_it_is_named(text: str) -> None:
    assert {file for _, file in taken(text)} == {"circuits/report/pages.py"}


def test_what_takes_nothing_is_no_arrow() -> None:
    text = "import interp\ninterp.__version__\n'circuits.toml'\n'from circuits of heads'\nself.interp.load"
    assert list(taken(text)) == []
    assert [file for _, file in taken("run([python, '-m', 'circuits'])")] == ["circuits/__main__.py"]
    assert [file for _, file in taken("from tests.house import ROOT")] == ["tests/house.py"]


@pytest.mark.parametrize(
    ("file", "room"),
    [
        ("tests/interp/model/test_x.py", "interp/model"),
        ("tests/interp/attribution/level_edges/test_x.py", "interp/attribution"),
        ("tests/whole/pages/test_x.py", "tests/whole"),
        ("tests/conftest.py", GROUND),
        ("tests/elsewhere/test_x.py", ""),
    ],
)
def test_the_room_of_a_file(file: str, room: str) -> None:
    assert room_of_test(file) == room


def test_every_test_stands_in_a_room() -> None:
    homeless = [file for file in FILES if not room_of_test(file)]
    flat = [file for file in FILES if room_of_test(file) == GROUND and Path(file).name.startswith("test_")]
    assert not homeless and not flat


def test_no_folder_of_tests_has_more_files_than_a_reader_can_take_in() -> None:
    sizes = Counter(room_of(file) for file in FILES if Path(file).name.startswith("test_"))
    assert not {folder: n for folder, n in sizes.items() if n > MOST_FILES}


def test_every_folder_of_tests_is_a_package_without_words() -> None:
    folders = {room_of(file) for file in FILES}
    assert {Path(ROOT, folder, "__init__.py").read_text(encoding="utf-8") for folder in folders} == {""}


def test_no_test_imports_relatively() -> None:
    for file in FILES:
        tree = ast.parse(Path(ROOT, file).read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], file
