"""The dictionaries of a request, checked against the model: which site each belongs to, and whether it fits there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.splice import check_dictionaries, widths
from interp.errors import MethodError
from interp.parts.sites import Site, order

#: Where features can be patched, and (with these) what an encoder may read.
HOSTS: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z")
READ: Final = (*HOSTS, "attn_in", "mlp_in", "mlp_normed", "mlp_pre", "mlp_post", "resid_final")

Dictionaries = Mapping[Any, Dictionary] | str | Path


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
        from interp.dictionaries.storage import load_dictionaries

        given = load_dictionaries(given)
    if not isinstance(given, Mapping) or not given:
        what = "none" if isinstance(given, Mapping) else type(given).__name__
        raise MethodError(f"dictionaries: given {what}; expected {{site: dictionary}} with one or more, or a folder.")
    found = check_dictionaries(given, model.layout, widths(model.layout))
    for d in found.values():
        _check_places(model, d)
    return dict(sorted(found.items(), key=lambda item: order(item[0])))


def _check_places(model: Any, d: Dictionary) -> None:
    """Raises: DictionaryError where features cannot be nodes, SiteError for a place that this model lacks."""
    for at, kinds in ((d.target, HOSTS), (d.site, READ)):
        if at.kind not in kinds:
            raise DictionaryError(f"{d!r}: features cannot be nodes at {at}; expected one of {', '.join(kinds)}.")
        model.resolve(at)
