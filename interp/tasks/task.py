"""A task: prompt pairs that differ in one fact, and the answers that tell the two apart.

Axis words: `batch pos`. A pair's clean and corrupt prompts always have the same number of tokens;
different pairs of one task may differ in length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.formatting.showing import card
from interp.parts.named_inputs import Example, Inputs, stacked
from interp.parts.outputs import AtMask, Classes, NextToken, Outputs
from interp.parts.text_pairs import check_segments
from interp.parts.texts import encode, token_text
from interp.tasks.halves import halved, same_pairs
from interp.tasks.reading.answers import SEVERAL, Reading
from interp.tasks.reading.chats import Messages, messages_of, rendered
from interp.tasks.reading.readings import reading_of
from interp.whole_numbers import is_whole, whole

Spans = Mapping[str, tuple[int, int]]
#: What is run: token ids, or an example of inputs that are no text.
Prompt = tuple[int, ...] | Example


def ids_of(prompt: Prompt) -> tuple[int, ...]:
    """The token ids of a prompt. Raises: TaskError for an image or a sound."""
    if isinstance(prompt, Example):
        raise TaskError(
            f"a prompt is {prompt.main or 'an image or a sound'}; expected text, which alone has token ids."
        )
    return prompt


def run_of(prompts: Sequence[Prompt]) -> Tensor | Inputs:
    """Prompts of one length as what one run takes: ids [batch pos], or inputs."""
    examples = [prompt for prompt in prompts if isinstance(prompt, Example)]
    return stacked(examples) if examples else torch.tensor([ids_of(prompt) for prompt in prompts])


@dataclass(frozen=True, repr=False)
class TokenPair:
    """A pair as what is run, token ids or examples of other inputs, checked: equal lengths, answers of one token each, no answer both right and wrong.

    `spans` names token ranges `(start, end)` that mean the same in every pair (for example `subject`), counted with
    the BOS token. `forced`: of an answer of several tokens, how many stand at the end of both prompts as what is run, all
    but the last, which is in `answers`; such a pair has no wrong tokens.
    """

    clean: Prompt
    corrupt: Prompt
    answers: tuple[int, ...]
    wrong: tuple[int, ...] = ()
    spans: Spans = field(default_factory=dict, hash=False)
    forced: int = 0

    def __post_init__(self) -> None:
        for name in ("clean", "corrupt", "answers", "wrong"):
            if isinstance(getattr(self, name), Example):
                continue
            object.__setattr__(self, name, _ids(getattr(self, name), f"token ids {name}"))
        if self.forced:
            self._check_forced()

    def _check_forced(self) -> None:
        """Raises: TaskError where the prompts do not end with one beginning of one answer."""
        n = whole(self.forced, "forced", TaskError)
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            raise TaskError(f"forced={n}: expected token ids.")
        if not 0 < n < min(len(self.clean), len(self.corrupt)) or self.clean[-n:] != self.corrupt[-n:]:
            raise TaskError(f"forced={n}: expected both prompts to end with the same {n} tokens, behind others.")
        if len(self.answers) != 1 or self.wrong:
            raise TaskError(f"forced={n}: expected one answer, its last token, and no wrong ones.")

    @property
    def length(self) -> int:
        """Number of tokens that are run of either prompt."""
        return len(self.clean)

    @property
    def longest(self) -> int:
        """Positions of the longest stream that a model makes of either prompt."""
        return self.clean.longest if isinstance(self.clean, Example) else len(self.clean)

    def of_stack(self, name: str) -> TokenPair:
        """The same with the lengths that its prompts have in the stream of a stack."""
        if (
            not isinstance(self.clean, Example)
            or not isinstance(self.corrupt, Example)
            or name not in self.clean.lengths
        ):
            return self
        clean, corrupt = (replace(side, length=side.lengths[name]) for side in (self.clean, self.corrupt))
        return replace(self, clean=clean, corrupt=corrupt)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes that pairs have alike which are run together."""
        return self.clean.shape if isinstance(self.clean, Example) else (len(self.clean),)

    @property
    def prompts(self) -> tuple[Prompt, Prompt]:
        """Clean and corrupt without what they have of the answer."""
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            return self.clean, self.corrupt
        return self.clean[: len(self.clean) - self.forced], self.corrupt[: len(self.corrupt) - self.forced]

    @property
    def continuation(self) -> tuple[int, ...]:
        """All tokens of an answer of several; nothing where answers are one token each."""
        return (*ids_of(self.clean)[-self.forced :], *self.answers) if self.forced else ()

    def __repr__(self) -> str:
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            return f"TokenPair({self.clean}, {self.corrupt}, answers {_few(self.answers)}, wrong {_few(self.wrong)})"
        n = min(self.length, len(self.corrupt))
        apart = [i for i in range(n) if self.clean[i] != self.corrupt[i]]
        return f"TokenPair({self.length} tokens, differ at {_few(apart)}, answers {_few(self.answers)}, wrong {_few(self.wrong)})"


@dataclass(frozen=True, repr=False)
class Pair:
    """Two prompts and their answers, as text.

    `answers` are right after `clean` and `wrong` are right after `corrupt`; each must be one token of the model's
    tokeniser, written with its leading space where the token has one, or one answer of several for metrics that take it. `ids`: the same as token ids, where the source
    gives them; they are then what is run, and the text is for reading. `answer_ids`, `wrong_ids`: answers as ids where
    the prompts are text only. `messages`: clean and corrupt as chats, which are run as the tokeniser's template writes them; the
    texts are then for reading. `inputs`: clean and corrupt as examples of inputs that are no text (`interp.InputPair`), or files of them, of which the texts are names. `decoder`: of a model with an encoder, which reads clean and corrupt, what its decoder has been given already, of both (by default nothing
    but its start); answers are what follows that. `second`: the second text of clean and of corrupt (one for both), of a model that reads two, such as premise and hypothesis. Without `wrong` only metrics of the answers alone can be taken. `where`: how messages name it, for example `gifts.jsonl line 2`.
    """

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    spans: Spans = field(default_factory=dict, hash=False)
    ids: TokenPair | None = None
    answer_ids: tuple[int, ...] = ()
    wrong_ids: tuple[int, ...] = ()
    where: str = field(default="", compare=False, repr=False)
    messages: tuple[Messages, ...] | None = None
    inputs: tuple[Example | Path, Example | Path] | None = None
    decoder: tuple[str, str] | None = None
    second: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("clean", "corrupt"):
            if not isinstance(text := getattr(self, name), str):
                raise TaskError(f"Pair: {name} is {text!r:.80}; expected text." + _NO_CORRUPT * (text is None))
        for name in ("answers", "wrong"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        for name in ("answer_ids", "wrong_ids"):
            object.__setattr__(self, name, _ids(getattr(self, name), f"Pair: {name}"))
        for name in ("decoder", "second"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _two_texts(given, name))
        if self.second is not None and (self.ids or self.messages or self.inputs or self.decoder):
            raise TaskError("Pair: second belongs to two texts; given with ids, messages, inputs or decoder.")
        if self.messages is not None:
            object.__setattr__(self, "messages", _both(self.messages))

    @property
    def has_wrong(self) -> bool:
        """Whether it says what is wrong."""
        return bool(self.ids.wrong if self.ids else self.wrong or self.wrong_ids)

    def __repr__(self) -> str:
        right, wrong = _few(self.answers or self.answer_ids), _few(self.wrong or self.wrong_ids)
        return f"Pair({self.clean!r} -> {right} / {self.corrupt!r} -> {wrong})"


def as_text(pair: Pair, tokenizer: Any, where: str) -> Pair:
    """A pair of chats with the template's text in place of its messages; others as they are. Raises: TaskError."""
    if pair.messages is None:
        return pair
    clean, corrupt = (rendered(tokenizer, messages, where) for messages in pair.messages)
    return replace(pair, clean=clean, corrupt=corrupt, messages=None)


def _two_texts(given: Any, what: str) -> tuple[str, str]:
    """A text for clean and one for corrupt, or one for both. Raises: TaskError for anything else."""
    found = (given, given) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else ()
    if len(found) != 2 or not all(isinstance(text, str) for text in found):
        raise TaskError(f"Pair: {what} is {given!r:.80}; expected a text, or two for clean and corrupt.")
    return found[0], found[1]


def _both(given: Any) -> tuple[Messages, ...]:
    """Clean and corrupt as chats. Raises: TaskError for anything else."""
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise TaskError(f"Pair: messages is {given!r:.80}; expected two chats, the clean and the corrupt one.")
    return tuple(messages_of(chat, f"Pair: {name} of messages") for chat, name in zip(given, _PROMPTS, strict=True))


_PROMPTS: Final = ("clean", "corrupt")
#: What to do without a corrupt prompt.
_NO_CORRUPT = " Where no other run is needed, as for zero and mean ablation, give the clean prompt again."


def _ids(given: Any, what: str) -> tuple[int, ...]:
    """Token ids as ints, from a sequence, an array or a tensor of them, or from one. Raises: TaskError for other values."""
    if is_whole(given):
        given = (given,)
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, (list, tuple)):
        raise TaskError(f"{what}: {given!r:.80}; expected whole numbers.")
    return tuple(i if type(i) is int else whole(i, what, TaskError) for i in values)


def _few(values: Sequence[Any], most: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return (", ".join(map(repr, values[:most])) or "none") + more


@dataclass(frozen=True, repr=False)
class Task:
    """A named set of pairs. `source`: where they came from (a file, or a generator with its options)."""

    name: str
    pairs: tuple[Pair, ...]
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise TaskError(f"task {self.name!r} has no pairs; expected at least one.")

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        first = self.pairs[0]
        return f"Task({self.name!r}, {len(self)} pairs, first: {first.clean!r} / {first.corrupt!r} -> {(first.answers or first.answer_ids)[:3]})"

    def _repr_html_(self) -> str:
        return str(card(self))

    def limit(self, n: int | None) -> Task:
        """The first `n` pairs. Raises: TaskError where there are fewer."""
        if n is not None and not 1 <= whole(n, "limit", TaskError) <= len(self.pairs):
            raise TaskError(
                f"limit={n}: task {self.name!r} has {len(self.pairs)} pairs; expected 1 to {len(self.pairs)}. "
                "Of a built-in task ask for as many as you want: interp.task(name, model, n=...)."
            )
        return self if n is None else replace(self, pairs=self.pairs[:n])

    def split(
        self, seed: int = 0, fraction: float = 0.5, *, tokens: Sequence[TokenPair] | None = None
    ) -> tuple[Task, Task]:
        """Two disjoint halves, shuffled with `seed`: one to score on, one to evaluate on. Messages name pairs as before.

        Pairs of the same prompts are in the same half. `tokens`: the pairs as `tokenize` gives them; prompts of the same
        token ids are then the same, however they are written. Raises: TaskError for fewer than two different pairs.
        """
        first, second = self.split_places(seed, fraction, tokens=tokens)
        return self.at(first), self.at(second)

    def split_places(
        self, seed: int = 0, fraction: float = 0.5, *, tokens: Sequence[TokenPair] | None = None
    ) -> tuple[list[int], list[int]]:
        """The indices of the pairs in either half of `split`."""
        keys = _prompts(self.pairs if tokens is None else tokens)
        if len(self.pairs) < 2:
            raise TaskError(f"task {self.name!r} has one pair; two or more are needed to hold some out for evaluation.")
        if len(set(keys)) < 2:
            raise TaskError(
                f"task {self.name!r} has {len(keys)} pairs of the same prompts; two different ones or more are needed to hold "
                "some out for evaluation."
            )
        return halved(keys, whole(seed, "seed"), fraction)

    def at(self, places: Sequence[int]) -> Task:
        """The pairs at these indices, which messages name as before."""
        return replace(self, pairs=tuple(replace(self.pairs[i], where=self.where(i)) for i in places))

    def repeats(self, tokens: Sequence[TokenPair] | None = None) -> list[tuple[str, str]]:
        """For every pair that has the prompts of an earlier one, how messages name it and the first such. `tokens`: as in `split`."""
        groups = same_pairs(_prompts(self.pairs if tokens is None else tokens))
        found = sorted((later, group[0]) for group in groups for later in group[1:])
        return [(self.where(later), self.where(first)) for later, first in found]

    def named(self) -> Task:
        """The same pairs, each with the name that messages have for it now: for a task of some of them."""
        return replace(self, pairs=tuple(replace(p, where=self.where(i)) for i, p in enumerate(self.pairs)))

    def where(self, i: int) -> str:
        """How messages name the pair at index `i`."""
        return self.pairs[i].where or f"{self.name} pair {i + 1} of {len(self.pairs)}"

    def tokenize(self, tokenizer: Any, outputs: int | Outputs, *, several: bool = False) -> list[TokenPair]:
        """Every pair as checked token ids. outputs: what the model's outputs are called (`model.outputs`): so many next tokens, tokens
        at a mask, or classes, which answers then are. `several`: an answer may be several tokens, whose beginning is then put behind both
        prompts (`TokenPair.forced`). Raises: TaskError naming the line of its file, or its place in the task."""
        outputs = NextToken(outputs) if isinstance(outputs, int) else outputs
        reading = reading_of(tokenizer, outputs)
        found = [_token_pair(pair, reading, outputs, self.where(i), several) for i, pair in enumerate(self.pairs)]
        reading.warn()
        return found


def _prompts(pairs: Sequence[Pair] | Sequence[TokenPair]) -> list[tuple[Any, ...]]:
    """What each pair asks, without its answers: the prompts as token ids where they are known, else as text."""
    known = (pair.ids or pair if isinstance(pair, Pair) else pair for pair in pairs)
    return [pair.prompts if isinstance(pair, TokenPair) else (pair.clean, pair.corrupt, pair.second) for pair in known]


def _token_pair(pair: Pair, reading: Reading, outputs: Outputs, row: str, several: bool) -> TokenPair:
    """The token ids of one pair. Raises: TaskError, with `row` in it, where a rule of `TokenPair` is broken."""
    ids = pair.ids or _read(as_text(pair, reading.tokenizer, row), reading, row, several)
    if ids.forced and not several:
        raise TaskError(f"{row}: the answer is {ids.forced + 1} tokens; expected one. {SEVERAL}")
    tokenizer = reading.tokenizer
    _check_prompts(pair, ids, tokenizer, row)
    _check_read(ids, outputs, row)
    for name, found in (("clean", ids.clean), ("corrupt", ids.corrupt), ("answer", ids.answers), ("wrong", ids.wrong)):
        if not found and name != "wrong":
            raise TaskError(f"{row}: {name!r} is empty; expected at least one token.")
        _check_range(name, found, outputs, row)
    what = "class" if isinstance(outputs, Classes) else "token"
    shown = partial(_shown_outputs, outputs=outputs, tokenizer=tokenizer)
    for name, found in (("answer", ids.answers), ("wrong", ids.wrong)):
        if len(set(found)) < len(found):
            raise TaskError(f"{row}: {name!r} names a {what} twice: {shown(found)}.")
    if both := set(ids.answers) & set(ids.wrong):
        raise TaskError(f"{row}: {what.removeprefix('a ')} {shown(sorted(both))} is both an answer and wrong.")
    for name, span in ids.spans.items():
        if not (isinstance(span, (tuple, list)) and len(span) == 2 and all(map(is_whole, span))):
            raise TaskError(f"{row}: span {name!r} is {span!r:.80}; expected (start, end), two whole numbers.")
        start, end = span
        if not 0 <= start < end <= ids.length - ids.forced:
            length = ids.length - ids.forced
            raise TaskError(f"{row}: span {name!r} is [{start}, {end}), outside the prompt of {length} tokens.")
    _check_tokeniser(pair, ids, tokenizer, row, 0 if isinstance(outputs, NextToken) else 2)
    return ids


def _check_read(ids: TokenPair, outputs: Outputs, row: str) -> None:
    """Raises: TaskError where the answer of a model that continues nothing would be read at the wrong place."""
    if ids.forced and not isinstance(outputs, NextToken):
        raise TaskError(
            f"{row}: the answer is {ids.forced + 1} tokens behind the prompts; this model continues none, so expected one answer."
        )
    if not isinstance(outputs, AtMask):
        return
    places = [[i for i, token in enumerate(ids_of(side)) if token == outputs.mask] for side in (ids.clean, ids.corrupt)]
    if [len(found) for found in places] != [1, 1] or places[0] != places[1]:
        raise TaskError(
            f"{row}: masks (token {outputs.mask}) at {places[0]} of the clean prompt and at {places[1]} of the corrupt one; expected one in each, "
            "at the same place, where the answer stands."
        )


def _check_range(name: str, found: Sequence[int] | Example, outputs: Outputs, row: str) -> None:
    """Raises: TaskError for a token or a class that the model does not have. The tokens of prompts are checked where they are run."""
    if isinstance(found, Example):
        return
    classes = isinstance(outputs, Classes)
    outside = [i for i in found if not 0 <= i < outputs.n]
    if outside and classes and name in ("answer", "wrong"):
        raise TaskError(f"{row}: {name!r} has class {outside[0]}; this model has classes 0 to {outputs.n - 1}.")
    if outside and not classes:
        raise TaskError(
            f"{row}: {name!r} has token id {outside[0]}, but the model's vocabulary is 0 to {outputs.n - 1}."
        )


def _read(pair: Pair, reading: Reading, row: str, several: bool) -> TokenPair:
    """The ids of a pair of texts, as they are tokenised together, or its inputs as a model takes them."""
    prompts = reading.before(pair)
    clean, corrupt = _sides(pair, reading, row)
    if several:
        answers = [] if pair.answer_ids else [reading.tokens(prompts, text, row, "answer") for text in pair.answers]
        if any(len(tokens) > 1 for tokens in answers):
            return _continued(pair, TokenPair(clean, corrupt, (), (), pair.spans), answers, row)
        wrong = [] if pair.wrong_ids else [reading.tokens(prompts, text, row, "wrong") for text in pair.wrong]
        if any(len(tokens) > 1 for tokens in wrong):  # what takes several tokens reads no wrong ones
            return TokenPair(clean, corrupt, pair.answer_ids or tuple(t for (t,) in answers), (), pair.spans)
    return TokenPair(
        clean,
        corrupt,
        pair.answer_ids or tuple(reading.answer(prompts, answer, row, "answer") for answer in pair.answers),
        pair.wrong_ids or tuple(reading.answer(prompts, answer, row, "wrong") for answer in pair.wrong),
        pair.spans,
    )


def _sides(pair: Pair, reading: Reading, row: str) -> tuple[Prompt, Prompt]:
    """Clean and corrupt as what is run. Raises: TaskError for inputs that are no text where the model takes text."""
    if pair.inputs is not None and not reading.of_inputs:
        raise TaskError(f"{row}: its inputs are no text, which this model takes; give interp.Pair(...) with two texts.")
    given: tuple[Any, Any] = pair.inputs or (pair.clean, pair.corrupt)
    if reading.decodes:
        before = reading.before(pair)
        given = (given[0], before[0]), (given[1], before[1])
    elif pair.decoder is not None:
        raise TaskError(
            f"{row}: it says what a decoder has been given, and this model has none behind an encoder; leave that out."
        )
    if pair.second is not None:
        if not reading.of_segments or pair.inputs is not None:
            raise TaskError(
                f"{row}: it has a second text, and this model answers no question about two: expected one with classes. Write both as one text."
            )
        given = (given[0], pair.second[0]), (given[1], pair.second[1])
    return reading.prompt(given[0], row, "clean"), reading.prompt(given[1], row, "corrupt")


def _continued(pair: Pair, prompts: TokenPair, answers: Sequence[tuple[int, ...]], row: str) -> TokenPair:
    """The pair with all tokens of its answer but the last behind both prompts. Raises: TaskError for more than one answer."""
    if len(answers) > 1:
        n = next(len(tokens) for tokens in answers if len(tokens) > 1)
        raise TaskError(
            f"{row}: 'answer' has {len(answers)} answers, one of them of {n} tokens; expected one answer where it is several tokens, "
            "for those of a set would each need a run of their own."
        )
    if both := set(pair.answers) & set(pair.wrong):
        raise TaskError(f"{row}: {both.pop()!r} is both an answer and wrong.")
    *forced, last = answers[0]
    clean, corrupt = ((*ids_of(side), *forced) for side in (prompts.clean, prompts.corrupt))
    return TokenPair(clean, corrupt, (last,), (), pair.spans, len(forced))


def _check_prompts(pair: Pair, ids: TokenPair, tokenizer: Any, row: str) -> None:
    """Two prompts of as many tokens, which are others where their texts are."""
    clean, corrupt = ids.prompts
    if isinstance(clean, Example) or isinstance(corrupt, Example):
        _check_examples(pair, clean, corrupt, row)
    elif len(clean) != len(corrupt):
        raise TaskError(
            f"{row}: clean has {len(clean)} tokens and corrupt {len(corrupt)}; patching needs equal lengths. "
            f"clean: {show(clean, tokenizer)} corrupt: {show(corrupt, tokenizer)}"
        )
    elif clean == corrupt and pair.clean != pair.corrupt:
        raise TaskError(
            f"{row}: 'clean' and 'corrupt' are other texts and the same tokens {show(clean, tokenizer)}: to this tokeniser "
            "they do not differ; there is nothing to patch."
        )


def _check_examples(pair: Pair, clean: Prompt, corrupt: Prompt, row: str) -> None:
    """Two inputs of one shape, which are others where their names are."""
    shapes = [
        {name: list(x.shape) for name, x in side.tensors.items()}
        for side in (clean, corrupt)
        if isinstance(side, Example)
    ]
    if pair.second is not None and isinstance(clean, Example) and isinstance(corrupt, Example):
        check_segments(clean, corrupt, row)
    if len(shapes) < 2 or shapes[0] != shapes[1]:
        raise TaskError(f"{row}: clean is {clean} and corrupt {corrupt}; patching needs inputs of one shape.")
    if clean == corrupt and (pair.clean != pair.corrupt or len({*(pair.second or ())}) > 1):
        raise TaskError(
            f"{row}: 'clean' {pair.clean!r} and 'corrupt' {pair.corrupt!r} are the same numbers; there is nothing to patch."
        )


def _check_tokeniser(pair: Pair, ids: TokenPair, tokenizer: Any, row: str, behind: int) -> None:
    """Ids that come with their text must be this tokeniser's, give or take the special tokens at the start, and so many behind it."""
    if isinstance(ids.clean, Example):
        return
    clean, corrupt = map(ids_of, ids.prompts)
    for name, text, found in (("clean", pair.clean, clean), ("corrupt", pair.corrupt, corrupt)):
        if pair.ids is None or tokenizer is None or not text:
            continue
        plain = encode(tokenizer, text, special=False)
        ends = next((n for n in range(1 + behind) if list(found[: len(found) - n][-len(plain) :]) == plain), None)
        if ends is None or len(found) > len(plain) + 2:
            raise TaskError(
                f"{row}: the token ids of {name!r} are not this tokeniser's for its text: {show(found, tokenizer)} "
                f"given, {show(plain, tokenizer)} expected. The file belongs to another model."
            )


def digest(pairs: Sequence[TokenPair]) -> tuple[str, ...]:
    """A short hash of the token ids of every pair, by which scores know which pairs they come from."""
    rows = (repr((p.clean, p.corrupt, p.answers, p.wrong, *([p.forced] * (p.forced > 0)))).encode() for p in pairs)
    return tuple(hashlib.sha256(row).hexdigest()[:16] for row in rows)


def _shown_outputs(ids: Sequence[int], outputs: Outputs, tokenizer: Any) -> str:
    return str([outputs.names[i] for i in ids]) if isinstance(outputs, Classes) else show(ids, tokenizer)


def show(ids: Sequence[int], tokenizer: Any) -> str:
    """Token ids with their text, for messages."""
    if tokenizer is None:
        return str(list(ids))
    return str([token_text(tokenizer, i) for i in ids])
