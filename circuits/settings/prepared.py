"""The options of a run, and a job that has been checked: every error of the input is raised before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from circuits.circuit.circuit import listable
from circuits.circuit.selection import get_selection
from interp.attribution.auto.verified import AUTO, VerifiedAttribution
from interp.attribution.checks import CHECKED, check
from interp.attribution.methods import get_method
from interp.attribution.request import prepare
from interp.attribution.scoring.driver import Attribution
from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError
from interp.parts.graph import KeyValue
from interp.parts.sites import Site
from interp.scores.scores import Ranking
from interp.tasks.ablations import ABLATIONS, make_ablation
from interp.tasks.task import Task

Say = Callable[[str], None]


def begin(say: Say, what: str) -> None:
    """The next phase of a run, for who counts them (see `circuits.console.phases`); for others a line like any other."""
    getattr(say, "phase", say)(what)


@dataclass(frozen=True)
class Settings:
    """The options of a run, as the command line names them.

    `kv` (None: `shared`), `split_positions` and `prune` belong to level `edges`, `dictionaries` to level `features`, `tau`
    to method `acdc`, `budget` and `chance` to method `auto`. A circuit has `n` parts, or those of importance `threshold`.
    """

    methods: tuple[str, ...] = ("auto",)
    level: str = "heads"
    positions: str | None = "all"
    direction: str | None = None
    ablation: str = "counterfactual"
    metric: str = "logit_diff"
    n: int | None = None
    threshold: float | None = None
    ranking: Ranking = "absolute"
    steps: int | None = None
    quadrature: str | None = None
    batch_size: int | None = None
    n_random: int = 20
    seed: int = 0
    hold_out: bool = True
    kv: KeyValue | None = None
    split_positions: bool = False
    algorithm: str = "top"
    prune: bool = False
    tau: float | None = None
    max_memory: str | None = None
    budget: str | None = None
    chance: float | None = None
    dictionaries: Mapping[Site, Dictionary] | None = None

    @property
    def search(self) -> dict[str, Any]:
        """The options of method `auto`, whose top is that of the circuit."""
        found: dict[str, Any] = {"budget": self.budget, "chance": self.chance}
        if AUTO not in self.methods:
            return found
        return found | {"n": self.n, "ranking": self.ranking}

    @property
    def common(self) -> dict[str, Any]:
        """The options that every request of a run for parts of its level shares."""
        names = (
            "level",
            "positions",
            "direction",
            "ablation",
            "metric",
            "batch_size",
            "max_memory",
            "seed",
            "split_positions",
            "dictionaries",
        )
        return {name: getattr(self, name) for name in names} | {"kv": self.kv or "shared"}

    @property
    def elsewhere(self) -> dict[str, Any]:
        """The same for a request for nodes of another level: without what belongs to edges or features."""
        return self.common | {"kv": "shared", "split_positions": False, "dictionaries": None}

    @property
    def path(self) -> dict[str, Any]:
        """The options of IG methods."""
        return {"steps": self.steps, "quadrature": self.quadrature}

    @property
    def judging(self) -> dict[str, Any]:
        """The options of every run that judges circuits."""
        names = ("ablation", "metric", "ranking", "seed", "batch_size", "dictionaries")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Prepared:
    """A checked job: nothing has been written yet, and every error of the input has been raised."""

    model: Any
    settings: Settings
    task: Task
    scoring: Task
    evaluation: Task
    held_out: bool
    request: Attribution

    @property
    def leading(self) -> str:
        """The method of the pictures beside the scores: the first of the run; for `auto` the first preset that fits."""
        if not isinstance(self.request, VerifiedAttribution):
            return self.settings.methods[0]
        tried = [m.name for m in self.request.methods]
        return "relp" if "relp" in tried else tried[0]


def prepare_run(model: Any, task: Task, settings: Settings) -> Prepared:
    """Split the pairs and check every option against model and task. Raises: InterpError."""
    checked(settings)
    # All pairs before the halves, so that the first wrong one is named whichever half it falls into.
    model.check_length(max(pair.length for pair in task.tokenize(model.tokenizer, model.layout.d_vocab)))
    held_out = settings.hold_out and len(task) > 1
    scoring, held = task.split(settings.seed) if held_out else (task, task)
    options = settings.common | settings.path | settings.search
    request = prepare(model, scoring, methods=settings.methods, tau=settings.tau, **options)
    pairs = held.tokenize(model.tokenizer, model.layout.d_vocab)
    if ABLATIONS[settings.ablation].partners is not None:
        make_ablation(settings.ablation, model, pairs, [], settings.seed, 1)
    size = sum(map(listable, request.space.parts([None])))
    if settings.n is not None and settings.n > size:
        raise InterpError(f"n={settings.n}: expected 1 to {size}, the parts of level {settings.level!r}.")
    return Prepared(model, settings, task, scoring, held, held_out, request)


def checked(settings: Settings) -> Settings:
    """The settings, refused where they have no meaning on any model. Raises: InterpError."""
    _check_level(settings)
    options = settings.common | settings.path | settings.search
    check(settings.methods, tau=settings.tau, **{k: v for k, v in options.items() if k in CHECKED})
    if settings.n is not None and settings.threshold is not None:
        raise InterpError(f"n={settings.n} and threshold={settings.threshold}: give one of them.")
    if settings.n is not None and settings.n < 1:
        raise InterpError(f"n={settings.n}: expected 1 or more, the parts in the circuit.")
    if settings.ranking == "signed" and get_method(settings.methods[0]).unsigned:
        raise InterpError(f"ranking 'signed': scores of {settings.methods[0]} have no sign; use --ranking absolute.")
    if settings.n_random < 1:
        raise InterpError(f"random={settings.n_random}: expected 1 random circuit or more.")
    return settings


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
