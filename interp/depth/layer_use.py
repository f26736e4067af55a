"""What each layer is used for: how large what it adds is, where that points, and what becomes of the model without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from interp.depth.later_layers import later_changes
from interp.depth.layer_scores import without
from interp.depth.material import Material
from interp.depth.outcomes import Sums, log_probabilities, outcome
from interp.depth.removal import Part, run_without, stream_sites, streams_of
from interp.depth.stream_measures import STREAM_MEASURES, Seams, StreamSums, void_shares
from interp.errors import MethodError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.lenses.lens import stream_logits
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.precision import wide

#: What can be asked for: the columns that it has.
WHAT: Final[dict[str, tuple[str, ...]]] = {
    "streams": tuple(STREAM_MEASURES),
    "lens": ("lens_kl",),
    "voids": ("voids",),
    "skips": ("skip_cross_entropy", "skip_kl"),
    "later": (),
    "future": (),
}
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False, repr=False)
class LayerUse(Table):
    """What each layer, its attention and its MLP do, means over tokens.

    layers, parts: of each row its layer and its part (`attention`, `mlp` or `block`, the whole layer). measures: see `layer_use`; values
    [row measure], nan where a part has none. later, future: [layer layer], see there; empty where not asked for. cross_entropy: of the
    full model in nats, nan where nothing asked for it. Units: lengths of the stream, nats.
    """

    layers: tuple[int, ...]
    parts: tuple[str, ...]
    measures: tuple[str, ...]
    values: np.ndarray = field(metadata=along(0, finite=False))
    n: int
    later: Matrix = ()
    future: Matrix = ()
    cross_entropy: float | None = None
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        n = len(self.layers)
        check_sizes(self, parts=((len(self.parts),), (n,)), values=(self.values.shape, (n, len(self.measures))))

    def __getitem__(self, name: str) -> np.ndarray:
        """One measure of every row [row]. Raises: MethodError with the near names."""
        if name not in self.measures:
            raise MethodError(unknown("measure", name, self.measures))
        return np.asarray(self.values[:, self.measures.index(name)])

    def of(self, part: str, measure: str) -> np.ndarray:
        """One measure of one part of every layer that has it [layer]. Raises: MethodError."""
        if part not in self.parts:
            raise MethodError(unknown("part", part, set(self.parts)))
        return np.asarray(self[measure][[own == part for own in self.parts]])

    def to_pandas(self) -> Any:
        """A row per layer and part: layer, part, and a column for each measure."""
        named = {name: self.values[:, i] for i, name in enumerate(self.measures)}
        return rows_of({"layer": list(self.layers), "part": list(self.parts), **named})

    def __str__(self) -> str:
        n = len(set(self.layers))
        lines = [f"LayerUse({n} layers, {self.n:,} tokens, {visible(self.model, 80)})"]
        for i, (layer, part) in enumerate(zip(self.layers, self.parts, strict=True)):
            shown = ", ".join(f"{m} {v:.3f}" for m, v in zip(self.measures, self.values[i], strict=True) if v == v)
            if part == "block":
                lines.append(f"  layer {layer:<3} {shown}")
        return printed("\n".join(lines[:60]))


@kinds_checked
def layer_use(
    model: Any,
    text: Any,
    *,
    what: Sequence[str] = ("streams",),
    alpha: float | None = None,
    running: bool = True,
    keep_bos: bool = False,
    batch_size: int | None = None,
) -> LayerUse:
    """What each layer, its attention and its MLP do to the stream, and what becomes of the model without them.

    text: texts, ids, other inputs as `model.run` takes them, or a task. keep_bos: the first position counts; by default it is left out, as its
    stream is many times longer. what: any of
    `streams` (1 forward): norm_in |x|, norm |a|, relative |a| / |x|, cosine of a and x, influence 1 - cos(x, y), for what a part reads of the stream x, what
    it adds a and the stream behind it y; `lens` (1 forward, an unembedding for each layer): KL divergence of what the logit lens says behind a layer from the
    final distribution; `voids` (1 forward): the share of tokens for which a layer is a void by `alpha` (see `void_shares`; nobody
    published a default, so it must be given) and `running`; `skips` (a forward from its layer on for each part): cross-entropy, and KL divergence
    from the full model, without it; `later`, `future` (half a forward for each layer): see `later_changes`.

    Raises: MethodError for something else; LayoutError for nets without blocks and several stacks; TaskError for texts of one token.
    """
    asked = _asked(what, alpha)
    material = Material.of(model, text, keep_bos=keep_bos, batch_size=batch_size, what="layer use")
    with settled(model.device), torch.no_grad():
        found = _Looking(model, material, asked, 0.0 if alpha is None else float(alpha), running)
        return found.looked()


def _asked(what: Sequence[str], alpha: float | None) -> tuple[str, ...]:
    """What is asked for. Raises: MethodError for nothing or something unknown, and for voids without a threshold."""
    names = (what,) if isinstance(what, str) else tuple(what)
    if not names:
        raise MethodError(f"what: nothing asked for; expected one or more of {', '.join(WHAT)}.")
    if odd := [name for name in names if name not in WHAT]:
        raise MethodError(unknown("what", odd[0], WHAT))
    if ("voids" in names) != (alpha is not None):
        raise MethodError(
            "alpha belongs to what=['voids'], which needs it: no default is published; give for example alpha=0.5."
        )
    return names


@dataclass
class _Looking:
    """One call of `layer_use`."""

    model: Any
    material: Material
    what: tuple[str, ...]
    alpha: float
    running: bool

    def looked(self) -> LayerUse:
        if {"skips", "lens"} & set(self.what):
            self.material.check_predicts("skips and lens")
        if "lens" in self.what:
            self.model.layout.check_head("lens")
        seams = Seams.of(self.model)
        columns = {name: np.full(len(seams.parts), np.nan) for what in self.what for name in WHAT[what]}
        places = {part: i for i, part in enumerate(seams.parts)}
        n = self._one_forward(seams, columns, places) if {"streams", "lens", "voids"} & set(self.what) else 0
        full = self._skips(seams, columns, places) if "skips" in self.what else None
        squares = {
            name: _plain(later_changes(self.model, self.material, future=name == "future"))
            for name in ("later", "future")
            if name in self.what
        }
        return LayerUse(
            tuple(part.layer for part in seams.parts),
            tuple(part.kind for part in seams.parts),
            tuple(columns),
            np.stack([*columns.values()], 1) if columns else np.zeros((len(seams.parts), 0)),
            cross_entropy=full,
            n=n or sum(len(p.places) * (p.length - p.first) for p in self.material),
            model=self.model.name,
            task=self.material.name,
            **squares,
        )

    def _one_forward(self, seams: Seams, columns: dict[str, np.ndarray], places: dict[Part, int]) -> int:
        """What one forward tells; how many tokens there were."""
        layers = range(self.model.layout.n_layers)
        sums, tokens = StreamSums(), 0
        voids, lens, read = np.zeros(len(layers)), np.zeros(len(layers)), 0
        sites = dict.fromkeys([*(seams.sites if "streams" in self.what else ()), *stream_sites(layers)])
        posts = [Site("resid_post", layer) for layer in layers] if "lens" in self.what else []
        for prompts in self.material:
            keep = None if posts else 1
            run = run_without(self.model, prompts, (), reads=[*dict.fromkeys([*sites, *posts])], keep=keep)
            n = len(prompts.places) * (prompts.length - prompts.first)
            tokens += n
            if "streams" in self.what:
                sums.add(seams, run.reads, prompts.first)
            if "voids" in self.what:
                streams = streams_of(run.reads, layers, len(layers))
                norms = [wide(streams[i])[:, prompts.first :].norm(dim=-1).flatten() for i in range(len(layers) + 1)]
                voids += n * void_shares(torch.stack(norms), self.alpha, self.running).cpu().numpy()
            if posts:
                final = log_probabilities(prompts, run.logits)
                each = [log_probabilities(prompts, stream_logits(self.model, run[site])) for site in posts]
                lens += [float(outcome(prompts, one, final).kl.double().sum()) for one in each]
                read += final[..., 0].numel()
        for part, place in places.items():
            for name in STREAM_MEASURES if "streams" in self.what else ():
                columns[name][place] = sums.mean(part, name)
            if part.kind == "block" and "voids" in self.what:
                columns["voids"][place] = voids[part.layer] / tokens
            if part.kind == "block" and posts:
                columns["lens_kl"][place] = lens[part.layer] / read
        return tokens

    def _skips(self, seams: Seams, columns: dict[str, np.ndarray], places: dict[Part, int]) -> float:
        """What becomes of the model without each part; the cross-entropy of the full model."""
        n = self.model.layout.n_layers
        sums = {part: Sums(len(self.material)) for part in places}
        whole = Sums(len(self.material))
        for prompts in self.material:
            base = run_without(self.model, prompts, (), reads=stream_sites(range(n)))
            streams, full = streams_of(base.reads, range(n), n), log_probabilities(prompts, base.logits)
            whole.add(prompts.places, outcome(prompts, full))
            for part, own in sums.items():
                logits = without(self.model, prompts, (), part, streams)
                own.add(prompts.places, outcome(prompts, log_probabilities(prompts, logits), full))
        for part, place in places.items():
            columns["skip_cross_entropy"][place], columns["skip_kl"][place] = sums[part].mean[:2]
        return float(whole.mean[0])


def _plain(values: np.ndarray) -> Matrix:
    return tuple(tuple(map(float, row)) for row in values)
