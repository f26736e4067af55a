"""How --help is laid out: the commands by what they are for, and the options of long commands under titles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Find a circuit": ("discover", "init", "open"),
    "Judge it": ("evaluate", "compare", "stability", "truth", "reproduce"),
    "Keep, compare and exchange": ("report", "diff", "export", "import"),
    "Without circuits": ("tokens",),
    "Look inside": ("lens", "depth", "neurons", "statistics"),
    "Dictionaries of features": ("sae",),
    "What there is": ("models", "tasks", "methods", "sites"),
    "This machine": ("doctor", "verify", "bench"),
}
_PLAIN: Final = "Options"
_PROMPTS: Final = "Model and prompts"
_SCORES: Final = "What is scored, and how"
_SPECIAL: Final = "For some methods or levels only"
_RUN: Final = "The run"
_OF_PROMPTS: Final = (
    "model",
    "adapter",
    "task",
    "limit",
    "length",
    "chat",
    "dtype",
    "device",
    "pair",
    "answer",
    "wrong",
    "similar_to",
)
_OF_METHODS: Final = ("tau", "budget", "chance", "steps", "quadrature", "rounds", "start", "backward")
_OF_EDGES: Final = ("kv", "split_positions")
_OF_A_RUN: Final = ("batch_size", "max_memory", "max_forwards", "seed", "out", "force", "json", "quiet", "help")

_OF_A_LOOK: Final = ("batch_size", "max_memory", "seed", "out", "force", "json", "quiet", "help")

#: Titles and options of the commands that have many, in the order in which --help shows them.
OPTIONS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "discover": {
        _PROMPTS: _OF_PROMPTS,
        _SCORES: ("method", "level", "positions", "direction", "ablation", "metric", "dictionaries"),
        "The circuit": ("n", "threshold", "ranking", "random", "hold_out", "other_ablation"),
        _SPECIAL: ("algorithm", "prune", *_OF_EDGES, *_OF_METHODS),
        _RUN: _OF_A_RUN,
    },
    "compare": {
        _PROMPTS: _OF_PROMPTS,
        _SCORES: ("methods", "level", "positions", "dictionaries", "direction", "ablation", "metric"),
        _SPECIAL: (*_OF_EDGES, *_OF_METHODS),
        _RUN: _OF_A_RUN,
    },
    "evaluate": {
        "What is judged": (
            "model",
            "adapter",
            "task",
            "hold_out",
            "scores",
            "limit",
            "length",
            "chat",
            "dictionaries",
            "dtype",
            "device",
        ),
        "How": ("ablation", "other_ablation", "metric", "ranking", "random", "tests"),
        _RUN: _OF_A_RUN,
    },
    "reproduce": {
        "What is measured": ("model", "methods", "steps", "limit", "length", "dtype", "device"),
        _RUN: _OF_A_RUN,
    },
    "tokens": {
        _PROMPTS: _OF_PROMPTS,
        _SCORES: ("methods", "metric", "baseline", "features", "target"),
        "How good the methods are": ("evaluate", "again", "truth"),
        _RUN: ("seed", "shown", "out", "force", "json", "quiet", "help"),
    },
    "lens": {
        _PROMPTS: ("model", "adapter", "text", *(name for name in _OF_PROMPTS if name not in ("model", "adapter"))),
        "The lens": ("kind", "layers"),
        _RUN: _OF_A_LOOK,
    },
    "depth": {
        "Model and text": ("model", "adapter", "data", "texts", "window", "dtype", "device"),
        "What is left out": ("drop", "unit", "score", "search", "alpha"),
        _RUN: _OF_A_LOOK,
    },
    "neurons": {
        _PROMPTS: ("model", "adapter", *(name for name in _OF_PROMPTS if name not in ("model", "adapter"))),
        "The neurons": ("measure", "compare", "layers", "screen"),
        "How good the order is": ("check", "draws"),
        _RUN: _OF_A_LOOK,
    },
    "statistics": {
        "The text": ("model", "adapter", "data", "tokens", "window", "keep_bos", "dtype", "device"),
        "What is added up": ("sites", "what"),
        _RUN: _OF_A_LOOK,
    },
    "stability": {_PLAIN: ("n", "ranking", "resamples", "splits", "seed", "json", "help")},
    "sites": {_PLAIN: ("model", "adapter", "rules", "help")},
    "bench": {
        "What is measured": ("model", "parts", "methods", "level", "steps", "scale", "sae"),
        "Sizes": ("batch", "length", "repeats", "dtype", "device"),
        "With --sae": ("architecture", "d_in", "d_sae", "k"),
        _RUN: ("out", "json", "help"),
    },
    "train": {
        "Model and text": ("model", "adapter", "data", "site", "target", "context", "keep_bos", "hold_out"),
        "The dictionary": ("architecture", "d_sae", "k", "set"),
        "Training": ("lr", "tokens", "batch_tokens", "buffer", "seed", "dtype", "device"),
        _RUN: ("cache", "out", "resume", "checkpoint_every", "keep_checkpoint", "json", "quiet", "help"),
    },
    "eval": {
        "Model and text": ("model", "adapter", "data", "tokens", "context", "keep_bos", "hold_out", "dtype", "device"),
        "The dictionary": ("site", "target", "scaling_factor"),
        "What is measured": ("pca", "probe", "dashboards"),
        _RUN: ("seed", "out", "force", "json", "quiet", "help"),
    },
}


class Sectioned(TyperCommand):
    """A command whose options stand under the titles of `OPTIONS`; without titles all under one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        order = [name for names in OPTIONS.get(self.name or "", {}).values() for name in names]
        places = {name: i for i, name in enumerate(order)}
        self.params.sort(key=lambda parameter: places.get(parameter.name or "", -1))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then each title with its options."""
        sections = OPTIONS.get(self.name or "", {})
        titles = {name: title for title, names in sections.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *sections, _PLAIN)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                rows["Arguments" if argument else titles.get(parameter.name or "", _PLAIN)].append(record)
        _write(formatter, rows)


class Grouped(TyperGroup):
    """A group whose commands stand under the titles of `COMMANDS`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each title with its commands and what each is for; a command without a title comes last."""
        limit = formatter.width - 6 - max(map(len, self.commands))
        titles = {name: title for title, names in COMMANDS.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in (*COMMANDS, "Other commands")}
        places = {name: i for i, name in enumerate(titles)}
        for name in sorted(self.commands, key=lambda name: places.get(name, len(places))):
            rows[titles.get(name, "Other commands")].append((name, self.commands[name].get_short_help_str(limit)))
        _write(formatter, rows)


def _write(formatter: Any, sections: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
