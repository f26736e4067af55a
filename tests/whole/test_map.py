"""The map is true: every room says its question, names its files and how to add to it; the page of the house names files that are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.house import FACADES, FLOORS, ROOT, arrows, files, room_of

ROOMS = [room for room in FLOORS if f"{room}/__init__.py" not in FACADES]
PAGE = ROOT / "docs" / "house.md"
DRAWING = ROOT / "docs" / "house.svg"
SVG = "{http://www.w3.org/2000/svg}"


def docstring(file: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_its_question_its_files_and_how_to_add_to_it(room: str) -> None:
    said = docstring(f"{room}/__init__.py")
    question, reading, *adding = said.split("\n\n")
    assert 5 <= len(said.splitlines()) <= 15
    assert question.endswith("?") and "\n" not in question
    own = {Path(file).stem for file in files() if room_of(file) == room} - {"__init__"}
    named = re.findall(r"`(\w+)`", reading)
    assert sorted(named) == sorted(own), "the second paragraph names every file of the room once, and nothing else"
    assert adding and re.match(r"(To \w+|Nothing is|Methods are)", adding[0])


@pytest.mark.parametrize("file", FACADES)
def test_a_facade_says_where_to_begin_reading(file: str) -> None:
    said = docstring(file)
    assert "Where to begin reading" in said and "docs/house.md" in said
    assert not [path for path in re.findall(r"`((?:interp|circuits)/[\w/.]+)`", said) if not (ROOT / path).is_file()]


def written() -> list[tuple[str, str]]:
    """Every page that names files of the packages, and every file of theirs, with its comments and docstrings."""
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    sources = [ROOT / file for file in files()]
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in (*pages, *sources)]


def test_every_path_that_is_named_exists() -> None:
    """Of files and folders in both packages, tests and docs, wherever they are named: in pages and in sources."""
    broken = [
        f"{where}: {path}"
        for where, text in written()
        for path in re.findall(r"`((?:interp|circuits|tests|docs)/[\w/.-]*)`", text)
        if not (ROOT / path).exists()
    ]
    assert not broken, "\n".join(broken)


#: Names in pages that are no modules of ours: a file of options, and places to be filled in.
NO_MODULES = ("circuits.toml", "interp.NAME", "circuits.NAME", "interp.X", "circuits.X")


def test_every_module_that_is_named_exists() -> None:
    """Dotted names of our packages: a public name, a module, or what stands in one."""
    public = {name for package in ("interp", "circuits") for name in names_of(package)}
    broken = [
        f"{where}: {name}"
        for where, text in written()
        for name in re.findall(r"`((?:interp|circuits)(?:\.\w+)+)", text)
        if ".".join(name.split(".")[:2]) not in public and name not in NO_MODULES and not defined(name)
    ]
    assert not broken, "\n".join(broken)


def names_of(package: str) -> list[str]:
    """The public names of a package, as its stub has them."""
    stub = (ROOT / package / "__init__.pyi").read_text(encoding="utf-8")
    return [f"{package}.{name}" for name in ["__version__", *re.findall(r" as (\w+)$", stub, re.MULTILINE)]]


def defined(name: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:i])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if i > 1 and file.is_file():
                return i == len(parts) or bool(re.search(rf"\b{parts[i]}\b", file.read_text(encoding="utf-8")))
    return ROOT.joinpath(*parts).is_dir()


#: "`NAME` of `file`", "`NAME` there", or a path alone.
_NAMED = re.compile(r"`(\w+)` (?:(?:of|in) `([^`]+)`|there)|`([\w.]+/[\w/.]*)`")


def test_what_is_added_is_registered_where_the_map_says() -> None:
    """Of each row of its table: what is named stands in the file that is named with it, `there` being the file named before."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("## To add something") : text.index("## The drawing")]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][2:]
    named = {re.sub(r"[][]|\(.*\)", "", row[0]).strip() for row in rows}
    assert {"an ablation", "a site", "a section of the report", "a command"} <= named
    for what, *cells in rows:
        file = ""
        for name, of, path in _NAMED.findall(" ".join(cells)):
            # A bare file name stands beside the file named before; `there` is that file itself.
            file = path or (of if "/" in of else f"{room_of(file)}/{of}" if of else file)
            if name:
                assert re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8")), f"{what}: {name} in {file}"


# ---------------------------------------------------------------- the drawing


def test_the_drawing_has_every_room_and_says_what_it_is() -> None:
    root = ElementTree.fromstring(DRAWING.read_text(encoding="utf-8"))
    assert root.find(f"{SVG}title") is not None and root.find(f"{SVG}desc") is not None
    said = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert {text.split(": ")[0] for text in said if text.split(": ")[0] in FLOORS} == set(FLOORS)
    assert all(element.tag != f"{SVG}script" for element in root.iter())
    assert not re.search(r"href|url\(|@import|\bon\w+=", DRAWING.read_text(encoding="utf-8"))


def test_no_two_boxes_share_a_place_and_no_arrow_points_up() -> None:
    root = ElementTree.fromstring(DRAWING.read_text(encoding="utf-8"))
    boxes = [e for e in root.iter(f"{SVG}rect") if (e.get("class") or "").startswith("box")]
    places = {(float(e.get("x") or 0), float(e.get("y") or 0)) for e in boxes}
    assert len(places) == len(boxes) == len(FLOORS)
    ways = [e.get("d") or "" for e in root.iter(f"{SVG}path") if e.get("class") == "way"]
    for way in ways:
        heights = [float(y) for y in re.findall(r"(?:M\S+ |V|C\S+ \S+ \S+ \S+ \S+ )([\d.]+)", way)]
        assert len(heights) > 1 and heights == sorted(heights)


def test_its_arrows_are_imports_and_imply_all_others() -> None:
    text = DRAWING.read_text(encoding="utf-8")
    drawn = {(a, b): int(n) for a, b, n in re.findall(r"<title>(\S+) imports (\S+): (\d+)</title>", text)}
    real = [arrow.rooms for arrow in arrows() if len(set(arrow.rooms)) == 2]
    assert all(real.count(pair) == n for pair, n in drawn.items())
    reached: dict[str, set[str]] = {}
    for room in FLOORS:
        below = {b for a, b in drawn if a == room}
        reached[room] = below.union(*(reached[b] for b in below))
    assert all(b in reached[a] for a, b in real)


def test_the_same_code_gives_the_same_drawing() -> None:
    """In two processes with other seeds of hashes: nothing hangs on the order of a set."""
    code = "import sys; sys.path[:0] = ['docs', '.']; import house_drawing; sys.stdout.write(house_drawing.drawing())"
    made = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1] == DRAWING.read_text(encoding="utf-8")
