"""Into what the pre-activation of a feature of z is split: source tokens, heads, writers into the stream, features of it.

Axis words: `example feature part source d_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.effects.source_runs import Reader, SourceRun
from interp.errors import LayoutError, MethodError
from interp.lenses.stream import FINAL, Stream
from interp.model.modules.tensors import close
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.registries import About, Registry

Parts = tuple[tuple[str, ...], Tensor]
_WHAT: Final = "sources of features"


@dataclass(frozen=True)
class Split:
    """A way to split: what it reads, and what it makes of a run, names of parts and what they add [example feature part].

    gradients: whether it needs the way back to the stream. check: refuses what it cannot split.
    """

    name: str
    function: Callable[[SourceRun], Parts]
    sites: Callable[[Reader], list[Site]]
    formula: str
    cost: str
    source: str
    gradients: bool = False
    check: Callable[[Reader], None] = lambda reader: None

    @property
    def about(self) -> About:
        return About(self.formula, "of the encoder", self.cost, self.source)


# ---------------------------------------------------------------- tokens and heads


def _inside(reader: Reader) -> list[Site]:
    return [reader.site("pattern"), reader.site("v")]


def _tokens(run: SourceRun) -> Parts:
    parts = run.by_head().sum(2)
    return tuple(map(str, range(parts.shape[-1]))), parts


def _heads(run: SourceRun) -> Parts:
    parts = run.by_head().sum(3)
    return tuple(f"a{run.reader.layer}.h{h}" for h in range(parts.shape[-1])), parts


# ---------------------------------------------------------------- what wrote the stream


def _check_stream(reader: Reader) -> None:
    """Raises: MethodError, LayoutError where the values are not made of the stream in front of the block."""
    layout = reader.model.layout
    if reader.dictionary.site.stack:
        raise MethodError(
            f"split 'writers' at '{reader.dictionary.site}': only the stack that the output is read of has writers; split by tokens."
        )
    layout.check_sum(_WHAT)
    if layout.blocks[reader.layer].attn.kv_layer is not None:
        raise LayoutError(
            f"layer {reader.layer} attends to values of another layer: what wrote its stream is not in them; split by tokens."
        )


def _written_sites(reader: Reader) -> list[Site]:
    blocks = list(enumerate(reader.model.layout.blocks))[: reader.layer]
    attention = [Site("z" if block.attn.heads else "attn_out", i) for i, block in blocks if block.attn]
    return [
        reader.site("resid_pre"),
        Site("embed"),
        *attention,
        *(Site("mlp_out", i) for i, block in blocks if block.mlp),
    ]


def _writers(run: SourceRun) -> Parts:
    """Each writer at every position, by what the feature reads of the stream there."""
    reader, back = run.reader, run.on_stream.flatten(1, 2)  # [feature example*pos d_model]
    shape = run.at.shape[0], run.z.shape[1]
    values = {site: run.run[site].detach().double().flatten(0, 1) for site in _written_sites(reader)}
    stream = Stream(reader.model, {**values, FINAL: values[reader.site("resid_pre")]})
    names, adds, total = [], [], torch.zeros_like(stream.values[FINAL])

    def count(names_of: list[str], parts: Tensor) -> None:  # [example*pos part d_model]
        nonlocal total
        names.extend(names_of)
        total = total + parts.sum(1)
        adds.append(torch.einsum("fnd,npd->fnp", back, parts).view(len(back), *shape, -1).sum(2))

    count(["embed"], values[Site("embed")][:, None])
    for i, block in list(enumerate(reader.model.layout.blocks))[: reader.layer]:
        if block.attn and not block.attn.heads:
            count([f"attn_out.{i}"], values[Site("attn_out", i)][:, None])
        elif block.attn:
            count([f"a{i}.h{h}" for h in range(block.attn.n_heads)], stream.heads(i))
            if (bias := stream.attention_bias(i)) is not None:
                count([f"bias.attn.{i}"], bias[:, None])
        if block.mlp:
            count([f"m{i}"], values[Site("mlp_out", i)][:, None])
    if not close(total.to(reader.model.dtype), values[reader.site("resid_pre")].to(reader.model.dtype)):
        raise LayoutError(
            f"{_WHAT}: the stream at layer {reader.layer} is not the sum of embedding, heads and MLPs; split by tokens."
        )
    return tuple(names), torch.cat(adds, 2).transpose(0, 1)


# ---------------------------------------------------------------- features of the stream


def _upstream(reader: Reader) -> Dictionary:
    """The dictionary of the stream that attention reads. Raises: MethodError where it is not the one given."""
    able = {Site("resid_pre", reader.layer)} | (
        {Site("resid_post", reader.layer - 1)} if reader.layer else {Site("embed")}
    )
    own = [d for d in reader.others if d.site in able and not d.transcoder]
    if len(own) != 1 or len(reader.others) != 1:
        given = ", ".join(f"'{d.site}'" for d in reader.others) or "none"
        wanted = " or ".join(f"'{site}'" for site in sorted(able, key=str))
        raise MethodError(
            f"split 'features': dictionaries of {given}; expected one, of the stream that layer {reader.layer} reads: {wanted}."
        )
    return own[0].to(device=reader.model.device)


def _check_features(reader: Reader) -> None:
    _check_stream(reader)
    _upstream(reader)


def _features(run: SourceRun) -> Parts:
    """Each feature of the stream at every position, what the decoder adds to all, and what the dictionary misses."""
    own, back = _upstream(run.reader), run.on_stream
    x = run.run[run.reader.site("resid_pre")].detach().to(own.dtype)
    f = own.encode(x)
    made, decoded = own.decode(f, x).double(), own.write(f, x).double()
    scale = own.scale(x)
    f = (f * scale).double()
    # [feature example pos d_model] with [unit d_model], a feature at a time: no tensor of all features, positions and units at once.
    units = torch.stack([torch.einsum("bpu,bpu->bu", f, one @ own.W_dec.double().T) for one in back], 1)
    rest = torch.stack([(back * part).sum((2, 3)).T for part in (made - decoded, x.double() - made)], -1)
    kind = own.site.kind
    names = [Node(f"{kind}.feature", own.site.layer, unit).name for unit in range(own.n_features)]
    ends = [f"bias of the decoder at {own.site}", Node(f"{kind}.error", own.site.layer).name]
    return (*names, *ends), torch.cat([units, rest], -1)


_KISSANE: Final = "Kissane et al. 2024"
SPLITS: Final = Registry(
    "split of sources",
    "interp.splits",
    MethodError,
    (
        Split("tokens", _tokens, _inside, "sum_h A_h[q, k] v_h[k] . W_enc[h]", "F + N_f H T d_head", _KISSANE),
        Split("heads", _heads, _inside, "sum_k A_h[q, k] v_h[k] . W_enc[h]", "F + N_f H T d_head", _KISSANE),
        Split(
            "writers",
            _writers,
            _written_sites,
            "sum_{h,k} A_h[q, k] x_writer[k] . (w / sigma_k) W_V W_enc[h]",
            "F + N_f backwards of one attention",
            _KISSANE,
            True,
            _check_stream,
        ),
        Split(
            "features",
            _features,
            lambda reader: [reader.site("resid_pre")],
            "the same of f_j[k] W_dec[j], with the error of the dictionary as a part",
            "F + N_f backwards of one attention",
            _KISSANE,
            True,
            _check_features,
        ),
    ),
)
