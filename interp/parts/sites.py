"""The name of every place in a forward pass.

A site is written `kind.layer` (`resid_pre.3`, `z.0`) or `kind` alone (`embed`, `logits`; for a layered kind the
bare name means all layers). TransformerLens hook names are aliases: `blocks.3.attn.hook_z` is `z.3`.

| kind | shape | what |
| --- | --- | --- |
| embed | batch pos d_model | what enters the first block: token (+ position) embedding |
| resid_pre, resid_mid, resid_post | batch pos d_model | the residual stream before attention, between, after the MLP |
| resid_attn, resid_mlp | batch pos d_model | the residual stream and what attention / MLP adds to it, before the norm that acts on their sum, where one does |
| layer_input | batch pos d_input | what a block is given of the tokens beside the stream, which multiplies what a second MLP makes, where there is such |
| attn_in, mlp_in | batch pos d_model | the copy of the residual stream that attention / MLP alone reads, before its norm |
| attn_out, mlp_out | batch pos d_model | what attention / MLP adds to the residual stream |
| q, k, v | batch pos head d_head (K/V heads for k, v) | as they enter the attention function: after rotary and q/k norm |
| pattern | batch head q_pos k_pos | attention probabilities |
| z | batch pos head d_head | input of the output projection, per query head |
| mlp_normed | batch pos d_model | what the norm before the MLP makes: the input of the MLP |
| mlp_pre | batch pos d_mlp | input of the activation function |
| mlp_up | batch pos d_mlp | of a gated MLP what the activation's output is multiplied by: what its up projection makes |
| mlp_post | batch pos d_mlp | neurons: input of the MLP's output projection |
| cross_in, cross_q, cross_k, cross_v, cross_pattern, cross_z, cross_out | as in attention; k_pos of cross_k, cross_v and cross_pattern are the encoder's | attention of a decoder's block to the encoder's stream |
| resid_cross | batch pos d_model | the residual stream between that and the MLP (resid_mid is before it) |
| mixer_out, second_mlp_out | batch pos d_model | what a mixer of positions beside attention, or a second MLP, adds to the residual stream, where a block has one |
| resid_final | batch pos d_model | what enters the final norm |
| logits | batch pos d_vocab | what the model returns |

Of a model with several stacks, those of the one that the output is read of have these names; others have a prefix: `encoder:z.3`,
`encoder:embed`; of two towers both have one (`vision:z.3`, `text:z.3`). TransformerLens' `encoder_blocks.3.attn.hook_z` is `encoder:z.3`,
and `decoder_blocks.3.attn.hook_z` or `decoder:z.3` is `z.3`.

A module by its path is a site too, on every model: `module:features.4` is what it returns, `module:features.4:in` what it is called with, in the
module's own shape, batch first (of several tensors the first). A net without blocks has these, `embed`, which is its input with its places as
positions [batch pos channel], and `logits`.

Where a dictionary is spliced in, its site has two parts, which are sites too: `resid_post.3.features` [batch pos feature] and
`resid_post.3.error` [batch pos d_model], heads concatenated at z (see `interp.dictionaries.splice`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from interp.errors import SiteError, unknown
from interp.whole_numbers import whole

LAYERED: Final = (
    "resid_pre", "layer_input", "attn_in", "q", "k", "v", "pattern", "z", "attn_out",
    "resid_attn", "resid_mid", "cross_in", "cross_q", "cross_k", "cross_v", "cross_pattern", "cross_z", "cross_out", "resid_cross",
    "mixer_out", "second_mlp_out", "mlp_in", "mlp_normed", "mlp_pre", "mlp_up", "mlp_post", "mlp_out", "resid_mlp", "resid_post",
)  # fmt: skip
GLOBAL: Final = ("embed", "resid_final", "logits")
#: What comes from the tokens and not from the blocks: gradients end there.
ENTERING: Final = ("embed", "layer_input")
#: What comes before the kind of a site of attention to another stack.
CROSS: Final = "cross_"
#: What parts beside attention and MLP add, which few blocks have.
FURTHER: Final = ("mixer_out", "second_mlp_out")
#: Sums that a norm acts on, by the part of the block that adds to them.
SUMS: Final = {"resid_attn": "attn", "resid_mlp": "mlp"}
_INSIDE: Final = ("q", "k", "v", "pattern")
ATTENTION_KINDS: Final = frozenset((*_INSIDE, *(CROSS + kind for kind in _INSIDE)))
#: The kind of a module by its path, as its name begins, and what stands behind the path where its input is meant.
MODULE: Final = "module"
_BEGINS, _INPUT = f"{MODULE}:", ":in"
#: What a dictionary makes of a site.
PARTS: Final = ("features", "error")

_TRANSFORMER_LENS: Final = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_in": "attn_in",
    "hook_attn_out": "attn_out",
    "hook_mlp_in": "mlp_in",
    "mlp.hook_in": "mlp_normed",
    "hook_mlp_out": "mlp_out",
    "attn.hook_rot_q": "q",
    "attn.hook_rot_k": "k",
    "attn.hook_q": "q",
    "attn.hook_k": "k",
    "attn.hook_v": "v",
    "attn.hook_pattern": "pattern",
    "attn.hook_z": "z",
    "mlp.hook_pre": "mlp_pre",
    "mlp.hook_post": "mlp_post",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_STACK = re.compile(r"([a-z_]+):(.+)|(encoder|decoder)_(blocks\..+)")
_NAME = re.compile(r"([a-z_]+)(?:\.(\d+))?")
_PART = re.compile(r"(.+)\.(features|error)")


@dataclass(frozen=True, order=True)
class Site:
    """One place in a forward pass: a kind, and a layer for the kinds that have one.

    `part`: `features` or `error` of the dictionary there; empty for the place itself. `stack`: the prefix of its stack, where that has one. Of
    kind `module`: the `path` of the module, and whether its input is meant and not what it returns; `Site("module", "features.4")` says
    the same.
    """

    kind: str
    layer: int | None = None
    part: str = ""
    stack: str = ""
    path: str = ""
    into: bool = False

    def __post_init__(self) -> None:
        if self.kind == MODULE:
            self._check_module()
            return
        if self.path or self.into:
            raise SiteError(f"site {self.kind!r}: given path {self.path!r}; only kind {MODULE!r} has one.")
        if self.kind not in LAYERED and self.kind not in GLOBAL:
            raise SiteError(unknown("site", self.kind, (*LAYERED, *GLOBAL)))
        if (self.kind in LAYERED) != (self.layer is not None):
            what = "needs a layer" if self.kind in LAYERED else "has no layer"
            raise SiteError(f"site {self.kind!r} {what}; given layer {self.layer!r}.")
        if self.layer is not None and type(self.layer) is not int:
            object.__setattr__(self, "layer", whole(self.layer, f"layer of site {self.kind!r}", SiteError))
        if self.stack and self.kind == "logits":
            raise SiteError(f"site '{self.stack}:logits': logits are those of the whole model: 'logits'.")
        if self.part not in ("", *PARTS):
            raise SiteError(unknown("part of a site", self.part, PARTS))

    def _check_module(self) -> None:
        if isinstance(self.layer, str) and not self.path:
            object.__setattr__(self, "path", self.layer)
            object.__setattr__(self, "layer", None)
        if not isinstance(self.path, str) or self.layer is not None or self.part:
            raise SiteError(
                f"site of a module: given {self.path!r:.80}, layer {self.layer!r}, part {self.part!r}; expected a path alone."
            )
        if self.path.endswith(_INPUT):
            object.__setattr__(self, "path", self.path.removesuffix(_INPUT))
            object.__setattr__(self, "into", True)
        if not self.path:
            raise SiteError("site of a module without a path: expected a name such as 'module:features.4'.")

    def __str__(self) -> str:
        if self.kind == MODULE:
            return f"{_BEGINS}{self.path}{_INPUT * self.into}"
        name = ".".join(str(x) for x in (self.kind, self.layer, self.part or None) if x is not None)
        return f"{self.stack}:{name}" if self.stack else name

    @property
    def place(self) -> Site:
        """The site itself, of a part of it."""
        return replace(self, part="")


SiteLike = str | Site


def no_stack(name: str, names: Iterable[str]) -> str:
    """What to say where a model has no stack of this name, but those."""
    shown = ", ".join(f"'{known}:'" if known else "none" for known in names)
    given = f"prefix '{name}:'" if name else "no prefix"
    return f"{given}; this model's streams have the prefixes: {shown}."


def order(site: Site) -> tuple[bool, str, float, int]:
    """Where a site is in the forward pass: a key to sort by. Stacks with a prefix come first."""
    if site.layer is None:
        where = (-1.0, 0) if site.kind == "embed" else (float("inf"), 0)
    else:
        where = float(site.layer), LAYERED.index(site.kind)
    return (not site.stack, site.stack, *where)


def parse(site: SiteLike, layers: Mapping[str, int], *, rotary: bool = False) -> list[Site]:
    """The sites that a name means on a model whose stacks have so many `layers` by name: one, or one per layer for a bare layered kind.

    `rotary`: the model rotates q and k; TransformerLens' `hook_q`, which is q before rotation, is then refused.

    Raises: SiteError, with the near names, for an unknown kind, stack, or a layer out of range.
    """
    if isinstance(site, Site):
        found = [site]
    elif not isinstance(site, str):
        raise SiteError(f"site {site!r:.80}: expected a name such as 'z.3', or a Site.")
    elif site.startswith(_BEGINS):
        found = [Site(MODULE, path=site.removeprefix(_BEGINS))]
    elif prefixed := _STACK.fullmatch(site):
        stack = _stack(prefixed[1] or prefixed[3], layers)
        found = _parsed(prefixed[2] or prefixed[4], stack, layers.get(stack, 0), rotary)
    else:
        found = _parsed(site, "", layers.get("", 0), rotary)
    for one in found:
        if one.stack not in layers and one.kind not in ("logits", MODULE):
            raise SiteError(f"site {str(site)!r}: {no_stack(one.stack, layers)}")
        n_layers = layers.get(one.stack, 0)
        if one.layer is not None and not 0 <= one.layer < n_layers:
            raise SiteError(
                f"site {str(site)!r}: layer {one.layer} does not exist; this model has layers 0 to {n_layers - 1}."
            )
    return found


def _stack(prefix: str, layers: Mapping[str, int]) -> str:
    """The stack that a prefix means: `decoder` is the one without a prefix, beside an encoder."""
    return "" if prefix == "decoder" and "encoder" in layers and "" in layers else prefix


def _parsed(site: str, stack: str, n_layers: int, rotary: bool) -> list[Site]:
    """The sites of one stack that a name without a prefix means. Raises: SiteError for an unknown one."""
    if part := _PART.fullmatch(site):
        return [replace(at, part=part[2]) for at in _parsed(part[1], stack, n_layers, rotary)]
    if match := _BLOCK.fullmatch(site):
        return [Site(_alias(match[2], site, rotary), int(match[1]), stack=stack)]
    if site in ("hook_embed", "hook_pos_embed"):
        raise SiteError(f"site {site!r}: token and position embeddings are one site here, 'embed' (their sum).")
    if (match := _NAME.fullmatch(site)) and match[1] in LAYERED:
        layers = range(max(1, n_layers)) if match[2] is None else [int(match[2])]
        return [Site(match[1], layer, stack=stack) for layer in layers]
    if site in GLOBAL:
        return [Site(site, stack=stack)]
    if is_place((ends := site.rpartition("."))[0]) and not ends[2].isdecimal():
        raise SiteError(unknown(f"part of site {ends[0]!r}", ends[2], PARTS))
    raise SiteError(unknown("site", site, (*LAYERED, *GLOBAL)))


def kind_of(site: SiteLike) -> str:
    """The kind that a name speaks of, whatever the layer; the name itself where it is unknown."""
    if isinstance(site, Site):
        return site.kind
    if site.startswith(_BEGINS):
        return MODULE
    site = site if (part := _PART.fullmatch(site)) is None else part[1]
    site = site if (prefixed := _STACK.fullmatch(site)) is None else prefixed[2] or prefixed[4]
    if match := _BLOCK.fullmatch(site):
        return _TRANSFORMER_LENS.get(match[2], site)
    return site.split(".")[0]


def is_place(name: str) -> bool:
    """Whether a name has the form of one site, without a part, whatever the layer: `resid_post.3`, `embed`."""
    found = _NAME.fullmatch(name)
    return found is not None and found[1] in (GLOBAL if found[2] is None else LAYERED)


def part_of(site: SiteLike) -> str:
    """`features` or `error` where a name speaks of a part of a site; else empty."""
    if isinstance(site, Site):
        return site.part
    if site.startswith(_BEGINS):
        return ""
    return found[2] if (found := _PART.fullmatch(site)) else ""


def _alias(hook: str, given: str, rotary: bool) -> str:
    """Our kind for a TransformerLens hook name within a block."""
    if hook not in _TRANSFORMER_LENS:
        raise SiteError(unknown("TransformerLens hook", given, (f"blocks.0.{name}" for name in _TRANSFORMER_LENS)))
    if rotary and hook in ("attn.hook_q", "attn.hook_k"):
        raise SiteError(
            f"site {given!r} is before rotary embedding in TransformerLens; q and k are read after it here: "
            f"write {given.replace('hook_', 'hook_rot_')!r} if that is what you mean."
        )
    return _TRANSFORMER_LENS[hook]


def hook_name(site: Site) -> str:
    """The TransformerLens name of a site within a block. Raises: SiteError for one that has none."""
    names = [hook for hook, kind in _TRANSFORMER_LENS.items() if kind == site.kind]
    if site.layer is None or site.part or site.stack or not names:
        raise SiteError(f"site '{site}' has no TransformerLens name.")
    return f"blocks.{site.layer}.{names[0]}"
