"""A task by what the user has: a built-in name, a file, pairs; with prompts of one length where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from interp.errors import TaskError, unknown
from interp.given import kinds_checked
from interp.model.modules.calling import needed_inputs
from interp.parts.named_inputs import TEXT
from interp.tasks.lengths import COMMONEST, Length, check_length, commonest, length_of, of_length
from interp.tasks.pairs.pairs import Pair, as_text
from interp.tasks.pieces import WRAPPED, wrapped
from interp.tasks.reading.answers import Reading
from interp.tasks.task import Task
from interp.tasks.task_files import load_task
from interp.whole_numbers import count

MOST_PAIRS: Final = 10_000
PAIRS: Final = 100


@kinds_checked
def task(
    x: str | Path | Task,
    model: Any,
    *,
    n: int | None = None,
    seed: int = 0,
    length: Length = None,
    chat: bool = False,
    **options: Any,
) -> Task:
    """The task `x`: a built-in name (`ioi`, `greater-than`, ...), generated for the model's tokeniser, or a task file.

    n: number of pairs (built-in: default 100; file: the first n, default all). seed, options: for built-in tasks.
    length: only prompts of so many tokens, special ones too, or of the `commonest` number; `source` then says so. A number for a
    task with an option of this name (`induction`) is that option. chat: every prompt of text becomes one message of a user, by
    the tokeniser's chat template; answers have the space before them that the template writes there, most often none.

    Raises: TaskError for an unknown name, listing the built-in ones, an unusable file, a length that no prompt has, or chats for
    a tokeniser without a template.
    """
    length = check_length(length)
    found = stored(x, n, length)
    if found is not None:
        if options:
            raise TaskError(f"options {sorted(options)} belong to built-in tasks; {str(x)!r} is none.")
        kept = of_length(_chats(found, model.tokenizer, chat), model.tokenizer, length, whole=model.reads_whole)
        return kept.limit(n) if isinstance(length, int) else kept
    if model.tokenizer is None:
        raise TaskError(
            f"built-in task {str(x)!r} needs a tokeniser to write prompts for: pass tokenizer=... to interp.load."
        )
    if chat and isinstance(length, int):
        raise TaskError(
            f"length={length} with chat=True: a built-in task is made to its length before the chat template; use length='commonest', "
            "or a file."
        )
    if chat:
        asked = _asked(str(x), model.tokenizer, n or PAIRS, seed, options)
        return of_length(asked, model.tokenizer, length, whole=model.reads_whole)
    return _generated(str(x), model.tokenizer, n or PAIRS, seed, length, options)


def _asked(name: str, tokenizer: Any, n: int, seed: int, options: dict[str, Any]) -> Task:
    """A built-in task as chats: of its pairs those whose answers are one token each behind the template. Raises: TaskError."""
    from interp.tasks import builtin

    made = _generated(name, tokenizer, 1, seed, None, options)
    reading, found = Reading(tokenizer), list[Pair]()
    for pair in islice(builtin.distinct(name, tokenizer, seed=seed, **options), 1000 + 20 * n):
        chat = wrapped(pair, tokenizer, f"task {name!r}")
        texts = (*chat.answers, *chat.wrong)
        if all(reading.behind(prompt, text).id is not None for prompt in (chat.clean, chat.corrupt) for text in texts):
            found.append(chat)
        if len(found) == n:
            return replace(made, pairs=tuple(found), source=f"{made.source}, {WRAPPED}")
    raise TaskError(
        f"task {name!r}: {n} chats asked for, only {len(found)} found whose answers are one token behind the chat template; ask for "
        "fewer, or give a file and metric 'log_prob', which takes an answer of several tokens."
    )


def _chats(found: Task, tokenizer: Any, chat: bool) -> Task:
    """The task with the texts of its chats; with `chat` every pair is one. Raises: TaskError."""
    if not chat and all(pair.messages is None for pair in found.pairs):
        return found
    change = wrapped if chat else as_text
    pairs = tuple(change(pair, tokenizer, found.where(i)) for i, pair in enumerate(found.pairs))
    said = WRAPPED if chat and any(pair.messages is None for pair in found.pairs) else "as chats"
    return replace(found, pairs=pairs, source=f"{found.source}, {said}" if found.source else said)


def _generated(name: str, tokenizer: Any, n: int, seed: int, length: Length, options: dict[str, Any]) -> Task:
    """A built-in task, its source with what was done for this tokeniser and this length."""
    from interp.tasks import builtin

    known = builtin.describe(name)
    if isinstance(length, int) and "length" in known.options:
        options, length = options | {"length": length}, None
    pairs = builtin.build(name, tokenizer, n=n, seed=seed, tokens=None if length == COMMONEST else length, **options)
    said = f", {length} tokens each" if isinstance(length, int) else ""
    if length == COMMONEST:
        pairs, said = _commonest(pairs, name, tokenizer, seed, options)
    form = builtin.form_of(name, tokenizer)
    source = f"{builtin.TASKS.origins.get(name, 'built-in')}, seed {seed}{', ' * bool(form)}{form}{said}"
    return Task(name, tuple(pairs), f"{known.description}{'; ' * bool(form)}{form}", source)


def _commonest(
    pairs: list[Pair], name: str, tokenizer: Any, seed: int, options: dict[str, Any]
) -> tuple[list[Pair], str]:
    """As many pairs of the commonest length of these, or all that there are; and what to say of it where lengths differ."""
    from interp.tasks import builtin

    lengths = [length_of(pair, tokenizer) for pair in pairs]
    if len(set(lengths)) == 1:
        return pairs, ""
    most = commonest(lengths)
    more = builtin.distinct(name, tokenizer, seed=seed, tokens=most, **options)
    return list(islice(more, len(pairs))), f", {most} tokens each, its commonest length"


def alike(
    x: str | Path | Task, model: Any, *, n: int | None = None, seed: int = 0, chat: bool = False
) -> tuple[Task, str]:
    """The task with prompts of one length, the commonest, for positions that are scored each; and what to say of that,
    nothing where all have one length anyway. Of a built-in task so many pairs are made; of others the pairs are kept that have it. The
    prompts of a model that reads images or sound are files, whose lengths are known when they are read."""
    if needed_inputs(model.hf)[0] != TEXT:
        return task(x, model, n=n, seed=seed, chat=chat), ""
    found, kept = (task(x, model, n=n, seed=seed, length=length, chat=chat) for length in (None, COMMONEST))
    if kept.pairs == found.pairs:
        return found, ""
    tokens = length_of(kept.pairs[0], model.tokenizer)
    made = stored(x, n) is None and not chat
    said = f"{len(kept)} {'are made' if made else f'of {len(found)} are taken, the others left out'}"
    return kept, (
        f"positions 'each' need prompts of one length; the commonest of task {found.name!r} is {tokens} tokens: "
        f"{said} (length asks for another)"
    )


def stored(x: str | Path | Task, n: int | None = None, length: Length = None) -> Task | None:
    """The task `x` where it is had without a model, its first `n` pairs; None for the name of a built-in one.

    Where a number of tokens is asked for, all pairs: which of them have it is known with a model only.
    Raises: TaskError for an unknown name, an unusable file, or an `n` that the task cannot give.
    """
    from interp.tasks import builtin

    if n is not None:
        count(n, "n", TaskError, expected="one pair or more")
    first = None if isinstance(check_length(length), int) else n
    if isinstance(x, Task):
        return x.limit(first)
    if builtin.TASKS.has(str(x)):
        if n is not None and n > MOST_PAIRS:
            raise TaskError(f"n={n}: a built-in task gives at most {MOST_PAIRS} pairs.")
        return None
    if Path(x).suffix:
        return load_task(x).limit(first)
    raise TaskError(unknown("task", str(x), builtin.TASKS.names()) + " Or give a .json, .jsonl or .csv file.")
