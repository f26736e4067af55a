"""What a request for scores asks: which parts, at which positions, patched how, by what method, and with what memory.

Each option is written here once. The signatures of `attribute`, `attribute_all` and `prepare`, the options of the command line,
the keys of its files of options and what --help says of them come from these values; `prepare` says more of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from interp.option import needed, option

if TYPE_CHECKING:
    from interp.attribution.features.hosts import Dictionaries
    from interp.parts.graph import KeyValue
    from interp.scores.scores import Ranking
    from interp.tasks.metric import Metric


@dataclass(frozen=True, kw_only=True)
class DictionaryOptions:
    """Whose features are parts, at level `features`."""

    dictionaries: Dictionaries | None = option(
        None, "level features: a dictionary's folder, or a folder of such folders", kind=Path, file="any"
    )


@dataclass(frozen=True, kw_only=True)
class PartOptions(DictionaryOptions):
    """Which parts are scored. `kv` and `split_positions` belong to level `edges`."""

    level: str = field(metadata=needed("resid, blocks, heads, qkv, neurons, edges or features", among="levels"))
    kv: KeyValue | None = option(
        None, "level edges: K/V readers shared by their group, or split [default: shared]", kind=str, among="key-values"
    )
    split_positions: bool = option(False, "level edges: the position embedding is a writer of its own")


@dataclass(frozen=True, kw_only=True)
class PositionOptions:
    """At which positions parts are scored apart."""

    positions: str | None = option(None, "{names} [default: all; each for resid]", among="positions")


@dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """Where randomness begins."""

    seed: int = option(0, "for generated prompts, splits and random circuits", least=0)


@dataclass(frozen=True, kw_only=True)
class PatchOptions(SeedOptions):
    """What a part is patched with, in which direction, and how what follows is measured. `metric` None: `logit_diff`."""

    direction: str | None = option(
        None, "denoise (clean into corrupt) or noise [default: denoise for counterfactual]", among="directions"
    )
    ablation: str = option("counterfactual", "{names}", among="ablations")
    metric: str | Metric | None = option(None, "{names:5}", kind=str, among="metrics")


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """At how many points of a path."""

    steps: int | None = option(None, "integration steps of IG methods, points of deeplift's softmax [default: 8]")


@dataclass(frozen=True, kw_only=True)
class MethodOptions(StepOptions):
    """Options of some methods: `steps` and `quadrature` of those along paths, `tau` of `acdc`, the others of searches on masks."""

    quadrature: str | None = option(None, "{names} [default: midpoint]", among="quadratures")
    tau: float | None = option(
        None, "method acdc: the smallest change that keeps an edge [default: 1 % of the whole difference]"
    )
    rounds: int | None = option(
        None, "searches on masks: masked runs forward and back [default: what the method takes, or the budget]", least=1
    )
    start: str | None = option(
        None, "method learned: the method whose order it begins with [default: relp]", among="methods"
    )
    backward: str | None = option(
        None,
        "searches on masks: the rule preset in the place of the gradient [default: the method's own]",
        among="presets",
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What a search may spend, and how sure `auto` has to be."""

    budget: str | float | None = option(
        None,
        "method auto: seconds (60s) or forward equivalents (200F or 200) to spend after the presets; less than one part "
        "costs scores one [default: 100F]; searches on masks: forward equivalents in all [default: portfolio 150F]",
        kind=str,
    )
    chance: float | None = option(
        None,
        "method auto: the chance allowed, on average over draws, that a part outside belongs in the top n [default: 0.01]",
    )


@dataclass(frozen=True, kw_only=True)
class TopOptions:
    """Which parts are at the top: of what `auto` looks for, and of a circuit."""

    n: int | None = None
    ranking: Ranking | None = None


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How many prompts go through the model at once."""

    batch_size: int | None = option(None, "prompts per batch [default: by memory]")


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(BatchOptions):
    """What the work may take."""

    max_memory: int | str | None = option(
        None,
        "what scoring and circuits may take above the model, such as 2GiB; batches are made to fit [default: 1GiB per batch]",
        kind=str,
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MemoryOptions, TopOptions, SearchOptions, MethodOptions, PatchOptions, PositionOptions, PartOptions):
    """Everything that may be said of a request beside its methods.

    `parts`: score only these, by name. `stack`: of a model with several, score the nodes of this one (`encoder`; empty for the one that is
    read last), at its positions. `allow_unsupported`: take the plain gradient where a rule set has no rule.
    """

    parts: Sequence[str] | None = None
    stack: str | None = None
    allow_unsupported: bool = False


@dataclass(frozen=True, kw_only=True)
class Request(ScoreOptions):
    """A request for scores by several methods."""

    methods: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ShownRequest(Request):
    """The same, scored at once, with or without a progress bar (None: where the work is long)."""

    show_progress: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ShownRequestOfOne(ScoreOptions):
    """The same by one method."""

    method: str
    show_progress: bool | None = None
