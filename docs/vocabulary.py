"""The module of names that shells complete and that --help and doctor say, from the registries, which take seconds to import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

HEAD = '''"""The names of registries and options, without importing what they stand for. `python docs/generate.py` writes this file."""

from __future__ import annotations

from typing import Final
'''


def module() -> str:
    """The whole file."""
    lists = "\n".join(f"{name}: Final = {_tuple(names)}" for name, names in {**registries(), **options()}.items())
    groups = "".join(f'    "{r.group}": ("{r.kind}", {name}),\n' for name, r in _registries().items())
    return (
        f"{HEAD}\n{lists}\n#: Group of entry points -> what one is called, and the names that are built in.\n"
        f"GROUPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {{\n{groups}}}\n"
    )


def _tuple(names: Iterable[str]) -> str:
    """As the formatter has it, which puts a tuple of one on one line."""
    lines = [f"{json.dumps(name)}," for name in names]
    return f"({lines[0]})" if len(lines) == 1 else "(\n" + "".join(f"    {line}\n" for line in lines) + ")"


def _registries() -> Mapping[str, Any]:
    """Constant -> registry."""
    from circuits.circuit.selection import SELECTIONS
    from circuits.interchange.formats import FORMATS
    from interp.attribution.methods import METHODS
    from interp.attribution.token_methods import METHODS as TOKEN_METHODS
    from interp.depth.layer_scores import LAYER_SCORES
    from interp.effects.splits import SPLITS
    from interp.lenses.effect_measures import MEASURES
    from interp.probes.erasers import ERASERS
    from interp.probes.probe_fits import PROBES
    from interp.probes.selections import PROBE_SELECTIONS
    from interp.rules.rules import PRESETS
    from interp.statistics.accumulator import STATISTICS
    from interp.tasks.ablations import ABLATIONS
    from interp.tasks.builtin import TASKS
    from interp.tasks.metrics import METRICS

    return {
        "METHODS": METHODS,
        "METRICS": METRICS,
        "ABLATIONS": ABLATIONS,
        "PRESETS": PRESETS,
        "TASKS": TASKS,
        "TOKEN_METHODS": TOKEN_METHODS,
        "ALGORITHMS": SELECTIONS,
        "FORMATS": FORMATS,
        "LAYER_SCORES": LAYER_SCORES,
        "STATISTICS": STATISTICS,
        "MEASURES": MEASURES,
        "SPLITS": SPLITS,
        "PROBES": PROBES,
        "PROBE_SELECTIONS": PROBE_SELECTIONS,
        "ERASERS": ERASERS,
    }


def registries() -> dict[str, list[str]]:
    """The names of every registry that are not from another package."""
    return {name: [n for n in r if n not in r.origins] for name, r in _registries().items()}


def options() -> dict[str, Iterable[str]]:
    """What else is a choice among a few names."""
    from circuits.evaluation.known.programs import GROUND_TRUTH
    from circuits.interchange.formats import FORMATS
    from circuits.jobs.machine.bench import PARTS
    from circuits.report.picture import KINDS
    from circuits.reproduction.papers import PAPERS
    from circuits.settings.looking_options import LENSES
    from interp.attribution.batching.positions import POSITIONS
    from interp.attribution.batching.quadrature import QUADRATURES
    from interp.attribution.tokens.token_features import NAMED
    from interp.attribution.tokens.token_job import Baseline
    from interp.depth.drop_layers import SEARCHES
    from interp.depth.removal import UNITS
    from interp.dictionaries.training.steps.learner import DTYPES as TRAINED_IN
    from interp.dictionaries.training.steps.options import ARCHITECTURES
    from interp.model.loading.load import DTYPES
    from interp.parts.graph import KEY_VALUE
    from interp.parts.nodes import FEATURES, LEVELS
    from interp.scores.scores import Ranking
    from interp.tasks.metric import Direction

    pictures_first = sorted(FORMATS.values(), key=lambda f: f.extension not in KINDS)
    return {
        "WRITTEN": [f.name for f in pictures_first if f.writer is not None],
        "READ": [f.name for f in FORMATS.values() if f.reader is not None],
        "LEVELS": [*(level for level in LEVELS if level != "resid"), "edges", FEATURES],
        "DIRECTIONS": get_args(Direction),
        "RANKINGS": sorted(get_args(Ranking)),
        "POSITIONS": POSITIONS,
        "KEY_VALUES": KEY_VALUE,
        "QUADRATURES": QUADRATURES,
        "TOKEN_FEATURES": NAMED,
        "TOKEN_BASELINES": get_args(Baseline),
        "DTYPES": DTYPES,
        "DEPTH_UNITS": UNITS,
        "DEPTH_SEARCHES": SEARCHES,
        "ARCHITECTURES": ARCHITECTURES,
        "TRAINED_IN": [str(dtype).removeprefix("torch.") for dtype in TRAINED_IN],
        "KNOWN_ABLATIONS": GROUND_TRUTH,
        "BENCH_PARTS": PARTS,
        "PAPERS": PAPERS,
        "LENSES": LENSES,
    }
