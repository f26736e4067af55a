"""Signatures for the site of functions whose keywords are the fields of a value: the site reads sources, which name the value only."""

from __future__ import annotations

import inspect
from typing import Any

import griffe

#: The decorator of such functions, and kinds of parameters as griffe calls them.
DECORATOR = "takes"
KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


class Signatures(griffe.Extension):
    """Puts the parameters that a decorated function has when it is imported in the place of those of its source."""

    def on_function_instance(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Called for every function that is read."""
        if not any(decorator.callable_path.endswith(f".{DECORATOR}") for decorator in func.decorators):
            return
        found = inspect.signature(griffe.dynamic_import(func.path)).parameters.values()
        func.parameters = griffe.Parameters(
            *(
                griffe.Parameter(
                    p.name,
                    annotation=str(p.annotation),
                    kind=KINDS[p.kind],
                    default=None if p.default is inspect.Parameter.empty else repr(p.default),
                )
                for p in found
            )
        )
