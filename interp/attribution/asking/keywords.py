"""How a value of options becomes the keywords of a function of a model and a task, with a signature that names them all."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from interp.errors import unknown
from interp.given import checker
from interp.tasks.task import Task
from interp.whole_numbers import is_whole, whole

P = ParamSpec("P")
Value = TypeVar("Value")
Found = TypeVar("Found", covariant=True)


class OnTask(Protocol[P, Found]):
    """A function of a model, a task and options by keyword."""

    def __call__(self, model: Any, task: Task | str | Path, *args: P.args, **options: P.kwargs) -> Found: ...


def takes(
    options: Callable[P, Value], called: str | None = None
) -> Callable[[Callable[[Any, Any, Value], Found]], OnTask[P, Found]]:
    """Let a function of (model, task, value) be called with the fields of a frozen value of options as keywords.

    Its signature then names them all, those that are needed first. called: the function that users know, where it is another one.
    Raises: TypeError for an option that does not exist or is missing.
    """
    own = inspect.get_annotations(options)
    given = sorted(fields(options), key=lambda f: (f.default is not MISSING, f.name not in own))  # type: ignore[arg-type]
    names = [f.name for f in given]

    def register(function: Callable[[Any, Any, Value], Found]) -> OnTask[P, Found]:
        written, name = inspect.signature(function), called or function.__name__
        check_kinds = checker(function, called=name)
        model_and_task = list(written.parameters.values())[:2]
        signature = written.replace(parameters=[*model_and_task, *map(_keyword, given)])

        @functools.wraps(function)
        def call(model: Any, task: Task | str | Path, *args: P.args, **kwargs: P.kwargs) -> Found:
            check_kinds((model, task), {})
            if odd := [option for option in kwargs if option not in names]:
                raise TypeError(f"{name}(): {unknown('option', odd[0], names)}")
            try:
                signature.bind(model, task, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{name}(): {error}.") from None
            whole_ones: dict[str, Any] = {
                option: whole(value, option) if is_whole(value) else value for option, value in kwargs.items()
            }
            return function(model, task, options(*args, **whole_ones))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        call.__annotations__["return"] = signature.return_annotation
        return call

    return register


def _keyword(option: Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.type)
