"""Prompt pairs: the type, the files they come in, and the built-in generators."""

from interp.tasks.files import load_task
from interp.tasks.task import Pair, Task, TokenPair

__all__ = ["Pair", "Task", "TokenPair", "load_task"]
