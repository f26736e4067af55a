"""Word lists, sentence templates and the tokeniser filter of the built-in tasks.

Templates name their slots in braces; a slot's word takes the space before it, so ` Mary` is one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from string import Formatter
from typing import Any, TypeVar

from interp.errors import TaskError
from interp.parts.texts import unknown_id

T = TypeVar("T")
#: Text and, where it is a named span, the span's name.
Piece = tuple[str, str | None]
#: A text that words stand behind as they do inside a sentence.
BREAK = "\n"


def listed(text: str) -> tuple[str, ...]:
    """The words of a line."""
    return tuple(text.split())


GIRLS = listed(
    "Mary Alice Emma Anna Sarah Laura Kate Jane Lisa Julia Lucy Rachel Amy Maria Helen Grace Rose Claire Linda Susan "
    "Diana Emily Karen Nancy"
)
BOYS = listed(
    "John Tom James Paul Mark David Peter Simon Daniel Michael Robert Jack Henry George Adam Kevin Brian Frank Steve "
    "Eric Martin Thomas William Charles"
)

PEOPLE = listed(
    "doctor teacher farmer driver writer singer lawyer artist actor guard student manager uncle author pilot soldier "
    "friend player"
)
THINGS_THAT_ARE = listed("dog cat horse bird car truck tree house boat table chair picture wall")
NOUNS = tuple((noun, noun + "s") for noun in (*PEOPLE, *THINGS_THAT_ARE))

PLACES = listed("store park school office garden station market library beach river church hospital museum hotel farm")
GIFTS = listed("drink book key ring ball letter card gift bag phone map cup coat hat box pen lamp clock ticket")
EVENTS = listed(
    "war project strike plan program campaign conflict battle study crisis dispute survey journey mission tour "
    "contract experiment construction investigation partnership"
)

CAPITALS = (
    ("France", "Paris"), ("Germany", "Berlin"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"),
    ("China", "Beijing"), ("Russia", "Moscow"), ("Egypt", "Cairo"), ("Poland", "Warsaw"), ("Greece", "Athens"),
    ("Iran", "Tehran"), ("Iraq", "Baghdad"), ("Cuba", "Havana"), ("Turkey", "Ankara"), ("Austria", "Vienna"),
    ("Norway", "Oslo"), ("Sweden", "Stockholm"), ("Ireland", "Dublin"), ("England", "London"),
    ("Portugal", "Lisbon"), ("Canada", "Ottawa"), ("Australia", "Canberra"), ("Peru", "Lima"),
    ("Syria", "Damascus"), ("Denmark", "Copenhagen"), ("Hungary", "Budapest"), ("Belgium", "Brussels"),
    ("Thailand", "Bangkok"), ("Kenya", "Nairobi"), ("Lebanon", "Beirut"), ("Libya", "Tripoli"),
    ("Afghanistan", "Kabul"), ("Taiwan", "Taipei"), ("Scotland", "Edinburgh"), ("Romania", "Bucharest"),
    ("Ukraine", "Kiev"),
)  # fmt: skip

CENTURIES = tuple(str(century) for century in range(11, 19))
ENDINGS = tuple(f"{ending:02d}" for ending in range(100))
DIGITS = tuple("0123456789")

#: A verb's plural form first, then its singular one.
VERBS = {"be": ("are", "is"), "past": ("were", "was"), "have": ("have", "has"), "do": ("do", "does")}
PREPOSITIONS = listed("behind near beside above with")

IOI_TEMPLATES = (
    "When {A} and {B} went to the {place}, {S2} gave a {gift} to",
    "Then {A} and {B} went to the {place}, and {S2} gave a {gift} to",
    "After {A} and {B} had lunch at the {place}, {S2} sent a {gift} to",
    "While {A} and {B} were at the {place}, {S2} handed a {gift} to",
    "Yesterday {A} and {B} met near the {place}, and {S2} showed a {gift} to",
    "Last week {A} and {B} had a long talk at the {place}. Then {S2} offered a {gift} to",
)
YEAR_TEMPLATES = (
    "The {event} lasted from the year {century}{start} to the year {last}",
    "The {event} began in the year {century}{start} and ended in the year {last}",
    "The {event} went on from the year {century}{start} until the year {last}",
)
GENDER_TEMPLATES = (
    "So {name} is a very good {job}, isn't",
    "My friend {name} lives near the {place}, and every morning",
    "Yesterday {name} went to the {place} because",
    "The {job} is called {name}. Last night",
    "This is {name}, the new {job}. In the evening",
    "Everyone likes {name} the {job} because",
    "When {name} came home from the {place},",
    "Last week {name} bought a {gift} because",
)
AGREEMENT_TEMPLATES = (
    "The {subject} {preposition} the {attractor}",
    "I think that the {subject} {preposition} the {attractor}",
    "Today the {subject} {preposition} the {attractor}",
)
CAPITAL_TEMPLATES = (
    "The capital of {country} is",
    "The capital city of {country} is called",
    "People who visit {country} often stay in its capital,",
    "The government of {country} meets in",
    "The embassy in {country} is in the city of",
    "In {country}, the capital is",
    "We went to {country} and saw the capital city of",
    "As you know, {country} has its capital in",
    "On the map of {country} the capital is named",
    "Every student knows that the capital of {country} is",
)

#: Words of the random sequences; no names, so that a name task and this one share no answers.
PLAIN = tuple(dict.fromkeys((*(single for single, _ in NOUNS), *PLACES, *GIFTS, *EVENTS)))


def spaced(word: str) -> str:
    """The word as it stands inside a sentence."""
    return " " + word


def fill(template: str, values: dict[str, str], marks: tuple[str, ...]) -> tuple[Piece, ...]:
    """The template's pieces; a slot takes the space before it, slots named in `marks` become spans."""
    pieces: list[Piece] = []
    for literal, slot, _, _ in Formatter().parse(template):
        text = literal.rstrip(" ") if slot else literal
        if text:
            pieces.append((text, None))
        if slot:
            pieces.append((literal[len(text) :] + values[slot], slot if slot in marks else None))
    return tuple(pieces)


class Lexicon:
    """Tells which words are one token of a tokeniser; without a tokeniser every word is taken."""

    def __init__(self, tokenizer: Any | None, task: str) -> None:
        self.tokenizer = tokenizer
        self._unknown = unknown_id(tokenizer)
        self.task = task

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of the text as it stands inside a sentence, without special tokens."""
        lead, count = self._lead
        return self._alone(lead + text)[count:]

    @cached_property
    def _lead(self) -> tuple[str, int]:
        """What must stand before a text, and its tokens: nothing, but where the tokeniser puts a space before every text
        (as Llama 2's does), so that `4` behind `17` is another token than `4` alone."""
        before, alone = self._alone(BREAK), self._alone("a")
        behind, count = self._alone(BREAK + "a"), len(before)
        return (BREAK, count) if behind[:count] == before and behind[count:] != alone else ("", 0)

    def _alone(self, text: str) -> tuple[int, ...]:
        """Token ids of the text as a whole text."""
        if self.tokenizer is None:
            return ()
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def whole(self, *pieces: str) -> bool:
        """True if every piece is exactly one token of the vocabulary, also when the pieces stand one after another."""
        if self.tokenizer is None:
            return True
        apart = [self.ids(piece) for piece in pieces]
        known = all(len(ids) == 1 and ids[0] != self._unknown for ids in apart)
        return known and (len(pieces) == 1 or self.apart(*pieces))

    def apart(self, *pieces: str) -> bool:
        """True if the pieces keep their tokens when they stand one after another."""
        return self.ids("".join(pieces)) == tuple(number for piece in pieces for number in self.ids(piece))

    def keep(self, what: str, entries: Iterable[T], least: int, pieces: Callable[[T], Iterable[str]]) -> tuple[T, ...]:
        """The entries all of whose pieces are one token each; TaskError if fewer than `least` remain."""
        given = tuple(entries)
        kept = tuple(entry for entry in given if all(self.whole(piece) for piece in pieces(entry)))
        if len(kept) < least:
            raise TaskError(
                f"task {self.task!r}: {len(kept)} of {len(given)} {what} are one token each with this tokenizer "
                f"({', '.join(map(str, kept)) or 'none'}), at least {least} are needed; "
                "use a tokenizer with whole-word tokens such as GPT-2's, or choose another task"
            )
        return kept

    def words(self, what: str, entries: Iterable[str], least: int) -> tuple[str, ...]:
        """`keep` for plain words, each read with the space before it."""
        return self.keep(what, entries, least, lambda word: (spaced(word),))
