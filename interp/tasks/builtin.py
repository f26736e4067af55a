"""Built-in tasks: seeded generators of prompt pairs, filtered to what the tokeniser writes as single tokens.

A fixed hash splits every task's combinations of words into `train` and `test`; the text the embedded model
is trained on uses `train` only. `all` takes both, for models trained on something else.
"""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from interp.errors import TaskError, unknown
from interp.registries import About, Registry
from interp.tasks import word_lists as w
from interp.tasks.lengths import length_of
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pieces import pair_of
from interp.tasks.years import EARLIEST, form, years
from interp.whole_numbers import whole

SPLITS = ("test", "train", "all")
#: Draws in a row that may bring nothing new before the supply counts as used up.
PATIENCE = 3000

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A pair before tokenising: pieces of text with their span names, and the combinations that decide its split."""

    clean: tuple[w.Piece, ...]
    corrupt: tuple[w.Piece, ...]
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    combinations: tuple[Combination, ...]


Draw = Callable[[random.Random], Draft]
Factory = Callable[..., Draw]


@dataclass(frozen=True)
class Generator:
    """A registered task: how to start drawing, one line on what it asks, and where it is from.

    `form`: what else there is to say of it with the words of a tokeniser, where it depends on these; else nothing.
    """

    name: str
    description: str
    start: Factory
    source: str = ""
    form: Callable[[w.Lexicon], str] | None = None

    @property
    def about(self) -> About:
        return About(self.description, source=self.source)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword options."""
        parameters = inspect.signature(self.start).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


TASKS: Final[Registry[Generator]] = Registry("task", "interp.generators", TaskError)


def generator(
    name: str, *, description: str, source: str = "", form: Callable[[w.Lexicon], str] | None = None
) -> Callable[[Factory], Factory]:
    """Register a function `(lexicon, *, options...) -> draw` as a task; `form`: see `Generator`."""

    def register(start: Factory) -> Factory:
        TASKS.add(Generator(name, description, start, source, form))
        return start

    return register


def names() -> list[str]:
    """Names of the registered tasks: the built-in ones, and those that came from elsewhere."""
    return list(TASKS)


def describe(name: str) -> Generator:
    """The registered task of this name. Raises: TaskError with the near names."""
    if not TASKS.has(name):
        raise TaskError(unknown("built-in task", name, TASKS.names()))
    return TASKS[name]


def form_of(name: str, tokenizer: Any) -> str:
    """What to say of the form that a task takes with this tokeniser, empty where there is nothing to say."""
    task = describe(name)
    return task.form(w.Lexicon(tokenizer, name)) if task.form else ""


def held_out(task: str, combination: Combination) -> bool:
    """True for the quarter of a task's combinations that the embedded model never saw."""
    digest = hashlib.sha256("|".join((task, *combination)).encode()).digest()
    return digest[0] % 4 == 0


def drafts(name: str, tokenizer: Any | None, *, seed: int, split: str, **options: Any) -> Iterator[Draft | None]:
    """Endless seeded drafts; None stands for a draw that the split does not hold."""
    task = describe(name)
    if split not in SPLITS:
        raise TaskError(unknown(f"split of task {name!r}", split, SPLITS))
    for option in options:
        if option not in task.options:
            raise TaskError(unknown(f"option of task {name!r}", option, task.options or ("none",)))
    draw = task.start(w.Lexicon(tokenizer, name), **options)
    rng = random.Random(f"{name}:{whole(seed, 'seed', TaskError)}")
    while True:
        draft = draw(rng)
        sides = {held_out(name, combination) for combination in draft.combinations}
        yield draft if split == "all" or sides == {split == "test"} else None


def build(
    name: str,
    tokenizer: Any,
    *,
    n: int = 100,
    seed: int = 0,
    split: str = "test",
    tokens: int | None = None,
    **options: Any,
) -> list[Pair]:
    """`n` distinct pairs of a task; the same seed gives the same pairs. tokens: those of so many tokens only."""
    if n < 1:
        raise TaskError(f"task {name!r}: n is {n}; at least 1 pair must be asked for")
    pairs = list(islice(distinct(name, tokenizer, seed=seed, split=split, tokens=tokens, **options), n))
    if len(pairs) < n:
        of_them = "" if tokens is None else f" of {tokens} tokens"
        raise TaskError(
            f"task {name!r}: {n} pairs{of_them} asked for, only {len(pairs)} distinct ones found in split {split!r} "
            f"with this tokenizer; ask for fewer, {'' if tokens is None else 'or for another length, '}or use split='all'"
        )
    return pairs


def distinct(
    name: str, tokenizer: Any, *, seed: int, split: str = "test", tokens: int | None = None, **options: Any
) -> Iterator[Pair]:
    """Pairs of a task, each once, until the draws bring nothing new."""
    seen: set[tuple[str, str]] = set()
    idle = 0
    for draft in drafts(name, tokenizer, seed=seed, split=split, **options):
        pair = None if draft is None else pair_of(draft.clean, draft.corrupt, draft.answers, draft.wrong, tokenizer)
        wanted = pair is not None and tokens in (None, length_of(pair, tokenizer))
        if pair is not None and wanted and (pair.clean, pair.corrupt) not in seen:
            seen.add((pair.clean, pair.corrupt))
            idle = 0
            yield pair
        elif (idle := idle + 1) > PATIENCE:
            return


@generator(
    "ioi",
    description="indirect object: the name that did not act receives the gift",
    source="Wang et al. 2022",
)
def ioi(lexicon: w.Lexicon, *, corrupt: str = "swap") -> Draw:
    """Corrupt: the other name acts (`swap`), or a third one does (`third`)."""
    if corrupt not in ("swap", "third"):
        raise TaskError(unknown("corrupt of task 'ioi'", corrupt, ("swap", "third")))
    people = lexicon.words("names", (*w.GIRLS, *w.BOYS), 4)
    places, gifts = lexicon.words("places", w.PLACES, 1), lexicon.words("gifts", w.GIFTS, 1)

    def draw(rng: random.Random) -> Draft:
        template = rng.choice(w.IOI_TEMPLATES)
        first, second = rng.choice((("{IO}", "{S1}"), ("{S1}", "{IO}")))
        template = template.replace("{A}", first).replace("{B}", second)
        receiver, giver, third = rng.sample(people, 3)
        values = {"IO": receiver, "S1": giver, "place": rng.choice(places), "gift": rng.choice(gifts)}
        actor = receiver if corrupt == "swap" else third
        clean, other = (w.fill(template, {**values, "S2": name}, ("IO", "S1", "S2")) for name in (giver, actor))
        combination = tuple(sorted((receiver, giver)))
        return Draft(clean, other, (w.spaced(receiver),), (w.spaced(giver),), (combination,))

    return draw


@generator(
    "greater-than",
    description="an event ends later in the century than it started",
    source="Hanna et al. 2023",
    form=form,
)
def greater_than(lexicon: w.Lexicon) -> Draw:
    """Corrupt: the start year ends in 01, so that every later ending is right. By endings or first digits, see `years`."""
    known = years(lexicon)
    events = lexicon.words("events", w.EVENTS, 1)

    def draw(rng: random.Random) -> Draft:
        template, event = rng.choice(w.YEAR_TEMPLATES), rng.choice(events)
        century, start = rng.choice(known.starts)
        values = {"event": event, "century": century, "last": century}
        marks = ("event", "start", "last")
        clean, corrupt = (w.fill(template, {**values, "start": ending}, marks) for ending in (start, EARLIEST))
        combinations = ((event, century, start), (event, century, EARLIEST))
        return Draft(clean, corrupt, known.later(start), known.rest(start), combinations)

    return draw


@generator("gender", description="a named girl or boy is taken up by she or he")
def gender(lexicon: w.Lexicon) -> Draw:
    """Corrupt: a name of the other gender."""
    girls, boys = lexicon.words("girls' names", w.GIRLS, 2), lexicon.words("boys' names", w.BOYS, 2)
    she, he = map(w.spaced, lexicon.words("pronouns", ("she", "he"), 2))
    jobs, gifts = lexicon.words("jobs", w.PEOPLE, 1), lexicon.words("gifts", w.GIFTS, 1)
    places = lexicon.words("places", w.PLACES, 1)

    def draw(rng: random.Random) -> Draft:
        template = rng.choice(w.GENDER_TEMPLATES)
        values = {"job": rng.choice(jobs), "place": rng.choice(places), "gift": rng.choice(gifts)}
        right, other, pronouns = rng.choice(((girls, boys, (she, he)), (boys, girls, (he, she))))
        people = (rng.choice(right), rng.choice(other))
        clean, corrupt = (w.fill(template, {**values, "name": name}, ("name",)) for name in people)
        return Draft(clean, corrupt, pronouns[:1], pronouns[1:], tuple((name, template) for name in people))

    return draw


@generator("sva", description="a verb agrees with its subject across another noun", source="Linzen et al. 2016")
def sva(lexicon: w.Lexicon, *, verb: str = "be") -> Draw:
    """Corrupt: the subject's number flips, the attractor stays. `verb`: be, past, have or do."""
    if verb not in w.VERBS:
        raise TaskError(unknown("verb of task 'sva'", verb, w.VERBS))
    forms = tuple(map(w.spaced, lexicon.words("verb forms", w.VERBS[verb], 2)))
    nouns = lexicon.keep("noun pairs", w.NOUNS, 4, lambda noun: map(w.spaced, noun))
    prepositions = lexicon.words("prepositions", w.PREPOSITIONS, 1)

    def draw(rng: random.Random) -> Draft:
        subject, attractor = rng.sample(nouns, 2)
        singular = rng.randrange(2)
        values = {"attractor": rng.choice(attractor), "preposition": rng.choice(prepositions)}
        # A noun is (singular, plural) and a verb (plural, singular), hence the opposite indices.
        template, marks = rng.choice(w.AGREEMENT_TEMPLATES), ("subject", "attractor")
        clean, corrupt = (w.fill(template, {**values, "subject": subject[i]}, marks) for i in (1 - singular, singular))
        return Draft(clean, corrupt, (forms[singular],), (forms[1 - singular],), ((subject[0], attractor[0]),))

    return draw


@generator("induction", description="a random sequence starts over somewhere; what followed before follows again")
def induction(lexicon: w.Lexicon, *, length: int = 8, copies: int = 1) -> Draw:
    """Corrupt: the answer trades places with another word of every earlier copy, so both are always in sight."""
    if length < 4 or copies < 1:
        raise TaskError(f"task 'induction': length is {length}, copies {copies}; at least 4 and 1 are needed")
    plain = lexicon.words("plain words", w.PLAIN, length)

    def draw(rng: random.Random) -> Draft:
        chosen = rng.sample(plain, length)
        start = rng.randrange(length - 2)
        # The rerun starts anywhere, else "the word seen longest ago" would give the answer away.
        answer = rng.randrange(start + 2, min(start + 5, length - (start == 0)))
        other = rng.choice(rng.choice([side for side in (range(start), range(answer + 1, length)) if side]))
        swapped = list(chosen)
        swapped[answer], swapped[other] = chosen[other], chosen[answer]
        clean, corrupt = (_sequence(order, copies, start, answer) for order in (chosen, swapped))
        combinations = (tuple(chosen), tuple(swapped))
        return Draft(clean, corrupt, (w.spaced(chosen[answer]),), (w.spaced(chosen[other]),), combinations)

    return draw


def _sequence(order: list[str], copies: int, start: int, answer: int) -> tuple[w.Piece, ...]:
    """The copies and the rerun up to the answer; `source` is the word of the last copy that the answer repeats."""
    pieces: list[w.Piece] = [(w.spaced(word), None) for word in (*order * copies, *order[start:answer])]
    pieces[len(order) * (copies - 1) + answer] = (w.spaced(order[answer]), "source")
    pieces[-1] = (pieces[-1][0], "last")
    return tuple(pieces)


@generator("capital", description="the capital of a country")
def capital(lexicon: w.Lexicon) -> Draw:
    """Corrupt: another country."""
    facts = lexicon.keep("countries with capitals", w.CAPITALS, 4, lambda fact: map(w.spaced, fact))

    def draw(rng: random.Random) -> Draft:
        template = rng.choice(w.CAPITAL_TEMPLATES)
        (country, city), (other, other_city) = rng.sample(facts, 2)
        clean, corrupt = (w.fill(template, {"country": name}, ("country",)) for name in (country, other))
        combinations = ((country, template), (other, template))
        return Draft(clean, corrupt, (w.spaced(city),), (w.spaced(other_city),), combinations)

    return draw
