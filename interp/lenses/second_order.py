"""What each neuron of an MLP does to the output through exactly one later attention.

A neuron writes into the stream at every position; heads of later layers carry that on to where the output is read. With patterns and norms
held as they are in the run, each way through one head is a linear map:

    effect_n = sum_i c_n(i) (sum_l' sum_h a_h(r, i) W_U N_final N_post W_O W_V N_l') w_n

c_n(i): the neuron at position i, w_n: its row of the output projection, a_h(r, i): the weight of head h of layer l' from the position r that is
read to i, N: a norm frozen at its scale. Axis words: `example batch pos neuron output direction d_model d_vocab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import InterpError, LayoutError, SiteError, TaskError, unknown
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.heads.looking import prompts_of
from interp.model.modules.lock import settled
from interp.parts.layout import Layout
from interp.parts.named_inputs import Example
from interp.parts.outputs import AtMask, Classes, NoAnswer
from interp.parts.sites import Site
from interp.rules.rules import AttentionRule, Rules
from interp.scores.per_example import PerExample
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import Prompt, run_of
from interp.tasks.targets import make_targets
from interp.tasks.task import Task
from interp.whole_numbers import count, is_whole, whole

#: Patterns and norms as they are in the run.
FROZEN: Final = Rules(norm="frozen", attention=AttentionRule(qk=0.0))
#: So many outputs of a model are taken where none are named.
MOST_OUTPUTS: Final = 32
CONTRAST: Final = "answers minus wrong"


@dataclass(frozen=True, eq=False, repr=False)
class SecondOrder(PerExample, Table):
    """What each neuron of a layer adds to some outputs through exactly one later attention.

    per_example: [example neuron output], in the unit of the output (logits). whole: of all that the MLP adds [example output]; what the
    neurons lack of it is that of biases. mean, stderr: over the examples [neuron output].
    """

    layer: int
    outputs: tuple[str, ...]
    per_example: np.ndarray = field(metadata=along(1, 2))
    whole: np.ndarray
    model: str = ""

    def __post_init__(self) -> None:
        n, outputs = len(self.per_example), len(self.outputs)
        check_sizes(self, per_example=(self.per_example.shape, (n, *self.per_example.shape[1:2], outputs)))
        check_sizes(self, whole=(self.whole.shape, (n, outputs)))

    @property
    def neurons(self) -> tuple[str, ...]:
        """The names of the neurons: `m3.n117`."""
        return tuple(f"m{self.layer}.n{i}" for i in range(self.per_example.shape[1]))

    @property
    def bias(self) -> np.ndarray:
        """What biases of the MLP add through later attention [example output]."""
        return np.asarray(self.whole - self.per_example.sum(1))

    def largest(self, output: str | None = None, k: int = 10) -> tuple[tuple[str, float], ...]:
        """The `k` neurons with the largest mean effect in size on an output (the first by default). Raises: InterpError for an unknown one."""
        name = self.outputs[0] if output is None else output
        if name not in self.outputs:
            raise InterpError(unknown("output", name, self.outputs))
        values = self.mean[:, self.outputs.index(name)]
        order = np.argsort(-np.abs(values), kind="stable")[: count(k, "k")]
        return tuple((self.neurons[i], float(values[i])) for i in order)

    def to_pandas(self) -> Any:
        """A row per neuron and output: neuron, output, effect (mean over examples), stderr."""
        names, n = self.neurons, len(self.outputs)
        found = {"neuron": [name for name in names for _ in range(n)], "output": list(self.outputs) * len(names)}
        return rows_of({**found, "effect": self.mean.reshape(-1), "stderr": self.stderr.reshape(-1)})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the rows, a standard error of one example as null."""
        rows = self.to_pandas().astype(object)
        return {"model": self.model, "layer": self.layer, "rows": rows.where(rows.notna(), None).to_dict("records")}

    def __str__(self) -> str:
        n, of = len(self.per_example), several(len(self.neurons), "neuron")
        lines = [f"SecondOrder({of} of layer {self.layer}, {several(n, 'example')}, {visible(self.model, 80)})"]
        for output in self.outputs[:8]:
            shown = ", ".join(f"{name} {value:+.4f}" for name, value in self.largest(output, 3))
            lines.append(f"  {visible(output, 40):<16} {shown}")
        return printed("\n".join(lines))


@kinds_checked
def second_order(
    model: Any,
    inputs: Any,
    layer: int,
    *,
    outputs: Sequence[Any] | Tensor | None = None,
    batch_size: int | None = None,
) -> SecondOrder:
    """What each neuron of the MLP of `layer` adds to the output through exactly one later attention, patterns and norms frozen.

    The direction of an output is carried back from where it is read through the attention of each later layer to every position, and meets there
    what the neurons write, so that the cost does not grow with their number. Through no attention a neuron has its direct effect
    (`interp.direct_effects`), which is not in here, nor what passes two attentions, or a later MLP.

    inputs: texts, ids, images or sounds as `model.run` takes them, or a task, of which the clean prompts are run. outputs: tokens or classes, by
    id or text; or directions among the outputs [direction d_vocab], such as the embeddings of texts for a tower of CLIP. By default what a
    task asks (answers minus wrong), else all outputs, where they are few. Of tokens that of the last position is read, or of the mask.
    Units: those of the output; a soft cap of logits counts with its slope. Cost: F + B, and one backward through attention of every
    later layer for each output. Source: Gandelsman, Efros & Steinhardt 2024, "Interpreting the second-order effects of neurons in CLIP".
    Raises: SiteError for a layer without neurons, or the last one, behind which no attention is; LayoutError where norms act on sums or the
    output is no linear map of the last stream; TaskError for outputs that the model has not.
    """
    at = _checked_layer(model, layer)
    prompts = prompts_of(model, inputs)
    _check_mask(model, prompts)
    names, directions = _directions(model, inputs, outputs, len(prompts))
    lengths = [len(prompt) for prompt in prompts]
    table, total = None, np.empty((len(prompts), len(names)))
    for places in by_length(lengths, batch_size or default_batch_size(model, max(lengths))):
        with settled(model.device), torch.enable_grad():
            found, whole_of = _effects(model, at, [prompts[i] for i in places], directions[:, places])
        table = np.empty((len(prompts), found.shape[1], len(names))) if table is None else table
        table[places], total[places] = found.numpy(), whole_of.numpy()
    return SecondOrder(at, names, np.asarray(table), total, model.name)


def _effects(model: Any, layer: int, prompts: Sequence[Prompt], directions: Tensor) -> tuple[Tensor, Tensor]:
    """Effects of neurons [batch neuron output] and of the whole MLP [batch output]. directions: [output batch d_vocab]."""
    later = _attending_behind(model.layout, layer)
    post, out, last = Site("mlp_post", layer), Site("mlp_out", layer), Site("resid_post", model.layout.n_layers - 1)
    ends = [(Site("resid_pre", i), Site("attn_out", i)) for i in later]
    reads = [post, out, last, *(site for pair in ends for site in pair)]
    run = model.run(run_of(prompts), reads=reads, rules=FROZEN, logits_to_keep=1)
    logits, effects, wholes = run.logits[:, -1], [], []
    for direction in directions:
        back = _gradient((logits * direction.to(logits)).sum(), run[last])
        carried = sum(_gradient(run[end], run[start], back) for start, end in ends)
        on_neurons = _gradient(run[out], run[post], carried)
        effects.append((run[post].detach().double() * on_neurons.double()).sum(1))
        wholes.append((run[out].detach().double() * carried.double()).sum((1, 2)))  # type: ignore[union-attr]
    return torch.stack(effects, -1).cpu(), torch.stack(wholes, -1).cpu()


def _gradient(of: Tensor, at: Tensor, by: Any = None) -> Tensor:
    """by . d of / d at."""
    (found,) = torch.autograd.grad(of, at, by, retain_graph=True)
    return found


def _attending_behind(layout: Layout, layer: int) -> list[int]:
    """The later layers with attention."""
    return [i for i, block in enumerate(layout.blocks) if i > layer and block.attn is not None]


def _checked_layer(model: Any, layer: int) -> int:
    """Raises: SiteError, LayoutError where there is no later attention, no neuron, or no linear way."""
    at, layout = whole(layer, "layer", SiteError), model.layout
    model.resolve(Site("mlp_post", at))
    if not _attending_behind(layout, at):
        last = max((i for i, block in enumerate(layout.blocks) if block.attn), default=0)
        raise SiteError(f"layer {at}: no attention is behind it; expected a layer with an MLP before {last}.")
    layout.check_sum("second-order effects")
    if not layout.linear or isinstance(model.outputs, NoAnswer):
        raise LayoutError(
            f"second-order effects: the output of {type(model.hf).__name__} is no norm and linear map of the last stream."
        )
    return at


def _check_mask(model: Any, prompts: Sequence[Prompt]) -> None:
    """Raises: TaskError where a masked model has not one mask to answer at."""
    if isinstance(model.outputs, AtMask):
        for prompt in prompts:
            if not isinstance(prompt, Example) and prompt.count(model.outputs.mask) != 1:
                raise TaskError(
                    f"{prompt.count(model.outputs.mask)} masks in a text; expected one, where the output is read."
                )


def _directions(model: Any, inputs: Any, outputs: Any, n: int) -> tuple[tuple[str, ...], Tensor]:
    """Names and directions [output example d_vocab] of what is asked. Raises: TaskError for an output that there is not."""
    width = model.layout.d_vocab
    if isinstance(outputs, Tensor) and outputs.is_floating_point():
        if outputs.ndim != 2 or outputs.shape[1] != width or not bool(torch.isfinite(outputs).all()):
            raise TaskError(f"outputs: given {list(outputs.shape)}; expected finite directions [direction {width}].")
        names = tuple(f"direction {i}" for i in range(len(outputs)))
        return names, outputs.detach().cpu()[:, None].expand(-1, n, -1)
    if outputs is None and isinstance(inputs, Task):
        targets = make_targets(inputs.tokenize(model.tokenizer, model.outputs), width, torch.device("cpu"))
        return (CONTRAST,), (targets.answers - targets.wrong)[None]
    if outputs is None and width > MOST_OUTPUTS:
        raise TaskError(f"outputs: this model has {width:,}; name those that you ask for, for example outputs=[0].")
    chosen = range(width) if outputs is None else [_output(model, one) for one in _listed(outputs)]
    names = tuple(model.output_text(i) for i in chosen)
    rows = torch.nn.functional.one_hot(torch.tensor(list(chosen)), width).double()
    return names, rows[:, None].expand(-1, n, -1)


def _listed(outputs: Any) -> list[Any]:
    found = [outputs] if isinstance(outputs, str) or is_whole(outputs) else list(outputs)
    if not found:
        raise TaskError("outputs: none given; expected ids, texts or directions.")
    return found


def _output(model: Any, given: Any) -> int:
    """The id of one output."""
    known = model.outputs
    if isinstance(given, str) and isinstance(known, Classes):
        if given not in known.names:
            raise TaskError(unknown("output", given, known.names))
        return known.names.index(given)
    if isinstance(given, str):
        ids = [] if model.tokenizer is None else model.tokenizer.encode(given, add_special_tokens=False)
        if len(ids) != 1:
            raise TaskError(
                f"output {given!r:.60} is {len(ids)} tokens; expected one, written with its leading space, or an id."
            )
        return int(ids[0])
    found = whole(given, "output", TaskError)
    if not 0 <= found < model.layout.d_vocab:
        raise TaskError(f"output {found}: this model has outputs 0 to {model.layout.d_vocab - 1}.")
    return found
