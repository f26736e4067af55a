"""What the parts of a circuit do on a few prompts: where heads look, what components write to the logits, which neurons
matter in an MLP, what the residual stream would say layer by layer. Plain values; `circuits.anatomy.closeups` measures them.

Axis words: `q_pos k_pos layer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from circuits.circuit.saved import Saved
from interp.pictures.input_picture import Picture
from interp.scores.agreement import Agreement

PATTERNS: Final = "patterns"
WRITES: Final = "writes"
NEURONS: Final = "neurons"
LENS: Final = "lens"
EDGES: Final = "edges"
ARROWS: Final = "arrows"


@dataclass(frozen=True)
class Pattern:
    """Where one head looks on a prompt: softmax weights [q_pos k_pos], in thousandths, one row per query token; none of long inputs that are
    no text. `across`: whether the columns are the positions of the stream that an encoder-decoder's decoder attends to. `looks`: those from where the answer is read [k_pos], from 0 to 1, the mean of all rows where it is read at several positions."""

    head: str
    rows: tuple[tuple[int, ...], ...]
    looks: tuple[float, ...] = ()
    across: bool = False

    @property
    def looked(self) -> tuple[float, ...]:
        """`looks`; in a file of a version without it the last row."""
        return self.looks or tuple(w / 1000 for w in (self.rows[-1] if self.rows else ()))


@dataclass(frozen=True)
class LensRow:
    """What the output head makes of the residual stream at one site, at the position that the metric reads.

    `tokens`, `probabilities`: the most probable, largest first. `metric`: the metric there, in its unit. `answer_rank`,
    `wrong_rank`: the place of the best of the answers and of the wrong tokens among all, from 1, and their probabilities; 0 where none
    is wrong.
    """

    site: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    metric: float
    answer_rank: int
    wrong_rank: int
    answer_probability: float
    wrong_probability: float


@dataclass(frozen=True)
class Effect:
    """A token and how much is added to its logit."""

    token: str
    logit: float


@dataclass(frozen=True)
class Writes:
    """What one node writes to the logits at the position that the metric reads, mean over pairs, its final norm that of the run.

    `direct`: to the answer minus the wrong answer, in logits. `up`, `down`: the tokens whose logits it raises and lowers most.
    """

    node: str
    direct: float
    up: tuple[Effect, ...]
    down: tuple[Effect, ...]


@dataclass(frozen=True)
class Example:
    """One clean prompt of the task: its tokens, the patterns of the heads shown, the logit lens over the layers.

    `skipped`: tokens at the start that are left out of `tokens` and `patterns` because the prompt is long; a row's weights then add up
    to less than 1000. `writes`: what the nodes write on this prompt alone: a head that copies a name raises another token on each.
    `reads`: where the answer is read: at the `last` token, at `one` other position (`reader`: what stands there), or at `all`, several.
    `next_token`: whether the answer is the token behind the prompt. `picture`: how the input looks where it is no text; `tokens` are then the names of all positions.
    `source`: what stands at the positions of the other stream that heads attend to, and `source_picture` how that looks where it is no text.
    """

    tokens: tuple[str, ...]
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    skipped: int
    patterns: tuple[Pattern, ...]
    lens: tuple[LensRow, ...]
    writes: tuple[Writes, ...] = ()
    reads: Literal["last", "one", "all"] = "last"
    reader: str = ""
    picture: Picture | None = None
    next_token: bool = True
    source: tuple[str, ...] = ()
    source_picture: Picture | None = None


@dataclass(frozen=True)
class Neuron:
    """One neuron and its score, in the unit of the metric."""

    name: str
    score: float


@dataclass(frozen=True)
class TopNeurons:
    """The neurons of one MLP with the largest scores, of `total`."""

    mlp: str
    total: int
    neurons: tuple[Neuron, ...]


@dataclass(frozen=True)
class Missing:
    """A view that this run does not have, and why."""

    view: str
    reason: str


@dataclass(frozen=True)
class Anatomy(Saved):
    """`examples`: prompts looked at closely. `writes`: per node of the circuit, most important first. `neurons`: per MLP of
    the circuit. `method`: by which neurons, and edges between the nodes of a node circuit, were scored.
    `missing`: the views that could not be measured, each with its reason. `heads_left`, `writes_left`: heads and nodes of the
    circuit, less important than those shown, that were not measured. `pairs`: over how many the writes are averaged.
    `metric`, `unit`: what `LensRow.metric` is. `total`: the sum of the writes of all components, which is the logit difference.
    `arrows`: how the estimates of the strongest edges between the nodes of a node circuit agree with exact patching, None where that
    was not measured."""

    examples: tuple[Example, ...] = ()
    writes: tuple[Writes, ...] = ()
    neurons: tuple[TopNeurons, ...] = ()
    method: str = ""
    missing: tuple[Missing, ...] = ()
    heads_left: int = 0
    writes_left: int = 0
    pairs: int = 0
    metric: str = "logit_diff"
    unit: str = "logits"
    total: float | None = None
    arrows: Agreement | None = None

    def reason(self, view: str) -> str:
        """Why a view is missing; empty where it is not."""
        return next((m.reason for m in self.missing if m.view == view), "")
