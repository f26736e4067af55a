"""The house holds: imports run one way, rooms are small, a file's name says one thing, and values do not know their pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.house import (
    DISPLAYS,
    FLOORS,
    MOST_FILES,
    ROOT,
    SAME_ROLE,
    Arrow,
    arrows,
    files,
    floor_of,
    imports,
    modules,
    room_of,
)


def test_no_import_runs_back() -> None:
    found = arrows()
    assert len(found) > 1000
    up = [str(arrow) for arrow in found if floor_of(arrow.rooms[1]) > floor_of(arrow.rooms[0])]
    assert not up, "imports from a room above:\n" + "\n".join(up)


@pytest.mark.parametrize(
    "text",
    [
        "from circuits.report.pages import render",
        "import circuits.report.pages",
        "from circuits.report import pages",
        "def f():\n    from circuits.report.pages import render",
        "if TYPE_CHECKING:\n    from circuits.report.pages import render",
        "import_module('circuits.report.pages')",
        "named = 'circuits.report.pages.render'",
        "entry = 'circuits.report.pages:render'",
    ],
)
def test_an_import_that_runs_back_is_seen_wherever_it_stands(text: str) -> None:
    (found,) = imports(text)
    arrow = Arrow("circuits/circuit/circuit.py", *found)
    assert arrow.rooms == ("circuits/circuit", "circuits/report") and floor_of(arrow.rooms[1]) > floor_of(
        arrow.rooms[0]
    )
    assert str(arrow).startswith(f"circuits/circuit/circuit.py:{found[0]}: circuits/circuit imports circuits/report")


def test_no_file_imports_itself_around() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for arrow in arrows():
        graph[arrow.file] |= {arrow.target} - {arrow.file}
    with_no_way_back = TopologicalSorter(graph)
    with_no_way_back.prepare()  # raises CycleError, which names the files
    assert with_no_way_back.is_active()


def test_the_table_names_every_room_and_no_other() -> None:
    assert {room_of(file) for file in files()} == set(FLOORS) and len(set(FLOORS)) == len(FLOORS)


def test_no_room_has_more_files_than_a_reader_can_take_in() -> None:
    sizes = Counter(map(room_of, files()))
    assert not {room: n for room, n in sizes.items() if n > MOST_FILES}, "a room with more files has a second question"


def test_a_file_name_says_one_thing() -> None:
    rooms = defaultdict(list)
    for file in files():
        rooms[Path(file).name].append(room_of(file))
    assert not {name: where for name, where in rooms.items() if len(where) > 1 and name not in SAME_ROLE}


def test_nobody_imports_the_display_rooms() -> None:
    inside = [str(a) for a in arrows() if a.rooms[1] in DISPLAYS and a.rooms[0] not in DISPLAYS]
    assert not inside, "\n".join(inside)


def test_importing_the_package_is_light() -> None:
    code = "import sys, interp; print(sorted({'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_public_can_be_reached() -> None:
    import interp

    missing = []
    for name in interp.__all__:
        try:
            getattr(interp, name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert missing == []
    with pytest.raises(AttributeError, match="No interp attribute nothing"):
        interp.nothing  # noqa: B018
    import circuits

    for package in (interp, circuits):
        assert {*package.__all__, "__name__"} <= set(dir(package)) and dir(package) == sorted(set(dir(package)))


WITHOUT_DISPLAY = """
import importlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import circuits, interp
assert Path(interp.__file__).is_relative_to(sys.argv[1]) and Path(circuits.__file__).is_relative_to(sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
model = interp.load("demo")
task = interp.task("ioi", model, n=4)
scores = interp.attribute(model, task, method="relp", level="blocks")
circuit = circuits.discover(scores, n=3)
found = circuits.evaluate(model, task, circuit, scores=scores, n_random=2)
folder = Path(sys.argv[1])
scores.save(folder / "scores.parquet"), circuit.save(folder / "circuit.json"), found.save(folder / "evaluation.json")
assert (interp.Scores.load(folder / "scores.parquet").mean == scores.mean).all()
assert circuits.Circuit.load(folder / "circuit.json") == circuit
assert circuits.Evaluation.load(folder / "evaluation.json") == found
assert circuits.render(circuits.Record({}, (scores,), circuit=circuit, evaluation=found)).startswith("<!DOCTYPE html>")
try:
    scores._repr_html_()
except ModuleNotFoundError:
    sys.stdout.write("all but the pictures")
"""


def test_without_the_display_rooms_everything_else_works(tmp_path: Path) -> None:
    for package in ("interp", "circuits"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "display"))
    names = [name for name, file in modules().items() if room_of(file) not in DISPLAYS and "__main__" not in name]
    command = [sys.executable, "-c", WITHOUT_DISPLAY, str(tmp_path), *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all but the pictures"), done.stderr
