"""Options as fields of frozen values: what is read off them, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from interp.errors import InterpError
from interp.option import keys_of, keywords, needed, option, options_of, plain, taken


@dataclass(frozen=True, kw_only=True)
class Shared:
    seed: int = option(0, "where randomness begins", least=0)


@dataclass(frozen=True, kw_only=True)
class Asked(Shared):
    place: Path = field(metadata=needed("where to read", argument=True))
    share: float | None = option(None, "how much")
    pair: tuple[str, str] | None = option(None, "two texts")
    n_random: int = option(3, "how many", typed="random")
    model: str = option("demo", "which model", file="model")
    out: Path | None = option(None, "where to write", file="any")
    task: str = option("ioi", "which task", file="task")
    inside: dict[str, int] | None = None


def test_options_are_the_fields_that_say_what_they_mean_by_what_is_typed() -> None:
    found = options_of(Asked)
    assert set(found) == {"seed", "place", "share", "pair", "random", "model", "out", "task"}
    assert (found["random"].field, found["random"].default, found["random"].kind) == ("n_random", 3, int)
    assert (found["share"].kind, found["pair"].kind, found["place"].kind) == (float, tuple, Path)
    assert found["place"].needed and not found["seed"].needed and found["seed"].help == "where randomness begins"
    assert set(found) - set(keys_of(Asked)) == {"place"}


def test_an_annotation_that_nobody_can_type_needs_a_kind() -> None:
    @dataclass(frozen=True)
    class Odd:
        sizes: dict[str, int] | None = option(None, "sizes")

    @dataclass(frozen=True)
    class Said:
        sizes: dict[str, int] | None = option(None, "sizes", kind=str)

    with pytest.raises(TypeError, match="option 'sizes' is"):
        options_of(Odd)
    assert options_of(Said)["sizes"].kind is str


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [("share", 1, 1.0), ("pair", ["a", "b"], ("a", "b")), ("seed", 0, 0), ("out", "x", "x")],
)
def test_a_value_of_a_file_is_taken(name: str, given: Any, expected: Any) -> None:
    found = options_of(Asked)[name].accept(given, "here")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("seed", True, "here: seed = True: expected a whole number"),
        ("seed", -1, "expected 0 or more"),
        ("share", "much", "expected a number"),
        ("pair", ["a"], "a list of two texts"),
        ("pair", ["a", 2], "a list of two texts"),
        ("model", 3, "expected text"),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, given: Any, said: str) -> None:
    with pytest.raises(InterpError, match=said):
        options_of(Asked)[name].accept(given, "here")


def test_which_values_name_files() -> None:
    found = options_of(Asked)
    files = {("out", "x"), ("out", "demo"), ("model", "folder"), ("task", "mine.json")}
    others = {("model", "demo"), ("model", "hf:a/b"), ("task", "ioi"), ("seed", 1), ("out", None)}
    assert all(found[name].is_file(value) for name, value in files)
    assert not any(found[name].is_file(value) for name, value in others)
    assert found["out"].whole("x") == str(Path("x").resolve()) and found["model"].whole("demo") == "demo"


def test_values_are_told_and_taken_over() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other(Shared):
        share: float | None = None
        size: int = 1

    asked = Asked(place=Path("p"), seed=5, share=0.5, inside={"a": 1})
    assert plain(asked)["random"] == 3 and "inside" not in plain(asked) and plain(asked)["seed"] == 5
    assert taken(Other, asked, size=2) == Other(seed=5, share=0.5, size=2)
    assert keywords(asked, Shared) == {"seed": 5}
    with pytest.raises(TypeError, match="siez"):
        taken(Other, asked, siez=2)
