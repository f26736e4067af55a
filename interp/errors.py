"""The errors of the toolkit. Each message says what was given, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final


class InterpError(Exception):
    """Base of every error that a wrong input can cause; the command line turns it into one line and exit code 2."""


class SiteError(InterpError):
    """A site that does not exist, or that this model does not have."""


class LayoutError(InterpError):
    """A model whose modules cannot be mapped, or whose blocks do not compute what the map says."""


class UnsupportedRuleError(InterpError):
    """A rule set that speaks of a module it has no rule for."""


class EditError(InterpError):
    """An edit that changes shape, dtype or device, or that cannot be made on this model."""


class TaskError(InterpError):
    """A task file or generator whose pairs cannot be used."""


class MetricError(InterpError):
    """A metric that has no meaning for the method or the data."""


class MethodError(InterpError):
    """An attribution method, level or option that does not exist or does not fit the others."""


class ScoreError(InterpError):
    """Scores that are not finite, do not match, or come from a damaged file."""


class TableError(InterpError):
    """A table that cannot be written, or a file that holds no table or another one."""


class ProbeError(InterpError):
    """Labels or reads that no probe can be fitted on, or a subspace that cannot be made or used."""


class LoadError(InterpError):
    """A model that cannot be loaded safely."""


#: How many names of one kind a message lists.
MOST_NAMED: Final = 4


def some(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are: `a, b, c, d and 12 more`."""
    found = list(names)
    rest = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + rest


#: How many valid names a message lists, and how many are searched for near ones.
MOST_LISTED: Final = 40
MOST_COMPARED: Final = 5000


def unknown(what: str, given: object, valid: Iterable[str]) -> str:
    """The sentence for a misspelt name: what was given, the near ones, and all of them where they are not too many.

    Used by every registry, so that a wrong name reads the same everywhere.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5) if len(names) <= MOST_COMPARED else []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    rest = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return f"unknown {what} {given!r}.{hint} Valid: {', '.join(names[:MOST_LISTED])}{rest}."
