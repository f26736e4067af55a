"""The dictionaries of a request, checked against the model: which site each belongs to, and whether it fits there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError
from interp.layout import Layout
from interp.sites import GLOBAL, LAYERED, Site, SiteLike

#: Where features can be patched, and (with these) what an encoder may read.
HOSTS: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z")
READ: Final = (*HOSTS, "attn_in", "mlp_in", "mlp_normed", "mlp_pre", "mlp_post", "resid_final")

Dictionaries = Mapping[Any, Dictionary] | str | Path
_ORDER: Final = {kind: i for i, kind in enumerate((*GLOBAL[:1], *LAYERED, *GLOBAL[1:]))}


def resolved(model: Any, level: str, given: Dictionaries | None) -> dict[Site, Dictionary]:
    """The dictionaries by target, in forward order; none at another level than `features`.

    given: a mapping from target to dictionary, or a folder of them. Raises: MethodError, DictionaryError, SiteError.
    """
    if level != "features":
        if given is not None:
            raise MethodError(f"dictionaries belong to level 'features'; given with level {level!r}.")
        return {}
    if given is None:
        raise MethodError(
            "level 'features' needs dictionaries: give dictionaries={site: dictionary}, or a folder of them."
        )
    if isinstance(given, str | Path):
        from interp.dictionaries.formats import load_dictionaries

        given = load_dictionaries(given)
    if not isinstance(given, Mapping) or not given:
        what = "none" if isinstance(given, Mapping) else type(given).__name__
        raise MethodError(f"dictionaries: given {what}; expected {{site: dictionary}} with one or more, or a folder.")
    found = [_checked(model, key, d) for key, d in given.items()]
    if twice := [d.target for i, d in enumerate(found) if d.target in [other.target for other in found[:i]]]:
        raise MethodError(f"dictionaries: two of them make up {twice[0]}; give one for each site.")
    return {d.target: d for d in sorted(found, key=lambda d: (d.target.layer or 0, _ORDER[d.target.kind]))}


def _checked(model: Any, key: SiteLike, d: Any) -> Dictionary:
    """Raises: DictionaryError where key, site or widths do not fit."""
    if not isinstance(d, Dictionary):
        raise DictionaryError(
            f"dictionaries: {key} is a {type(d).__name__}; expected a Dictionary (interp.load_dictionary makes one)."
        )
    if model.resolve(key) != [d.target]:
        raise DictionaryError(
            f"dictionaries: given under {str(key)!r}, but it makes up {d.target}: use that as its key."
        )
    for at, width, kinds in ((d.target, d.d_out, HOSTS), (d.site, d.d_in, READ)):
        if at.kind not in kinds:
            raise DictionaryError(f"{d!r}: features cannot be nodes at {at}; expected one of {', '.join(kinds)}.")
        model.resolve(at)
        if width != (own := _width(model.layout, at)):
            raise DictionaryError(
                f"{d!r}: {width} numbers per token at {at}, where this model has {own}; use a dictionary of this model."
            )
    return d


def _width(layout: Layout, at: Site) -> int:
    """Numbers per token at a site, heads together."""
    if at.kind == "z":
        return int(layout.n_heads * layout.d_head)
    return int(layout.d_mlp or 0) if at.kind in ("mlp_pre", "mlp_post") else int(layout.d_model)
