"""Many texts, images or sounds through a model, a few at a time, for what its heads look at.

Axis words: `layer batch head q_pos k_pos`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.errors import SiteError, TaskError, unknown
from interp.heads.row_measures import grid_of
from interp.model.inputs.taking import taken
from interp.model.modules.calling import stack_input
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Example, Inputs
from interp.parts.sites import Site
from interp.parts.tokens import Tokens
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import Prompt, run_of
from interp.tasks.task import Task
from interp.whole_numbers import count

Prompts = Literal["clean", "corrupt"]
#: Bytes of patterns that one run may hold, and prompts that it takes at most.
_BYTES: Final = 1 << 28
_PROMPTS: Final = 16


@dataclass(frozen=True, eq=False)
class Watched:
    """The heads of some layers of one stack of a model, whose attention to its own stream is looked at; with `cross` that to another one's."""

    model: Any
    stack: str
    layers: tuple[int, ...]
    cross: bool = False

    @classmethod
    def of(cls, model: Any, layers: Sequence[int] | None, stack: str | None, cross: bool = False) -> Watched:
        """The layers asked for, each once, all that have heads by default; of the stack whose stream is read last by default.

        Raises: SiteError for none, for a stack that there is not, and for a layer without a pattern.
        """
        model.layout.check_blocks("attention patterns")
        own = model.layout if stack is None else model.layout.stack(stack)
        every = [i for i, block in enumerate(own.blocks) if block.heads] or range(own.n_layers)
        chosen = tuple(every if layers is None else dict.fromkeys(layers))
        if not chosen:
            raise SiteError("layers: none given; expected one or more, for example layers=[0].")
        kind = "cross_pattern" if cross else "pattern"
        sites = [model.resolve(Site(kind, layer, stack=own.name))[0] for layer in chosen]
        return cls(model, own.name, tuple(site.layer for site in sites), cross)

    @property
    def sites(self) -> list[Site]:
        """Where their patterns are."""
        return [Site("cross_pattern" if self.cross else "pattern", layer, stack=self.stack) for layer in self.layers]

    @property
    def looked_at(self) -> str:
        """The stack whose positions they look at."""
        return self.model.layout.others[0].name if self.cross else self.stack

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, layer by layer: `a3.h2`, `encoder:a3.h2`."""
        prefix = f"{self.stack}:" if self.stack else ""
        blocks = ((layer, self._own.blocks[layer]) for layer in self.layers)
        every = ((layer, block.cross if self.cross else block.attn) for layer, block in blocks)
        return tuple(f"{prefix}a{layer}.h{h}" for layer, own in every for h in range(own.n_heads))

    @property
    def causal(self) -> bool:
        """Whether no position looks at later ones."""
        return bool(self._own.causal)

    @property
    def _own(self) -> Any:
        return self.model.layout.stack(self.stack)

    def ids(self, prompt: Prompt) -> tuple[int, ...] | None:
        """The token ids that the stack reads; None where it reads an image or a sound."""
        if not isinstance(prompt, Example):
            return prompt
        found = prompt.tensors[stack_input(self.model.hf, self.stack)]
        return None if found.is_floating_point() else tuple(found.tolist())

    def grid(self, prompt: Prompt) -> Tensor | None:
        """Row and column of its positions, as `interp.heads.row_measures` has them; None for what is no grid of patches."""
        if self.ids(prompt) is not None:
            return None
        return grid_of(self.model.positions(prompt, self.stack))

    def starts_with_cls(self, prompt: Prompt) -> bool:
        """Whether the first position is the one that classifies."""
        if (ids := self.ids(prompt)) is None:
            return bool(self.model.positions(prompt, self.stack)[0] == "CLS")
        cls = getattr(self.model.tokenizer, "cls_token_id", None)
        return cls is not None and ids[0] == cls


@dataclass(frozen=True, eq=False)
class Look:
    """What heads look at in some prompts of one shape.

    places: of the prompts among those given. prompts: what was run. weights: [batch head q_pos k_pos] of all layers that were asked
    for, their heads in a row.
    """

    places: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    weights: Tensor


def prompts_of(model: Any, given: Any, prompts: str = "clean") -> list[Prompt]:
    """What is run, without padding: the `clean` or `corrupt` prompts of a task, or texts, ids or other inputs as `model.run` takes them.

    Raises: TaskError for what the model does not take, and for other inputs with padding.
    """
    if prompts not in ("clean", "corrupt"):
        raise TaskError(unknown("prompts", prompts, ("clean", "corrupt")))
    if isinstance(given, Task):
        return [getattr(pair, prompts) for pair in given.tokenize(model.tokenizer, model.outputs)]
    if isinstance(given, (list, tuple)) and not given:
        raise TaskError("no texts given; expected one or more.")
    if not model.takes_text and isinstance(given, (list, tuple)):
        return [prompt for one in given for prompt in prompts_of(model, one)]
    with settled(model.device):
        found = taken(model, given)
    if isinstance(found, Tokens):
        pairs = zip(found.ids.tolist(), found.mask.tolist(), strict=True)
        return [tuple(i for i, real in zip(ids, mask, strict=True) if real) for ids, mask in pairs]
    if padded := [name for name, x in found.tensors.items() if name.endswith("attention_mask") and not bool(x.all())]:
        raise TaskError(f"{padded[0]} hides some positions; give inputs of one length at a time, without padding.")
    return _examples(found.to("cpu"), model)


def _examples(given: Inputs, model: Any) -> list[Prompt]:
    lengths = {stack.name: model.n_positions(given.to(model.device), stack.name) for stack in model.layout.stacks}
    length = lengths[model.layout.name]
    rows = range(len(given))
    return [
        Example({k: x[i] if x.ndim else x for k, x in given.tensors.items()}, given.main, length, lengths) for i in rows
    ]


def looks(watched: Watched, prompts: Sequence[Prompt], batch_size: int | None = None) -> Iterator[Look]:
    """Run every prompt once, shorter ones first, prompts of one shape together, so that none sees padding.

    Memory: the patterns of one run, [batch head q_pos k_pos] of every layer. Cost: one forward for each prompt.
    """
    shapes = [prompt.shape if isinstance(prompt, Example) else (len(prompt),) for prompt in prompts]
    order = {shape: i for i, shape in enumerate(sorted(set(shapes)))}
    longest = max(prompt.longest if isinstance(prompt, Example) else len(prompt) for prompt in prompts)
    fitting = _BYTES // (4 * len(watched.names) * longest**2)
    size = max(1, min(_PROMPTS, fitting)) if batch_size is None else count(batch_size, "batch_size")
    for places in by_length([order[shape] for shape in shapes], size):
        chosen = tuple(prompts[i] for i in places)
        with settled(watched.model.device), torch.no_grad():
            run = watched.model.run(run_of(chosen), reads=watched.sites, logits_to_keep=1)
            weights = torch.cat([run[site] for site in watched.sites], dim=1).float().cpu()
        yield Look(tuple(places), chosen, weights)
