"""Changes of a model that are undone at their end, also where Ctrl-C arrives in the middle of undoing them.

A `finally` is Python like any other: a signal may end it half way. So every change is noted before it is made, with what
undoes it; undoing twice is the same as once. It is undone at the end of its block; else when what holds its `Change` is gone;
else when the model is used next (`undo_stale`), where the call that made it is no longer running.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_NOTED: WeakKeyDictionary[Any, list[_Note]] = WeakKeyDictionary()
_PACKAGES = ("interp", "circuits")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True, eq=False)
class _Note:
    """What undoes a change, and by which call from outside it was made (the id of its frame), None where that is not known."""

    undo: Callable[[], None]
    entry: int | None


class Change:
    """A change that is about to be made to `model`; `end` undoes it, and every later one of the same model first."""

    def __init__(self, model: Any, undo: Callable[[], None]) -> None:
        self.note = _Note(undo, _entry())
        self.notes = _NOTED.setdefault(model, [])
        self.notes.append(self.note)

    def end(self) -> None:
        """Undo it; begun again from the start where Ctrl-C arrives meanwhile, which is raised when it is done."""
        try:
            _undo_from(self.notes, self.note)
        except KeyboardInterrupt:
            _undo_from(self.notes, self.note)
            raise

    def __del__(self) -> None:
        # One that Ctrl-C met before it was noted has nothing to undo.
        if "notes" in vars(self):
            _undo_from(self.notes, self.note)


def _undo_from(notes: list[_Note], first: _Note) -> None:
    """Undo the newest first; a note is taken away after it is undone, so that nothing noted is left out."""
    while first in notes:
        last = notes[-1]
        last.undo()
        if notes and notes[-1] is last:
            notes.pop()


def undo_stale(model: Any) -> None:
    """Undo what calls that are over have left on a model. Whoever calls this has the model's turn."""
    notes = _NOTED.get(model)
    if not notes:
        return
    running = {id(frame) for frame in _frames()}
    for note in list(notes):
        if note.entry is not None and note.entry not in running:
            remove_hooks(model)
            _undo_from(notes, note)
            return


def remove_hooks(model: nn.Module) -> None:
    """Take away every hook of this toolkit: for after an interrupt, which may come between putting one on and noting it."""
    for module in model.modules():
        for table in _HOOKS:
            hooks, how = getattr(module, table), getattr(module, f"{table}_with_kwargs")
            for key in [key for key, hook in hooks.items() if _ours(getattr(hook, "__module__", None))]:
                hooks.pop(key, None)
                how.pop(key, None)


def _ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _PACKAGES


def _frames() -> list[Any]:
    """The frames of this thread, the innermost first."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def _entry() -> int | None:
    """The outermost frame of the toolkit in this thread. A generator may be left and entered again, so it is none."""
    own = [f for f in _frames() if _ours(f.f_globals.get("__name__"))]
    whole = [f for f in own if not f.f_code.co_flags & inspect.CO_GENERATOR]
    return id(whole[-1]) if whole and whole[-1] is own[-1] else None
