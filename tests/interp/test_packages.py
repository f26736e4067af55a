"""A registry holds each name once, and takes from installed packages what it is asked for, with every fault named."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interp.registries import loaded, offered
from tests.interp.installed import beside, install
from tests.interp.things import GROUP, THINGS, Thing, ThingError

GLASS = """
from tests.interp.things import THINGS, Thing, ThingError

def melt(heat: int, *, slowly: bool = False) -> int:
    '''Melts.'''
    if heat < 0:
        raise ThingError("heat is negative; give more.")
    return (lambda more: 1 / more) if slowly else 1 // heat

THINGS.add(Thing("glass", melt))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with beside(tmp_path, THINGS):
        yield tmp_path


def test_a_name_is_added_once_and_a_misspelt_one_is_answered_with_the_near_ones() -> None:
    with pytest.raises(ThingError, match=r"thing 'wood' is registered twice"):
        THINGS.add(Thing("wood"))
    with pytest.raises(ThingError, match=r"unknown thing 'stome'\. Did you mean stone\? Valid: stone, wood\."):
        THINGS["stome"]
    assert list(THINGS) == ["stone", "wood"] and THINGS.get("stome") is None


def test_what_completes_a_thing_takes_its_place(folder: Path) -> None:
    whole = Thing("wood", len)
    THINGS.add(whole, over=THINGS["wood"])
    assert THINGS["wood"] is whole and list(THINGS) == ["stone", "wood"]
    with pytest.raises(ThingError, match="twice"):
        THINGS.add(whole, over=THINGS["stone"])


def test_a_package_is_loaded_when_its_name_is_asked_for_and_not_before(folder: Path) -> None:
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, GLASS, "2.1")
    assert "glass" not in THINGS and THINGS.has("glass") and not THINGS.has("iron")
    assert THINGS.names() == ["stone", "wood", "glass"] and [str(o) for o in offered(GROUP)] == ["glassworks 2.1"]
    with pytest.raises(ThingError, match="Did you mean glass"):
        THINGS["glas"]
    assert "glassworks" not in sys.modules and loaded() == {}
    assert THINGS["glass"].name == "glass" and THINGS["glass"] is THINGS["glass"]
    assert "glassworks" in sys.modules and loaded() == {"thing glass": "glassworks 2.1"}
    assert THINGS.origins == {"glass": "glassworks 2.1"}


def test_a_function_of_a_package_is_as_it_was_and_its_faults_name_the_package(folder: Path) -> None:
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, GLASS)
    melt, own = THINGS["glass"].function, sys.modules["glassworks"].melt  # type: ignore[attr-defined]
    assert melt is not None and melt is not own and melt(1) == 1 and THINGS["glass"].kind is int
    assert inspect.signature(melt) == inspect.signature(own) and melt.__doc__ == "Melts."
    said = r"thing 'glass' of package glassworks 1\.0 failed: ZeroDivisionError: .*The fault is in glassworks"
    for fails in (lambda: melt(0), lambda: melt(1, slowly=True)(0)):
        with pytest.raises(ThingError, match=said) as raised:
            fails()
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(ThingError, match=r"^heat is negative; give more\.$"):
        melt(-1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        (GLASS + "raise KeyError('no')", "cannot be loaded: KeyError: 'no'"),
        ("import not_there", "cannot be loaded: ModuleNotFoundError: No module named 'not_there'"),
        ("", "offers thing 'glass' in group 'interp_tests.things', but 'glassworks' does not register it"),
        (
            GLASS.replace('Thing("glass"', 'Thing("wood"'),
            "cannot be loaded: ThingError: thing 'wood' is registered twice",
        ),
    ],
)
def test_a_package_that_does_not_deliver_is_named_and_leaves_nothing(folder: Path, text: str, said: str) -> None:
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, text)
    with pytest.raises(ThingError) as raised:
        THINGS["glass"]
    assert said in str(raised.value) and "glassworks 1.0" in str(raised.value)
    assert "Repair or uninstall glassworks" in str(raised.value)
    assert list(THINGS) == ["stone", "wood"] and loaded() == {} and THINGS.origins == {}


def test_a_built_in_name_is_never_taken_from_a_package(folder: Path) -> None:
    own = THINGS["wood"]
    install(folder, "forest", {GROUP: {"wood": "forest"}}, "1 / 0")
    assert THINGS["wood"] is own and "forest" not in sys.modules


def test_a_name_that_two_packages_offer_is_refused_and_both_are_named(folder: Path) -> None:
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, GLASS)
    install(
        folder, "bottles", {GROUP: {"glass": "bottles", "bottle": "bottles"}}, GLASS + "THINGS.add(Thing('bottle'))"
    )
    for name in ("glass", "bottle"):
        with pytest.raises(ThingError, match=r"'glass' is offered by bottles 1\.0 and by glassworks 1\.0"):
            THINGS[name]
    assert list(THINGS) == ["stone", "wood"]


def test_one_module_may_bring_several_names_and_packages_may_need_each_other(folder: Path) -> None:
    both = GLASS + "THINGS.add(Thing('bottle'))"
    install(folder, "glassworks", {GROUP: {"glass": "glassworks", "bottle": "glassworks"}}, both)
    needs = "from tests.interp.things import THINGS, Thing\nTHINGS.add(Thing('window', THINGS['glass'].function))"
    install(folder, "windows", {GROUP: {"window": "windows"}}, needs)
    assert THINGS["window"].function is not None
    own = dict.fromkeys(("thing glass", "thing bottle"), "glassworks 1.0")
    assert loaded() == {**own, "thing window": "windows 1.0"}


# ---------------------------------------------------------------- whose a name is

HEAD = "from tests.interp.things import THINGS, Thing, ThingError\n"
ADD = HEAD + "THINGS.add(Thing({!r}, lambda x: 1 / x))\n"


def test_a_package_is_named_however_it_came_in(folder: Path) -> None:
    """Imported by a program, or by another package; and for names beside those that it offers."""
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, ADD.format("glass") + ADD.format("splinter"))
    install(folder, "windows", {GROUP: {"window": "windows"}}, "import glassworks\n" + ADD.format("window"))
    assert THINGS["window"].function is not None
    own = dict.fromkeys(("thing glass", "thing splinter"), "glassworks 1.0")
    assert loaded() == {**own, "thing window": "windows 1.0"}
    for name in ("glass", "splinter"):
        with pytest.raises(ThingError, match=rf"thing '{name}' of package glassworks 1\.0 failed: ZeroDivisionError"):
            THINGS[name].function(0)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["window", "wood"])
def test_nobody_takes_a_name_that_another_has(name: str, folder: Path) -> None:
    """Neither one that another package offers nor a built-in one, which it might say to complete."""
    install(folder, "windows", {GROUP: {"window": "windows"}}, ADD.format("window"))
    takes = f"THINGS.add(Thing({name!r}, len), over=THINGS.get({name!r}))"
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, ADD.format("glass") + takes)
    before = dict(THINGS)
    said = {"window": r"'window' is offered by windows 1\.0; give yours another name", "wood": "registered twice"}
    with pytest.raises(ThingError, match=said[name]):
        THINGS["glass"]
    assert dict(THINGS) == before and loaded() == {}
    with pytest.raises(ThingError, match=r"offered by windows 1\.0"):
        THINGS.add(Thing("window"))


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ("raise RuntimeError('the cause')", ThingError),
        ("raise SystemExit('the cause')", ThingError),
        ("raise KeyboardInterrupt('the cause')", KeyboardInterrupt),
    ],
)
def test_a_load_that_fails_leaves_nothing_and_fails_the_same_again(
    last: str, error: type[BaseException], folder: Path
) -> None:
    text = ADD.format("helper") + ADD.format("glass") + last
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, text)
    for _ in range(2):
        with pytest.raises(error, match="the cause"):
            THINGS["glass"]
        assert list(THINGS) == ["stone", "wood"] and loaded() == {}


def test_a_full_memory_is_nobodys_fault(folder: Path) -> None:
    text = HEAD + "def full(x):\n    raise MemoryError('no more')\nTHINGS.add(Thing('glass', full))"
    install(folder, "glassworks", {GROUP: {"glass": "glassworks"}}, text)
    with pytest.raises(MemoryError, match="no more"):
        THINGS["glass"].function(1)  # type: ignore[misc]


def test_what_a_program_registers_is_its_own(folder: Path) -> None:
    THINGS.add(Thing("paper", len))
    assert THINGS["paper"].function is len and loaded() == {}
    with pytest.raises(ThingError, match=r"unknown thing \['paper'\]"):
        THINGS[["paper"]]  # type: ignore[index]
