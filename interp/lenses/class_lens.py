"""Reading the residual stream of a classifier with its own head: the class lens.

Axis words: `site batch pos class`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.attribution.exact.counts import Counts
from interp.attribution.exact.readout import Readout
from interp.errors import InterpError, LayoutError, TaskError, unknown
from interp.formatting.showing import card
from interp.formatting.table import lines_of
from interp.formatting.text import printed
from interp.model.inputs.answering import answers_at
from interp.model.inputs.taking import taken
from interp.model.modules.lock import reserved, settled
from interp.model.modules.tensors import close
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site
from interp.parts.tokens import Tokens
from interp.pictures.input_picture import Picture
from interp.pictures.picturing import DrawnInput, pictures
from interp.precision import wide
from interp.whole_numbers import is_whole

Label = str | int
Labels = Label | Sequence[Label]


@dataclass(frozen=True, eq=False, repr=False)
class ClassLens:
    """What a classifier would answer if its head read one position of the residual stream alone.

    sites: where it was read, in the order asked for. positions: of each example what stands at the positions that were kept; shorter ones
    are padded at the end. logits: [site batch pos class], NaN in the padding, float32 or better, on the CPU. output: the model's own [batch class].
    read: the place among the positions that its answer is read at, None where it is none of them, or several. names: the classes.
    drawn: how each example looks, where it is no text. model: its name.
    """

    sites: tuple[Site, ...]
    positions: tuple[tuple[str, ...], ...]
    logits: Tensor
    output: Tensor
    read: int | None
    names: tuple[str, ...]
    drawn: tuple[Picture, ...] = ()
    model: str = ""

    @property
    def probabilities(self) -> Tensor:
        """softmax(logits) [site batch pos class]."""
        return torch.softmax(self.logits, dim=-1)

    def rank(self, label: Labels) -> np.ndarray:
        """The place of a class among all by its logit, from 1 [site batch pos]; NaN in the padding. label: one for all examples, or one for each,
        by name or number. Raises: InterpError with the near names."""
        own = self._of(label)
        found = 1 + (self.logits > own[..., None]).sum(-1).double()
        return np.asarray(found.masked_fill(own.isnan(), float("nan")))

    def identifiability(self, label: Labels) -> np.ndarray:
        """1 - (rank - 1) / classes [site batch pos]: 1 where the class is the first, about 1/2 by chance.

        Source: Vilas et al. 2023, "Analyzing Vision Transformers for Image Classification in Class Embedding Space".
        """
        return np.asarray(1 - (self.rank(label) - 1) / len(self.names))

    def image(self, site: Site | str | int, label: Label | None = None, example: int = 0) -> DrawnInput:
        """One example in grey with the logit of a class above the mean of all classes at each position, at one site (or behind a layer).

        label: by default the class that the model answers. Raises: InterpError for an unknown site, class or example, and where the
        inputs are text or not all positions were kept.
        """
        wanted = str(Site("resid_post", int(str(site))) if is_whole(site) else site)
        known = list(map(str, self.sites))
        if wanted not in known:
            raise InterpError(unknown("site", wanted, known))
        if not 0 <= example < len(self.positions):
            raise InterpError(f"example {example}: expected 0 to {len(self.positions) - 1}.")
        if not self.drawn or len(self.drawn[example].places) != len(self.positions[example]):
            raise InterpError("image: expected inputs with a picture, read at all positions (positions=None).")
        chosen = int(self.output[example].argmax()) if label is None else self._number(label)
        logits = self.logits[known.index(wanted), example]
        values = tuple((logits[:, chosen] - logits.mean(-1)).double().tolist())
        what = f"{self.names[chosen]} at {wanted}"
        return DrawnInput(self.drawn[example], self.positions[example], values, "logits", what)

    def to_pandas(self, k: int = 1) -> Any:
        """A row per site, example, real position and rank: example, site, position, input, rank, class, probability, logit."""
        probabilities, rows = self.probabilities, []
        for s, site in enumerate(self.sites):
            for b, names in enumerate(self.positions):
                for p, name in enumerate(names):
                    best = probabilities[s, b, p].topk(min(k, len(self.names)))
                    for rank, (i, share) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
                        rows.append((b, str(site), p, name, rank, self.names[i], share, float(self.logits[s, b, p, i])))
        return lines_of(("example", "site", "position", "input", "rank", "class", "probability", "logit"), rows)

    def _of(self, label: Labels) -> Tensor:
        """The logit of a class [site batch pos]."""
        alone = isinstance(label, str) or is_whole(label)
        labels = [label] * len(self.positions) if alone else list(label)  # type: ignore[arg-type]
        if len(labels) != len(self.positions):
            raise InterpError(
                f"{len(labels)} labels for {len(self.positions)} examples; give one for all, or one for each."
            )
        numbers = torch.tensor([self._number(own) for own in labels])
        index = numbers[None, :, None, None].expand(*self.logits.shape[:-1], 1)
        return self.logits.gather(-1, index)[..., 0]

    def _number(self, label: Any) -> int:
        if isinstance(label, str):
            if label not in self.names:
                raise InterpError(unknown("class", label, self.names))
            return self.names.index(label)
        if not is_whole(label) or not 0 <= label < len(self.names):
            raise InterpError(f"class {label!r:.80}; expected a name, or a number from 0 to {len(self.names) - 1}.")
        return int(label)

    def __str__(self) -> str:
        n_sites, batch, pos, n = self.logits.shape
        sites = f"{self.sites[0]} to {self.sites[-1]}" if n_sites > 1 else str(self.sites[0])
        return printed(f"ClassLens({n_sites} sites, {sites}, {batch} examples, {pos} positions, {n} classes)")

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(card(self))


Positions = str | int | Sequence[str | int]


def class_lens(model: Any, given: Any, sites: Sequence[Site], positions: Positions | None) -> ClassLens:
    """The lens of a model with one output for each input: its head on each position alone. See `interp.logit_lens`.

    Raises: LayoutError where the head is not known as modules that read one position, or all of them on average; TaskError for positions
    that an example does not have.
    """
    head = _head(model)
    with settled(model.device), torch.no_grad():
        inputs = taken(model, given)
        names, at = _names(model, inputs), [answers_at(model, one) for one in _singles(inputs)]
        kept = None if positions is None else _places(names, positions)
        last = Site("resid_post", model.layout.n_layers - 1)
        run = model.run(inputs, reads=[*sites, last])
        _check(model, head(run[last]), list(map(len, names)), at, run.logits[:, 0])
        logits = torch.stack([wide(head(run[site] if kept is None else run[site][:, kept])).cpu() for site in sites])
    shown = names if kept is None else [tuple(own[i] for i in kept) for own in names]
    for b, own in enumerate(shown):
        logits[:, b, len(own) :] = float("nan")
    read = at[0] if kept is None or at[0] is None else kept.index(at[0]) if at[0] in kept else None
    # Examples of several lengths whose last token is read have no one place for it.
    read = read if len(set(at)) == 1 else None
    drawn = pictures(model, _singles(inputs), _numbered(len(names))) if isinstance(inputs, Inputs) else None
    output = wide(run.logits[:, 0]).cpu()
    return ClassLens(tuple(sites), tuple(shown), logits, output, read, model.outputs.names, drawn or (), model.name)


def _numbered(n: int) -> list[str]:
    return [f"example {i}" for i in range(n)]


def _singles(given: Tokens | Inputs) -> list[Any]:
    """Each example alone, without its padding."""
    if isinstance(given, Tokens):
        types = [None] * len(given.ids) if given.types is None else list(given.types)
        rows = zip(given.ids, given.mask, types, strict=True)
        return [Tokens(ids[m][None], m[m][None], None if own is None else own[m][None]) for ids, m, own in rows]
    n = len(given)
    return [Inputs({k: x[i : i + 1] if x.ndim else x for k, x in given.tensors.items()}, given.main) for i in range(n)]


def _names(model: Any, given: Tokens | Inputs) -> list[tuple[str, ...]]:
    """What stands at the positions of each example; of one shape they are called alike."""
    if isinstance(given, Inputs):
        return [model.positions(_singles(given)[0])] * len(given)
    return [model.positions(one) for one in _singles(given)]


def _places(names: Sequence[tuple[str, ...]], positions: Positions) -> list[int]:
    """Positions by name or number as numbers, the same in all examples. Raises: TaskError."""
    asked = list(positions) if isinstance(positions, (list, tuple)) else [positions]
    found = [[_place(own, p) for p in asked] for own in names]
    if not asked or any(places != found[0] for places in found):
        raise TaskError("positions: expected one or more that stand at the same places in all examples.")
    return found[0]


def _place(names: tuple[str, ...], p: Any) -> int:
    """The number of a position. Raises: TaskError."""
    if isinstance(p, str) and names.count(p) != 1:
        raise TaskError(
            f"positions: {p!r:.60} stands {names.count(p)} times in an example; expected once, or a number."
        )
    if not isinstance(p, str) and not (is_whole(p) and 0 <= p < len(names)):
        raise TaskError(f"positions: {p!r:.60}; expected names, or numbers from 0 to {len(names) - 1}.")
    return names.index(p) if isinstance(p, str) else int(p)


def _head(model: Any) -> Callable[[Tensor], Tensor]:
    """The output of the model for a stream [... d_model] that is one position alone: [... class]. Raises: LayoutError."""
    layout, get = model.layout, model.hf.get_submodule
    if not layout.head and (layout.readout != "mean" or layout.unembed is None):
        raise LayoutError(
            f"logit lens: what this model makes of its last stream ({layout.readout}) is not known as modules that read one position, one after "
            "the other."
        )

    def through(x: Tensor) -> Tensor:
        with reserved(model.hf):
            if layout.head:
                found = Readout(model, None).logits(x.flatten(0, -2)[:, None], Counts())
                return found.view(*x.shape[:-1], -1)
            made: Tensor = get(layout.unembed)(x if layout.ln_final is None else get(layout.ln_final)(x))
            return made if layout.logits_scale == 1.0 else made * layout.logits_scale

    return through


def _check(model: Any, found: Tensor, n: Sequence[int], at: Sequence[int | None], output: Tensor) -> None:
    """found: what the head makes of each position of the last stream [batch pos class]; n: how many are real, at: which is read, None for all.

    Raises: LayoutError where that is not the model's output [batch class].
    """
    own = [y[:length].mean(0) if i is None else y[i] for y, i, length in zip(found, at, n, strict=True)]
    if not close(torch.stack(own), output):
        raise LayoutError(
            f"logit lens: the head of {type(model.hf).__name__}, on the position that it reads, does not give its output; it does more than its "
            "modules say."
        )
