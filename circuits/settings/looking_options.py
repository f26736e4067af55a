"""The options of the commands that look inside a model without a circuit, each written once.

What they share comes from `run_options`; a command's own value extends `LookOptions` with the mixins that it needs: prompts of a task
(`PromptOptions` there), texts as they are said (`SaidOptions`), a corpus (`dictionary_options.TextOptions`), layers, a seed, memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from circuits.settings.dictionary_options import DataOptions
from circuits.settings.run_options import LoadOptions, OutputOptions, PromptOptions
from interp.attribution.asking.request_options import MemoryOptions, SeedOptions
from interp.errors import InterpError
from interp.option import option

#: Kinds of lenses.
LENSES: Final = ("logit",)
#: A layer, or from one to another, both of them included.
_RANGE: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
#: More layers than any model has: a range beyond it is a slip.
_MOST: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class LookOptions(OutputOptions, LoadOptions):
    """What every command that looks inside a model takes: which model, in which numbers, what is printed, where it is written."""


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Which layers."""

    layers: str | None = option(None, "layers such as 0,2-4, counted from 0 [default: all]")


@dataclass(frozen=True, kw_only=True)
class SaidOptions:
    """Texts as they are said."""

    text: list[str] | None = option(None, "a text to look at in place of the task's clean prompts; may be repeated")


@dataclass(frozen=True, kw_only=True)
class LensLook(LookOptions, SaidOptions, LayerOptions, PromptOptions):
    """What `circuits lens` was given."""

    kind: str = option("logit", "{names}", among="lenses")


@dataclass(frozen=True, kw_only=True)
class DepthLook(LookOptions, DataOptions, SeedOptions):
    """What `circuits depth` was given."""

    window: int | None = option(None, "tokens of a row, at most [default: the model's context, at most 128]")
    texts: int = option(32, "rows of the text that are read: half choose what is left out, half judge")
    drop: int = option(2, "how many parts are left out, one after the other")
    unit: str = option("block", "{names}", among="units of depth")
    score: str = option("influence", "{names}: by which parts are chosen", among="layer scores")
    search: str = option("once", "{names}", among="searches of depth")
    alpha: float | None = option(None, "threshold of score lac, which needs it")


@dataclass(frozen=True, kw_only=True)
class StatisticsLook(LookOptions, MemoryOptions, DataOptions, SeedOptions):
    """What `circuits statistics` was given."""

    sites: str = option("resid_post,mlp_post", "comma-separated sites or kinds, such as mlp_post,z.3")
    what: str = option("moments,sparsity", "comma-separated: {names}", among="statistics")
    tokens: int = option(20_000, "tokens of the text that are read")
    window: int | None = option(
        None,
        "rows of exactly so many tokens, which positions needs; shorter ones are left out [default: the model's context, at most 512]",
    )
    keep_bos: bool = option(False, "count the first token of each row too")


def layers_of(text: str | None) -> tuple[int, ...] | None:
    """The numbers that `--layers` names, each once and in order; None for all. Raises: InterpError for what is no list of layers."""
    if text is None:
        return None
    found: set[int] = set()
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= _MOST:
            raise InterpError(f"--layers {text!r:.60}: {piece.strip()!r:.40} is no layer; expected such as 0,2-4.")
        found |= set(range(first, last + 1))
    return tuple(sorted(found))


def check_said(asked: SaidOptions) -> None:
    """Raises: InterpError for a text that is empty, or beside options of a task."""
    if not asked.text:
        return
    if empty := [i for i, text in enumerate(asked.text) if not text.strip()]:
        raise InterpError(f"--text: text {empty[0] + 1} of {len(asked.text)} is empty; expected words.")
    plain = PromptOptions()
    given = ("pair", "answer", "wrong", "limit", "length", "chat", "task", "similar_to")
    other = [name for name in given if getattr(asked, name, getattr(plain, name)) != getattr(plain, name)]
    if other:
        raise InterpError(f"--{other[0].replace('_', '-')} belongs to prompts of a task; leave it out, or --text.")
