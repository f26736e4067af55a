"""Which site a stored dictionary belongs to: from what its files say, or from what the caller says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.errors import SiteError
from interp.parts.sites import MODULE, Site, SiteLike, hook_name, parse

#: More layers than any model has: the model is not known where a dictionary is read.
_LAYERS: Final = 1000
#: What HookedTransformer calls the input of the MLP; a bridge calls it `mlp.hook_in`.
_NORMED = re.compile(r"blocks\.(\d+)\.ln2\.hook_normalized")


@dataclass(frozen=True)
class Asked:
    """What the caller says of a dictionary's places; None: ask its files."""

    site: SiteLike | None = None
    target: SiteLike | None = None


def one_site(given: SiteLike) -> Site:
    """The one site that a name means. Raises: DictionaryError for a kind without a layer, a part of a site, an unknown name."""
    name = f"mlp_normed.{m[1]}" if isinstance(given, str) and (m := _NORMED.fullmatch(given)) else given
    try:
        found = parse(name, {"": _LAYERS}, rotary=True)
    except SiteError as error:
        raise DictionaryError(f"a dictionary's site: {error}") from error
    if found and found[0].kind == MODULE:
        raise DictionaryError(
            f"a dictionary's site {str(given)!r}: what a module returns has axes of its own; expected a place of the stream, for example 'resid_post.3'."
        )
    if len(found) != 1 or found[0].part:
        raise DictionaryError(f"a dictionary's site {str(given)!r}: expected one place, for example 'resid_post.3'.")
    return found[0]


def places(metadata: Mapping[str, Any], asked: Asked, transcoder: bool, where: str) -> tuple[Site, Site]:
    """Site and target of a sae-lens dictionary: as asked, else our own names in its metadata, else TransformerLens names.

    Raises: DictionaryError where neither says it.
    """
    head = metadata.get("hook_head_index")
    if head is not None and asked.site is None:
        raise DictionaryError(f"{where} is of head {head} alone; here a dictionary at z sees all heads.")
    site = _stated(metadata, asked.site, ("site", "hook_name"), where, "site")
    if not transcoder:
        return site, site if asked.target is None else one_site(asked.target)
    return site, _stated(metadata, asked.target, ("target", "hook_name_out"), where, "target")


def _stated(metadata: Mapping[str, Any], asked: SiteLike | None, keys: tuple[str, ...], where: str, what: str) -> Site:
    if asked is not None:
        return one_site(asked)
    for key in keys:
        if isinstance(name := metadata.get(key), str) and name:
            try:
                return one_site(name)
            except DictionaryError as error:
                raise DictionaryError(f"{where}: {error} Say where it belongs: {what}='resid_post.3', ...") from error
    raise DictionaryError(f"{where} does not say its {what}: give {what}=, for example {what}='resid_post.3'.")


def transformer_lens_name(site: Site) -> str | None:
    """Its TransformerLens name; None where it has none."""
    try:
        return hook_name(site)
    except SiteError:
        return None
