"""A dictionary in a run: what is at a site becomes features and error, which can be read and edited.

    x = decode(features) + error,   features = encode(x)          at an autoencoder's site
    x_out = decode(features) + error,   features = encode(x_in)   at a transcoder's target

Nothing edited: the run goes on with x itself, bit for bit. Features and error are then leaves: the gradient reaching x
reaches the error as it is, each feature through its decoder row, and what came before as if nothing were there. That is
the gradient of the model, since features and error together are x.

Edited: the run goes on with  x + (features' - features) W_dec + error' - error,  and gradients are those of that: what
came before is reached through the encoder as well. `rules` act in the encoder as `Dictionary.encode` says.

At z all heads are one vector; features [batch pos feature] and error [batch pos d_out] are in the dictionary's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.errors import SiteError, UnsupportedRuleError
from interp.ledger import product
from interp.parts.layout import Layout
from interp.parts.sites import CROSS, ENTERING, LAYERED, Site, SiteLike, order, parse
from interp.rules.rules import Rules

Visit = Callable[[Site, Tensor], Tensor]
Dictionaries = Mapping[Site, Dictionary]


class _Spliced(torch.autograd.Function):
    """Forward: x. Backward: its gradient to x and the error, and through the decoder to the features."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, features: Tensor | None, error: Tensor | None, W_dec: Tensor, scale: Tensor | float
    ) -> Tensor:
        ctx.W_dec, ctx.scale = W_dec, scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        wide = grads[0].to(ctx.W_dec.dtype).flatten(2)
        features = product(wide * ctx.scale, ctx.W_dec.T) if ctx.needs_input_grad[1] else None
        return grads[0], features, wide if ctx.needs_input_grad[2] else None, None, None


@dataclass(frozen=True)
class Splice:
    """One dictionary in one run: `reads` says which of its parts are read, `edits` which are edited."""

    dictionary: Dictionary
    reads: frozenset[str]
    edits: frozenset[str]
    rules: Rules

    def __call__(self, x: Tensor, entering: Tensor, visit: Visit) -> Tensor:
        """What the run goes on with for x [batch pos ...] at the target, `entering` being what is at the dictionary's site.

        visit: the tensor of a part after its edits, recorded if it is read.
        """
        if not self.edits:
            return self._seen(x, entering, visit)
        own, entering = self.dictionary, entering.flatten(2)
        features = own.encode(entering, self.rules)
        new = visit(self._site("features"), features.view_as(features))
        held = entering.detach() if self.rules.norm == "frozen" else entering
        change = own.write(new - features, held)
        if "error" in self.reads | self.edits:
            error = self._error(x, entering, features)
            change = change + visit(self._site("error"), error.view_as(error)) - error
        return x + change.view(x.shape).to(x.dtype)

    def _seen(self, x: Tensor, entering: Tensor, visit: Visit) -> Tensor:
        """x itself, with features and error as leaves where they are read."""
        own, entering = self.dictionary, entering.detach().flatten(2)
        with torch.no_grad():
            features = own.encode(entering)
            parts = {"features": features}
            if "error" in self.reads:
                parts["error"] = self._error(x.detach(), entering, features)
        read = {part: parts[part].requires_grad_(torch.is_grad_enabled()) for part in self.reads}
        for part, value in read.items():
            visit(self._site(part), value)
        if not torch.is_grad_enabled():
            return x
        leaves = read.get("features"), read.get("error")
        found: Tensor = _Spliced.apply(x, *leaves, own.W_dec, own.scale(entering))  # type: ignore[no-untyped-call]
        return found

    def _site(self, part: str) -> Site:
        return Site(self.dictionary.target.kind, self.dictionary.target.layer, part)

    def _error(self, x: Tensor, entering: Tensor, features: Tensor) -> Tensor:
        """What the dictionary does not make up [batch pos d_out]."""
        return x.flatten(2).to(self.dictionary.dtype) - self.dictionary.decode(features, entering)


def make_splices(
    dictionaries: Dictionaries, reads: frozenset[Site], edits: Sequence[Site], rules: Rules
) -> dict[Site, Splice]:
    """The splices of a run, by target: of the dictionaries of which a part is read or edited."""
    found = {}
    for target, dictionary in dictionaries.items():
        read, edited = (frozenset(s.part for s in some if s.part and s.place == target) for some in (reads, edits))
        if edited and rules.secants:
            raise UnsupportedRuleError(
                f"edits of '{target}.{min(edited)}' under rules with secants: what an encoder does (TopK, JumpReLU) has no average "
                "between two runs. Read the features instead, or choose other rules."
            )
        if read | edited:
            found[target] = Splice(dictionary, read, edited, rules)
    return found


def check_dictionaries(given: Mapping[SiteLike, Dictionary], layout: Layout, widths: Mapping[str, int]) -> Dictionaries:
    """Dictionaries by the site that they make up. `widths`: the numbers per token of each kind of site that may have one.

    Raises: SiteError for a key that is not one site; DictionaryError for a value that is no dictionary, one of another
    site than its key, a second one of a site, or one of another width than this model's.
    """
    if not isinstance(given, Mapping):
        raise DictionaryError(
            f"dictionaries: given {type(given).__name__}; expected {{site: Dictionary}}, "
            "which interp.load_dictionaries(folder) gives."
        )
    found: dict[Site, Dictionary] = {}
    for key, dictionary in given.items():
        sites = parse(key, layout.layers, rotary=layout.rotary)
        if len(sites) != 1 or sites[0].part:
            raise SiteError(f"dictionaries: key {str(key)!r} is not one place; write one site, such as 'resid_post.3'.")
        if not isinstance(dictionary, Dictionary):
            raise DictionaryError(f"dictionaries[{str(key)!r}] is {type(dictionary).__name__}; expected a Dictionary.")
        if sites[0] != dictionary.target:
            raise DictionaryError(
                f"dictionaries[{str(key)!r}]: this dictionary makes up '{dictionary.target}'; give it under that name."
            )
        if sites[0] in found:
            raise DictionaryError(f"dictionaries: two of them make up {sites[0]}; give one for each site.")
        _check_fit(dictionary, widths)
        found[sites[0]] = dictionary
    return found


def _check_fit(dictionary: Dictionary, widths: Mapping[str, int]) -> None:
    """Refuse a dictionary of another width than this model's, or one that reads after what it makes up."""
    for site, d in ((dictionary.site, dictionary.d_in), (dictionary.target, dictionary.d_out)):
        if site.kind not in widths:
            raise DictionaryError(
                f"site '{site}' has no vector per token; expected one of {', '.join(kind for kind in widths if '.' not in kind)}."
            )
        if d != (here := widths.get(f"{site.kind}.{site.layer}", widths[site.kind])):
            raise DictionaryError(
                f"dictionary of '{site}' has width {d}; this model has {here} there. Was it trained on another model?"
            )
    if dictionary.transcoder and not _before(dictionary.site, dictionary.target):
        raise DictionaryError(f"'{dictionary.site}' comes after '{dictionary.target}': no transcoder can do that.")


def widths(layout: Layout) -> dict[str, int]:
    """Numbers per token of every kind of site that can have a dictionary; of layers whose heads are of other sizes also by site."""
    heads = {"z": layout.n_heads, "q": layout.n_heads, "k": layout.n_kv_heads, "v": layout.n_kv_heads}
    found = {kind: layout.d_model for kind in ("embed", *LAYERED, "resid_final") if not kind.endswith("pattern")}
    del found[ENTERING[1]]
    found |= {before + kind: n * layout.d_head for kind, n in heads.items() for before in ("", CROSS)}
    for layer, own in ((i, block.attn) for i, block in enumerate(layout.blocks) if block.attn and block.attn.heads):
        sizes = {"z": layout.n_heads, "q": layout.n_heads, "k": own.n_kv_heads, "v": own.n_kv_heads}
        odd = {kind: n * own.d_head for kind, n in sizes.items() if n * own.d_head != found[kind]}
        found |= {f"{kind}.{layer}": n for kind, n in odd.items()}
    return found | (dict.fromkeys(("mlp_pre", "mlp_post"), layout.d_mlp) if layout.d_mlp else {})


def _before(site: Site, target: Site) -> bool:
    return order(site) < order(target)
