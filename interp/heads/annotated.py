"""A text with relations between its words, as a treebank has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from interp.errors import TaskError
from interp.whole_numbers import whole


@dataclass(frozen=True)
class Relation:
    """One relation of a text: its name, the place of the word that has it, and that of the word that it points to (a dependent and what
    it depends on)."""

    name: str
    word: int
    other: int


@dataclass(frozen=True)
class AnnotatedText:
    """Words, which stand with one space between them, and the relations between them. Raises: TaskError for a place that has no word."""

    words: tuple[str, ...]
    relations: tuple[Relation, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if len(self.words) < 2 or not all(isinstance(w, str) and w and not w.isspace() for w in self.words):
            raise TaskError(f"words {self.words!r:.80}: expected two or more, each a text that is not empty.")
        object.__setattr__(self, "relations", tuple(map(self._relation, self.relations)))

    def _relation(self, found: Any) -> Relation:
        given = found if isinstance(found, Relation) else _as_relation(found)
        if given.word == given.other or not all(0 <= i < len(self.words) for i in (given.word, given.other)):
            raise TaskError(
                f"relation {given.name!r:.40} from word {given.word} to {given.other}: expected two places of 0 to {len(self.words) - 1}."
            )
        return given

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(self.words)


def _as_relation(given: Any) -> Relation:
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise TaskError(f"relation {given!r:.60}: expected (name, word, other), for example ('det', 0, 1).")
    return Relation(str(given[0]), *(whole(i, "place of a word", TaskError) for i in given[1:]))


def annotated_texts(given: Any) -> tuple[AnnotatedText, ...]:
    """Annotated texts from values, (words, relations) or mappings with both, such as lines of JSON. Raises: TaskError for anything else."""
    found = tuple(map(_one, given)) if isinstance(given, Iterable) and not isinstance(given, (str, Mapping)) else ()
    if len(found) < 2:
        raise TaskError(
            f"{len(found)} annotated texts; expected two or more: one part chooses the heads, the other says how good they are."
        )
    return found


def _one(given: Any) -> AnnotatedText:
    if isinstance(given, AnnotatedText):
        return given
    if isinstance(given, Mapping) and {"words", "relations"} <= set(given):
        return AnnotatedText(given["words"], given["relations"])
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return AnnotatedText(*given)
    raise TaskError(
        f"annotated text {given!r:.80}: expected words and relations, interp.AnnotatedText(words, relations)."
    )
