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
from interp.model.inputs.taking import taken
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Example, Inputs
from interp.parts.sites import Site
from interp.parts.tokens import Tokens
from interp.tasks.lengths import by_length
from interp.tasks.task import Prompt, Task, run_of
from interp.whole_numbers import count

Prompts = Literal["clean", "corrupt"]
#: Bytes of patterns that one run may hold, and prompts that it takes at most.
_BYTES: Final = 1 << 28
_PROMPTS: Final = 16


@dataclass(frozen=True, eq=False)
class Look:
    """What heads look at in some prompts of one length.

    places: of the prompts among those given. prompts: what was run. weights: [batch head q_pos k_pos] of all layers that were asked
    for, their heads in a row.
    """

    places: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    weights: Tensor

    @property
    def ids(self) -> Tensor | None:
        """Token ids [batch pos]; None where the prompts are no text."""
        rows = [prompt for prompt in self.prompts if not isinstance(prompt, Example)]
        return torch.tensor(rows) if rows else None


def prompts_of(model: Any, given: Any, prompts: str = "clean") -> list[Prompt]:
    """What is run, without padding: the `clean` or `corrupt` prompts of a task, or texts, ids or other inputs as `model.run` takes them.

    Raises: TaskError for what the model does not take.
    """
    if prompts not in ("clean", "corrupt"):
        raise TaskError(unknown("prompts", prompts, ("clean", "corrupt")))
    if isinstance(given, Task):
        return [getattr(pair, prompts) for pair in given.tokenize(model.tokenizer, model.outputs)]
    if isinstance(given, (list, tuple)) and not given:
        raise TaskError("no texts given; expected one or more.")
    with settled(model.device):
        found = taken(model, given)
    if isinstance(found, Tokens):
        pairs = zip(found.ids.tolist(), found.mask.tolist(), strict=True)
        return [tuple(i for i, real in zip(ids, mask, strict=True) if real) for ids, mask in pairs]
    return _examples(found.to("cpu"), model.n_positions(found))


def _examples(given: Inputs, length: int) -> list[Prompt]:
    rows = range(len(given))
    return [Example({k: x[i] if x.ndim else x for k, x in given.tensors.items()}, given.main, length) for i in rows]


def layers_of(model: Any, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers asked for, each once; all by default. Raises: SiteError for none, or one without a pattern."""
    chosen = tuple(range(model.layout.n_layers)) if layers is None else tuple(dict.fromkeys(layers))
    if not chosen:
        raise SiteError("layers: none given; expected one or more, for example layers=[0].")
    return tuple(int(model.resolve(Site("pattern", layer))[0].layer) for layer in chosen)


def heads_of(model: Any, layers: Sequence[int]) -> tuple[str, ...]:
    """The names of the heads of some layers, in a row: `a3.h2`."""
    return tuple(f"a{layer}.h{head}" for layer in layers for head in range(model.layout.n_heads))


def looks(
    model: Any, prompts: Sequence[Prompt], layers: Sequence[int], batch_size: int | None = None
) -> Iterator[Look]:
    """Run every prompt once, shorter ones first, prompts of one length together, so that none sees padding.

    Memory: the patterns of one run, [batch head q_pos k_pos] of every layer. Cost: one forward for each prompt.
    """
    sites = [Site("pattern", layer) for layer in layers]
    longest = max(map(len, prompts))
    fitting = _BYTES // (4 * len(sites) * model.layout.n_heads * longest**2)
    size = max(1, min(_PROMPTS, fitting)) if batch_size is None else count(batch_size, "batch_size")
    for places in by_length([len(prompt) for prompt in prompts], size):
        chosen = tuple(prompts[i] for i in places)
        with settled(model.device), torch.no_grad():
            run = model.run(run_of(chosen), reads=sites, logits_to_keep=1)
            weights = torch.cat([run[site] for site in sites], dim=1).float().cpu()
        yield Look(tuple(places), chosen, weights)
