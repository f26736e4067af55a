"""What each phase of discover and compare costs at most, in forwards of the scored pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2

from circuits.anatomy.closeups_edges import MOST_CHECKED
from circuits.anatomy.closeups_examples import EXAMPLES, PATTERN_BYTES
from circuits.anatomy.exact_check import EXACT_LIMIT, sample_size
from circuits.anatomy.overview import SHOWN_PROMPTS, mapping_method
from circuits.costs.bounds import one_forward
from circuits.costs.circuit_batches import Asked
from circuits.costs.circuit_runs import CircuitRuns, runs_of, written_again
from circuits.costs.scoring import exactly, of_request, of_search, passes, sweeps
from circuits.evaluation.faithfulness import CURVE_RANDOM, spread
from circuits.evaluation.smallest import steps_of
from circuits.settings.prepared import Prepared, Settings
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import Request
from interp.attribution.auto.verified import ALONG_PATHS, VerifiedAttribution
from interp.attribution.methods import get_method
from interp.attribution.protocol.spaces import NodeSpace
from interp.attribution.scoring.driver import Attribution
from interp.attribution.token_request import DEFAULT_STEPS
from interp.errors import InterpError, LayoutError
from interp.ledger import BACKWARD, PASS
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.tasks.ablations import ABLATIONS, ablations_beside
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


@dataclass(frozen=True)
class RunCosts:
    """The bounds of the phases of one run."""

    job: Prepared

    @cached_property
    def forward(self) -> int:
        return one_forward(self.job.model, self.job.request.pairs)

    def pairs(self, task: Task) -> list[TokenPair]:
        """The pairs of a task as tokens."""
        return self.job.tokens(task)

    def share(self, pairs: Sequence[TokenPair]) -> float:
        """A forward of some pairs."""
        return one_forward(self.job.model, pairs) / self.forward

    @property
    def fixed(self) -> float:
        """The run of the clean prompts that fixed values are taken in; those that are learned are there once the run is planned, and
        other parts take means."""
        return float(ABLATIONS[self.job.settings.ablation].is_fixed)

    def request(self, asked: Request) -> Attribution:
        """A request for parts of another level, made without a run: fixed values cost as much as zeros, once they are there.
        Raises: InterpError."""
        return plan(self.job.model, self.job.scoring, replace(asked, ablation="zero") if self.fixed else asked)

    @property
    def ranked(self) -> int:
        """How many parts a circuit may list."""
        return self.runs(self.job.request.pairs).n

    @cached_property
    def _read(self) -> float:
        """What level edges computes again to read both runs of a call for scores."""
        rows = sum(pair.length for pair in self.job.request.pairs)
        return 2 * rows * written_again(self.job.model) / self.forward

    @property
    def again(self) -> float:
        """What a call for scores costs that is not in its forwards."""
        return self._read if self.job.settings.level == "edges" else 0.0

    @property
    def rate(self) -> float:
        """What a forward of a search's budget costs: no call takes less of it than its runs."""
        return 1 + self.again / self.sides

    @property
    def sides(self) -> int:
        """The runs of a call for scores."""
        return 1 + ABLATIONS[self.job.settings.ablation].has_run

    def loading(self) -> float:
        """What is run before the plan is made; at edges with what a norm behind heads makes again."""
        if self.job.learned is None:
            return self.fixed * (1 + self.again / 2)
        return (
            replace(self.runs(self.job.request.pairs), asked=self._asked(self.job.request.pairs, False)).fixed
            / self.forward
        )

    def scoring(self) -> float:
        """The methods of the run; a search may make two further calls for estimates, and some for exact scores."""
        request = self.job.request
        found = of_request(request) + self.again
        if not isinstance(request, VerifiedAttribution):
            return found
        return found + len(ALONG_PATHS[False]) * self.again + (self.rate - 1) * of_search(request)

    def checking(self, command: str) -> float:
        """Exact patching of all parts where they are few, else of a sample. A circuit that `auto` found is checked by what it
        patched, and so is all where it patches all."""
        request = self.job.request
        searched = isinstance(request, VerifiedAttribution) and (command == "discover" or sweeps(request))
        if searched or any(m.exact for m in request.methods):
            return 0.0
        n = request.space.n_parts * len(request.positions.labels)
        kinds = len({group.kind for group in request.space.groups}) if isinstance(request.space, NodeSpace) else None
        shown = len(self.job.settings.methods)
        return self.fixed + self.again + exactly(request, None if n <= EXACT_LIMIT else sample_size(shown, kinds))

    def searching(self) -> float:
        """Steps on a log axis, then halving, where no size was given."""
        settings = self.job.settings
        if settings.n is not None or settings.threshold is not None or self.job.request.methods[0].joint is not None:
            return 0.0
        runs = self.runs(self.job.request.pairs)
        sizes = steps_of(self.ranked)
        gaps = zip([0, *sizes], sizes, strict=False)
        tried = [runs.call([size], ends=False) for size in sizes]
        halved = [
            ceil(log2(high - low)) * one if high - low > 1 else 0 for (low, high), one in zip(gaps, tried, strict=True)
        ]
        steps = max(sum(tried[: i + 1]) + halved[i] for i in range(len(sizes)))
        return (runs.made + runs.call([]) + steps) / self.forward

    def evaluating(self) -> float:
        """The circuit, its complement and the curve, with random circuits; and some of these under other ablations."""
        settings, pairs = self.job.settings, self.pairs(self.job.evaluation)
        runs = self.runs(pairs)
        found = runs.made + runs.call(curve_sizes(self.ranked, settings.n, settings.n_random, runs.n))
        own = runs.n if settings.n is None else settings.n
        for ablation in ablations_beside(settings.ablation, settings.other_ablation):
            other = self.runs(pairs, ablation)
            found += other.made + other.call(other_sizes(own, settings.n_random))
        return found / self.forward

    def anatomy(self) -> float:
        """What is written, neurons, edges and the strongest of these exactly; and three prompts, several times."""
        level, settings = self.job.settings.level, self.job.settings
        evaluation = self.pairs(self.job.evaluation)
        found = self.share(evaluation) + self._closely(evaluation)
        if level != "neurons":
            found += 2 + self.fixed + PASS
        if level == "heads":
            found += 2 + self.fixed + PASS + 2 * self._read
            try:
                found += self.fixed + exactly(self.request(settings.elsewhere("exact", "edges")), MOST_CHECKED)
            except LayoutError:
                pass  # the view will say why there are none
            except InterpError:
                found += 2 + self.fixed + MOST_CHECKED
        return found

    def _closely(self, pairs: Sequence[TokenPair]) -> float:
        """Patterns, a few layers at a time, the lens, and what is written, of the longest prompts there can be."""
        size = self.job.model.layout
        longest = sorted(pairs, key=lambda pair: pair.length)[-EXAMPLES:]
        at_once = max(1, PATTERN_BYTES // (4 * max(1, size.n_heads) * longest[-1].length ** 2))
        return float(self.share(longest) * (ceil(size.n_layers / at_once) + 2))

    def mapping(self) -> float:
        """Both runs, and the method of the map at every layer of the stream."""
        request, layout = self.job.request, self.job.model.layout
        stream = NodeSpace(tuple(groups("resid", layout)))
        method = get_method(mapping_method(self.job))
        return 2 + self.fixed + passes(method, request.steps, stream.n_sites, layout.n_layers)

    def prompts(self) -> float:
        """Token attribution of a few prompts, along a path and by the method of the run, of which `deeplift` is the dearest."""
        shown = self.pairs(self.job.task)[:SHOWN_PROMPTS]
        return self.share(shown) * (2 + (DEFAULT_STEPS + 2) * PASS + 5 + BACKWARD)

    def runs(self, pairs: Sequence[TokenPair], ablation: str | None = None) -> CircuitRuns:
        """Runs of circuits on some pairs, under the ablation of the run or another."""
        settings, asked = self.job.settings, self._asked(pairs, self.job.learned is not None)
        return runs_of(
            asked if ablation is None else replace(asked, ablation=ablation, learned=False),
            kv=settings.kv or "shared",
            split_positions=settings.split_positions,
            labels=len(self.job.request.positions.labels),
        )

    def _asked(self, pairs: Sequence[TokenPair], learned: bool) -> Asked:
        return replace(asked_by(self.job.model, pairs, self.job.settings), learned=learned)


def asked_by(model: HookedModel, pairs: Sequence[TokenPair], settings: Settings) -> Asked:
    """What the runs of circuits of a run by these settings are of."""
    s = settings
    return Asked(model, pairs, s.level, s.ablation, s.metric, s.batch_size, s.max_memory, s.dictionaries)


def other_sizes(own: int, n_random: int) -> list[int]:
    """The sizes of the circuits that are run under another ablation: one of size `own`, and random ones like it."""
    return [own] * (1 + min(n_random, CURVE_RANDOM))


def curve_sizes(ranked: int, own: int | None, n_random: int, n: int) -> list[int]:
    """The sizes of all circuits that an evaluation runs beside the whole model and the empty one: of `n` parts, of which so many
    are `ranked`, and a circuit of `own`; None for one of any size."""
    found = [own, n - own] if own is not None else [n] * (2 + n_random)
    for size in sorted({*spread(ranked), *([own] if own else [])}):
        twins = n_random if size == own else min(n_random, CURVE_RANDOM)
        found += [size] * (1 + (twins if size < n else 0))
    return found
