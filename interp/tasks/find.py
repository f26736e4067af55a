"""A task by what the user has: a built-in name, a file, pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from interp.errors import TaskError, unknown
from interp.tasks.task import Task
from interp.tasks.task_files import load_task

MOST_PAIRS: Final = 10_000


def task(x: str | Path | Task, model: Any, *, n: int | None = None, seed: int = 0, **options: Any) -> Task:
    """The task `x`: a built-in name (`ioi`, `greater-than`, ...), generated for the model's tokeniser, or a task file.

    n: number of pairs (built-in: default 100; file: the first n, default all). seed, options: for built-in tasks.

    Raises: TaskError for an unknown name, listing the built-in ones, or an unusable file.
    """
    from interp.tasks import builtin

    found = stored(x, n)
    if found is not None:
        if options:
            raise TaskError(f"options {sorted(options)} belong to built-in tasks; {str(x)!r} is none.")
        return found
    if model.tokenizer is None:
        raise TaskError(
            f"built-in task {str(x)!r} needs a tokeniser to write prompts for: pass tokenizer=... to interp.load."
        )
    pairs = builtin.build(str(x), model.tokenizer, n=n or 100, seed=seed, **options)
    origin = builtin.TASKS.origins.get(str(x), "built-in")
    return Task(str(x), tuple(pairs), builtin.describe(str(x)).description, f"{origin}, seed {seed}")


def stored(x: str | Path | Task, n: int | None = None) -> Task | None:
    """The task `x` where it is had without a model, its first `n` pairs; None for the name of a built-in one.

    Raises: TaskError for an unknown name, an unusable file, or an `n` that the task cannot give.
    """
    from interp.tasks import builtin

    if n is not None and n < 1:
        raise TaskError(f"n={n}: expected one pair or more.")
    if isinstance(x, Task):
        return x.limit(n)
    if builtin.TASKS.has(str(x)):
        if n is not None and n > MOST_PAIRS:
            raise TaskError(f"n={n}: a built-in task gives at most {MOST_PAIRS} pairs.")
        return None
    if Path(x).suffix:
        return load_task(x).limit(n)
    raise TaskError(unknown("task", str(x), builtin.TASKS.names()) + " Or give a .json, .jsonl or .csv file.")
