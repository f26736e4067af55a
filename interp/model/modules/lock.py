"""Whose turn it is to use a model: hooks sit on its modules and know no owner, so threads take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch

from interp.errors import EditError, LoadError
from interp.model.modules.undo import Change, remove_hooks, undo_stale


@dataclass
class _Turn:
    """The lock of one model, and whether a run of it is under way."""

    lock: Any = field(default_factory=RLock)
    running: bool = False

    def over(self) -> None:
        """No run is under way any more."""
        self.running = False


_TURNS: WeakKeyDictionary[Any, _Turn] = WeakKeyDictionary()


@contextmanager
def reserved(model: Any) -> Iterator[None]:
    """Keep other threads off `model` for several runs, or for hooks put on it before a run."""
    with _TURNS.setdefault(model, _Turn()).lock:
        undo_stale(model)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            remove_hooks(model)
            raise


@contextmanager
def running(model: Any) -> Iterator[None]:
    """One run. Other threads' runs come first. Raises: EditError for a run inside a run of the same thread."""
    turn = _TURNS.setdefault(model, _Turn())
    with reserved(model):
        if turn.running:
            raise EditError(
                "model.run was called inside an edit of the same model; run it before, and use the result in the edit."
            )
        change = Change(model, turn.over)
        try:
            turn.running = True
            yield
        finally:
            change.end()


@contextmanager
def settled(device: torch.device) -> Iterator[None]:
    """Torch as numbers need it, whatever the caller's mode: tensors that gradients can reach, no autocast, and new tensors in
    float32 on the CPU where nobody says otherwise."""
    elsewhere, usual = torch.get_default_device().type != "cpu", torch.get_default_dtype()
    gradients = torch.is_grad_enabled()
    try:
        with (
            torch.inference_mode(False),
            torch.autocast(device.type, enabled=False),
            torch.device("cpu") if elsewhere else nullcontext(),
        ):
            if usual != torch.float32:
                torch.set_default_dtype(torch.float32)
            yield
    except (KeyboardInterrupt, SystemExit):
        torch.set_grad_enabled(gradients)
        raise
    finally:
        if usual != torch.float32:
            torch.set_default_dtype(usual)


@contextmanager
def no_inference_tensors() -> Iterator[None]:
    """Raises: LoadError in place of torch's own error for a tensor that was made under `torch.inference_mode`."""
    try:
        yield
    except RuntimeError as error:
        if "inference tensor" not in str(error).lower():
            raise
        raise LoadError(
            "a weight or another tensor of this run was made under torch.inference_mode, and no gradient can go through "
            "it: make it outside of that mode, or give a copy that is made outside (copy.deepcopy(model), x.clone())."
        ) from error


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """Meanwhile no gradients go to the parameters of the module `model`; those that had them get them again."""
    learning = [p for p in model.parameters() if p.requires_grad]

    def thaw() -> None:
        for p in learning:
            p.requires_grad_(True)

    change = Change(model, thaw)
    try:
        for p in learning:
            p.requires_grad_(False)
        yield
    finally:
        change.end()
