"""The options of a run, and a job that has been checked: every error of the input is raised before any work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from circuits.circuit.circuit import listable
from circuits.circuit.selection import get_selection
from circuits.settings.held_out import Halves
from circuits.settings.run_options import CircuitOptions
from interp.attribution.asking.checks import check
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import (
    MemoryOptions,
    MethodOptions,
    PartOptions,
    PatchOptions,
    PositionOptions,
    Request,
    SearchOptions,
)
from interp.attribution.auto.verified import AUTO, VerifiedAttribution
from interp.attribution.methods import get_method
from interp.attribution.scoring.driver import Attribution
from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError
from interp.ledger import enter
from interp.option import taken
from interp.parts.sites import Site
from interp.tasks.ablations import ABLATIONS, ablations_beside
from interp.tasks.metrics import get_metric
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation, make_ablation
from interp.tasks.task import Task
from interp.whole_numbers import count, whole

Say = Callable[[str], None]
#: The search for circuits of edges, where no method is named.
SEARCH: Final = "portfolio"
#: What generators of random numbers take.
SEEDS: Final = 2**63


def begin(say: Say, phase: str, what: str) -> None:
    """The next phase of a run, for who counts them (see `circuits.console.phases`); for others a line like any other. What is
    spent from here on is of this `phase` (see `interp.ledger`)."""
    enter(phase, last=phase == "writing")
    getattr(say, "phase", say)(what)


@dataclass(frozen=True, kw_only=True)
class Settings(CircuitOptions, MemoryOptions, SearchOptions, MethodOptions, PatchOptions, PositionOptions, PartOptions):
    """The options of a run by these methods: dictionaries are loaded. methods: none where that is left open; `checked` then names what is
    meant so far, and `left_open` stays for who knows the model (see `circuits.costs.default_method`)."""

    methods: tuple[str, ...] = ()
    left_open: bool = False
    level: str = "heads"
    positions: str | None = "all"
    metric: str = "logit_diff"
    dictionaries: Mapping[Site, Dictionary] | None = None

    def main(self) -> Request:
        """The request for the scores of the run. Its top is that of the circuit, where `auto` looks for one."""
        top = {} if AUTO in self.methods else {"n": None, "ranking": None}
        return taken(Request, self, **top)

    def also(self, method: str, **changed: Any) -> Request:
        """A request for the same parts by another method, without what belongs to the methods of the run."""
        return taken(Request, self, methods=[method], **_OF_METHODS | changed)

    def elsewhere(self, method: str, level: str, **changed: Any) -> Request:
        """A request for nodes of another level: also without what belongs to edges or features. Values are learned for the parts of
        the run alone; others take the mean, where learning begins."""
        own: dict[str, Any] = {
            "kv": None,
            "split_positions": False,
            "dictionaries": None,
            "level": level,
            "positions": "all",
        }
        if ABLATIONS[self.ablation].learn is not None:
            own["ablation"] = "mean"
        return self.also(method, **own | changed)

    def beside(self, level: str) -> Request:
        """A request for nodes of another level by the method of the run, whose search looks for a top of its own there."""
        search = {name: getattr(self, name) for name in ("budget", "chance", "rounds", "start", "backward")}
        search["ranking"] = self.main().ranking
        return self.elsewhere(self.methods[0], level, **self.path, **search)

    @property
    def path(self) -> dict[str, Any]:
        """The options of IG methods."""
        return {"steps": self.steps, "quadrature": self.quadrature}


#: What belongs to some methods only.
_OF_METHODS: Final = dict.fromkeys(
    ("n", "ranking", *(f.name for kind in (MethodOptions, SearchOptions) for f in fields(kind)))
)


@dataclass(frozen=True)
class Prepared:
    """A checked job: nothing has been written yet, and every error of the input has been raised."""

    model: Any
    settings: Settings
    halves: Halves
    request: Attribution

    @property
    def task(self) -> Task:
        """All pairs."""
        return self.halves.task

    @property
    def scoring(self) -> Task:
        """The pairs that are scored."""
        return self.halves.scoring

    @property
    def evaluation(self) -> Task:
        """The pairs that the circuit is judged on."""
        return self.halves.evaluation

    @property
    def held_out(self) -> bool:
        """Whether none of these is among the scored ones."""
        return self.halves.held_out

    def tokens(self, task: Task) -> list[TokenPair]:
        """Some of its pairs as token ids, read as the metric of the run takes them."""
        several = get_metric(self.settings.metric).several
        return task.tokenize(self.model.tokenizer, self.model.outputs, several=several)

    @property
    def learned(self) -> Ablation | None:
        """The ablation of the scored pairs, where its values were learned on them."""
        return self.request.ablation if self.request.ablation.learned is not None else None

    @property
    def judging(self) -> dict[str, Any]:
        """The options of every run that judges circuits. What was learned on the scored pairs goes with the circuit to the others."""
        names = ("ablation", "metric", "ranking", "seed", "batch_size", "max_memory", "dictionaries")
        found = {name: getattr(self.settings, name) for name in names}
        return found | ({"ablation": self.learned} if self.learned is not None else {})

    @property
    def leading(self) -> str:
        """The method of the pictures beside the scores: the first of the run; for `auto` the first preset that fits."""
        if not isinstance(self.request, VerifiedAttribution):
            return self.settings.methods[0]
        tried = [m.name for m in self.request.methods]
        return "relp" if "relp" in tried else tried[0]


def prepare_run(model: Any, task: Task, settings: Settings) -> Prepared:
    """Split the pairs and check every option against model and task. Raises: InterpError."""
    settings = _directed(checked(settings))
    # All pairs before the halves, so that the first wrong one is named whichever half it falls into.
    several = get_metric(settings.metric).several
    tokens = task.tokenize(model.tokenizer, model.outputs, several=several)
    model.check_length(max(pair.length for pair in tokens))
    halves = Halves.of(task, tokens, settings.seed, settings.hold_out)
    request = plan(model, halves.scoring, settings.main())
    pairs = halves.evaluation.tokenize(model.tokenizer, model.outputs, several=several)
    for kind in (settings.ablation, *ablations_beside(settings.ablation, settings.other_ablation)):
        if ABLATIONS[kind].partners is not None:
            make_ablation(kind, model, pairs, [], settings.seed, 1)
    size = sum(map(listable, request.space.parts(request.positions.labels)))
    if settings.n is not None and settings.n > size:
        raise InterpError(f"n={settings.n}: expected 1 to {size}, the parts of level {settings.level!r}.")
    return Prepared(model, settings, halves, request)


def _directed(settings: Settings) -> Settings:
    """The settings with the direction of methods that have only one, so that everything beside them has it too."""
    if settings.direction is None and any(get_method(name).noise for name in settings.methods):
        return replace(settings, direction="noise")
    return settings


def checked(settings: Settings) -> Settings:
    """The settings, refused where they have no meaning on any model. Raises: InterpError."""
    if not settings.methods:
        return _by_default(settings)
    check_ranking(settings.ranking)
    _check_level(settings)
    check(settings.main())
    ablations_beside(settings.ablation, settings.other_ablation)
    if settings.n is not None and settings.threshold is not None:
        raise InterpError(f"n={settings.n} and threshold={settings.threshold}: give one of them.")
    if settings.threshold is not None and not math.isfinite(settings.threshold):
        raise InterpError(f"threshold={settings.threshold}: expected a finite number in the metric's unit.")
    check_seed(settings.seed)
    if settings.n is not None:
        count(settings.n, "n", expected="1 or more, the parts in the circuit")
    if settings.ranking == "signed" and get_method(settings.methods[0]).unsigned:
        raise InterpError(f"ranking 'signed': scores of {settings.methods[0]} have no sign; use --ranking absolute.")
    count(settings.n_random, "random", expected="1 random circuit or more")
    return settings


def _by_default(settings: Settings) -> Settings:
    """With the method that is meant where none is named: at level edges a search, where that goes with the other options, else `auto`."""
    decides = settings.level == "edges"
    if decides:
        with suppress(InterpError):
            return replace(checked(replace(settings, methods=(SEARCH,))), left_open=True)
    return replace(checked(replace(settings, methods=(AUTO,))), left_open=decides)


def check_seed(seed: int) -> None:
    """Raises: InterpError for a number that no generator of random numbers takes."""
    if whole(seed, "seed") >= SEEDS:
        raise InterpError(f"seed={seed}: expected a number below 2**63.")


def check_ranking(name: str) -> None:
    """Raises: InterpError for a ranking that does not exist."""
    if name not in ("absolute", "signed"):
        raise InterpError(f"ranking {name!r}: expected absolute or signed.")


def _check_level(settings: Settings) -> None:
    """Refuse what has no meaning at this level. Raises: InterpError."""
    chosen = get_selection(settings.algorithm)
    if settings.algorithm != "top" and settings.level not in chosen.levels:
        raise InterpError(
            f"algorithm {settings.algorithm!r} works at level {', '.join(chosen.levels)}; given with level {settings.level!r}."
        )
    if settings.level == "edges":
        return
    given = {"kv": settings.kv is not None, "split-positions": settings.split_positions, "prune": settings.prune}
    if odd := [name for name, is_given in given.items() if is_given]:
        raise InterpError(f"{' and '.join(odd)}: for level 'edges' only; given with level {settings.level!r}.")
