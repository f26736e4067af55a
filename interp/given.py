"""What users give a public function, against what it says that it takes: a value of another kind is refused in a line."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from interp.errors import InterpError

F = TypeVar("F", bound=Callable[..., Any])

#: The kinds of values that functions take, by the name of their class, and how a user comes by one.
KINDS: Final = {
    "HookedModel": "interp.load(...)",
    "Task": "interp.task(...)",
    "Scores": "interp.attribute(...)",
    "Dictionary": "interp.load_dictionary(...)",
}
#: Kinds that need no word, and values that are none.
_PLAIN: Final = ("str", "Path", "None")
#: What is no model that was loaded: a name, a folder, a live module.
_NO_MODEL: Final = ("str", "Path", "None", "Module")
_SEVERAL: Final = re.compile(r"Sequence\[(\w+)\]")


class GivenError(InterpError, TypeError):
    """A value of another kind than a function takes."""


def checking(kinds: Mapping[str, str]) -> Callable[[F], F]:
    """A decorator that checks values of these kinds, by the name of their class, wherever the signature asks for one.

    `Task | str | Path` and `Sequence[Scores]` are checked as they stand, and `model` as a `HookedModel`; all else is left to the function.
    Raises, at the call: GivenError.
    """

    def register(function: F) -> F:
        check = checker(function, kinds)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            check(args, options)
            return function(*args, **options)

        return call  # type: ignore[return-value]

    return register


kinds_checked: Final = checking(KINDS)


def checker(
    function: Callable[..., Any], kinds: Mapping[str, str] = KINDS, called: str | None = None
) -> Callable[[Sequence[Any], Mapping[str, Any]], None]:
    """The check of the arguments of a call alone; called: the function, where users know it by another name. Raises, at the call: GivenError."""
    parameters = inspect.signature(function).parameters
    order, called = list(parameters), called or function.__name__
    asked = {name: found for name, one in parameters.items() if (found := _asked(one, kinds))}

    def check(args: Sequence[Any], options: Mapping[str, Any]) -> None:
        for name, value in (*zip(order, args, strict=False), *options.items()):
            if name in asked:
                _check(f"{called}(): {name}", value, asked[name], kinds)

    return check


def _asked(one: inspect.Parameter, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the classes that a parameter takes, `[]` behind that of several; empty for one that is not checked."""
    annotation = "HookedModel" if one.name == "model" and one.annotation == "Any" else str(one.annotation)
    if (several := _SEVERAL.fullmatch(annotation)) is not None:
        return (f"{several[1]}[]",) if several[1] in kinds else ()
    names = tuple(annotation.split(" | "))
    return names if any(n in kinds for n in names) and all(n in kinds or n in _PLAIN for n in names) else ()


def _check(where: str, value: Any, asked: tuple[str, ...], kinds: Mapping[str, str]) -> None:
    own = tuple(name.removesuffix("[]") for name in asked)
    several = own != asked
    if own == ("HookedModel",):  # some functions need its tokeniser alone, so what may be one is let through
        wrong = [value] if _is(value, (*_NO_MODEL, *kinds)) and not _is(value, own) else []
    else:
        wrong = _wrong_of_several(value, own, kinds) if several else [] if _is(value, own) else [value]
    if wrong:
        expected = f"{'a list of ' if several else ''}{' or '.join(own)}"
        made = " or ".join(kinds[name] for name in own if name in kinds)
        raise GivenError(f"{where}: given {type(wrong[0]).__name__}, expected {expected}. Make it with {made}.")


def _wrong_of_several(value: Any, own: tuple[str, ...], kinds: Mapping[str, str]) -> list[Any]:
    """The value, where it is one of a kind and not several; else those of a list that are of another kind."""
    if isinstance(value, list | tuple):
        return [one for one in value if not _is(one, own)]
    return [value] if _is(value, ("str", *kinds)) or not hasattr(value, "__iter__") else []


def _is(value: Any, names: tuple[str, ...]) -> bool:
    """Whether a value is of one of the classes, or of a class made from one; `None` stands for itself."""
    return any(kind.__name__ in names for kind in type(value).__mro__) or (value is None and "None" in names)
