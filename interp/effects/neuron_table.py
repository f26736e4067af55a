"""`NeuronEffects`: neurons in the order of a measure, and what zeroing the first of them does.

Axis words: `example neuron token`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interp.effects.neuron_check import ZeroCheck
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, token, visible
from interp.parts.nodes import Node
from interp.parts.tokens import Texts
from interp.scores.per_example import PerExample

_SHOWN = 10


@dataclass(frozen=True, eq=False, repr=False)
class NeuronEffects(PerExample, Table):
    """What each neuron writes to the answer directly, the largest first; with what zeroing the first does.

    per_example: the measure [example neuron]; logits: to the mean logit of the answers, log_probs: to their log-probability
    [example neuron]; of a comparison all three less their value in the run with the edits. up, down: ids of the tokens whose logits a
    neuron raises and lowers most, mean over examples [neuron token]; up_logits, down_logits: by how much. n_neurons: how many there are;
    proved: so many first places are certain, whatever was not measured. checks: what zeroing the first, and random ones, does.
    """

    nodes: tuple[Node, ...]
    per_example: np.ndarray = field(metadata=along(1))
    logits: np.ndarray = field(metadata=along(1))
    log_probs: np.ndarray = field(metadata=along(1))
    up: np.ndarray = field(metadata=along(0))
    up_logits: np.ndarray = field(metadata=along(0))
    down: np.ndarray = field(metadata=along(0))
    down_logits: np.ndarray = field(metadata=along(0))
    n_neurons: int
    proved: int
    compared: bool
    checks: tuple[ZeroCheck, ...] = ()
    measure: str = ""
    texts: Texts = field(default_factory=Texts)
    model: str = ""
    task: str = ""
    prompts: str = "clean"

    def __post_init__(self) -> None:
        shape = (self.per_example.shape[0], len(self.nodes))
        check_sizes(
            self, **{name: (getattr(self, name).shape, shape) for name in ("per_example", "logits", "log_probs")}
        )
        tokens = ("up", "up_logits", "down", "down_logits")
        check_sizes(self, **{name: (getattr(self, name).shape, (shape[1], self.up.shape[1])) for name in tokens})

    @property
    def share_logit_lowered(self) -> np.ndarray:
        """Of the prompts, those whose answer's logit the neuron lowers [neuron]."""
        return np.asarray((self.logits < 0).mean(0))

    @property
    def share_log_prob_lowered(self) -> np.ndarray:
        """Of the prompts, those whose answer's log-probability the neuron lowers [neuron]."""
        return np.asarray((self.log_probs < 0).mean(0))

    @property
    def believed(self) -> bool | None:
        """Whether zeroing the first neurons lowered the log-probability more than zeroing random ones did, in every draw; None without a check."""
        top = [row.log_prob for row in self.checks if row.which == "top"]
        random = [row.log_prob for row in self.checks if row.which == "random"]
        return top[0] < min(0.0, *random) if top and random else None

    def raised(self, place: int) -> tuple[str, ...]:
        """The texts of the tokens that a neuron raises most; none of one that raises none."""
        return tuple(self.texts(t) for t, v in zip(self.up[place], self.up_logits[place], strict=True) if v > 0)

    def lowered(self, place: int) -> tuple[str, ...]:
        """The texts of the tokens that a neuron lowers most; none of one that lowers none."""
        return tuple(self.texts(t) for t, v in zip(self.down[place], self.down_logits[place], strict=True) if v < 0)

    def to_pandas(self) -> Any:
        """A row per neuron, the first first: neuron, effect (mean of the measure), stderr, logit, log_prob, of the prompts those lowered in
        each, raises, lowers."""
        places = range(len(self.nodes))
        found = {"neuron": [node.name for node in self.nodes], "effect": self.mean, "stderr": self.stderr}
        found |= {"logit": self.logits.mean(0), "logit_lowered": self.share_logit_lowered}
        found |= {"log_prob": self.log_probs.mean(0), "log_prob_lowered": self.share_log_prob_lowered}
        return rows_of({**found, "raises": map(self.raised, places), "lowers": map(self.lowered, places)})

    def check_table(self) -> Any:
        """A row per group of neurons that was zeroed: which, neurons, log_prob, logit, logit_diff, share_lowered."""
        names = ("which", "log_prob", "logit", "logit_diff", "share_lowered")
        columns: dict[str, Any] = {name: [getattr(row, name) for row in self.checks] for name in names}
        return rows_of({**columns, "neurons": [", ".join(row.neurons) for row in self.checks]})

    def __str__(self) -> str:
        n, less = len(self.per_example), ", compared" if self.compared else ""
        of = f"{len(self.nodes):,} of {several(self.n_neurons, 'neuron')}"
        lines = [f"NeuronEffects({of} by {self.measure}{less}, {several(n, 'prompt')}, {visible(self.model, 80)})"]
        for i, node in enumerate(self.nodes[:_SHOWN]):
            raised = " ".join(map(token, self.raised(i)[:3]))
            said = f"log p {self.log_probs[:, i].mean():+.4f}  logit {self.logits[:, i].mean():+.4f}"
            lines.append(f"  {node.name:<10} {self.mean[i]:+.4f}  {said}" + (f"  raises {raised}" if raised else ""))
        for row in self.checks:
            said = f"log p {row.log_prob:+.4f}, logit {row.logit:+.4f}, lower on {row.share_lowered:.0%} of prompts"
            lines.append(f"  zeroing {len(row.neurons)} {row.which}: {said}")
        if self.believed is False:
            lines.append(
                "  zeroing the first does not lower the answer more than zeroing random ones: do not believe this order"
            )
        if self.proved < len(self.nodes):
            lines.append(f"  screened: the first {self.proved} places are proved")
        return printed("\n".join(lines))
