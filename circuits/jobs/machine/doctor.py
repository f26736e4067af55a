"""`circuits doctor`: whether Python and the packages are ones that work, combinations that are known not to, and what other packages add."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from itertools import groupby
from typing import Final

from circuits.terms.names import GROUPS
from interp.registries import Offer, offered

DISTRIBUTION: Final = "relevance-circuits"
#: What brings everything to versions that were tested together.
REPAIR: Final = "pip install -c constraints.txt -e . in the project's folder"
REMOVE: Final = "uninstall the packages whose names are taken, or tell their authors"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `ok` False where something will not work, and `repair` what then to do."""

    subject: str
    ok: bool
    detail: str
    repair: str = REPAIR


def diagnose() -> list[Finding]:
    """Every dependency against its bounds, the known bad combinations, then the names that other packages offer."""
    return [*_bounds(), *_combinations(), *_offers()]


def _bounds() -> list[Finding]:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        needed = [Requirement(r) for r in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return [Finding(DISTRIBUTION, False, "not installed")]
    python, wanted = platform.python_version(), metadata(DISTRIBUTION)["Requires-Python"]
    found = [Finding("python", SpecifierSet(wanted).contains(python, prereleases=True), f"{python}, wanted {wanted}")]
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        have = _version(requirement.name)
        ok = have is not None and requirement.specifier.contains(have, prereleases=True)
        found.append(Finding(requirement.name, ok, f"{have or 'missing'}, wanted {requirement.specifier or 'any'}"))
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _combinations() -> list[Finding]:
    """What pip's resolver does not know."""
    lens, sae, vision = _version("transformer-lens"), _version("sae-lens"), _version("torchvision")
    found = []
    if lens and sae:
        bad = int(lens.split(".")[0]) >= 4
        found.append(
            Finding(
                "transformer-lens with sae-lens",
                not bad,
                f"{lens} with {sae}" + ("; sae-lens 6.54 needs transformer-lens 3" if bad else ""),
            )
        )
    if sae and tuple(map(int, sae.split(".")[:2])) < (6, 54):
        found.append(Finding("sae-lens", False, f"{sae} fails at import with current packages; 6.54 or newer works"))
    for name in ("zennit", "lxt"):
        if have := _version(name):
            found.append(
                Finding(name, vision is None, f"{have} pulls torchvision, which can replace torch by another build")
            )
    return found


def _offers() -> Iterator[Finding]:
    """What installed packages offer, none of it loaded: wrong where a name is built in or offered twice."""
    for group, (kind, built_in) in GROUPS.items():
        for name, offers in groupby(offered(group), key=lambda offer: offer.name):
            yield _offer(f"{kind} {name}", name in built_in, list(offers))


def _offer(subject: str, built_in: bool, offers: list[Offer]) -> Finding:
    by = f"from {' and '.join(map(str, offers))}"
    if built_in:
        return Finding(subject, False, f"{by}, which is never used: the name is built in", REMOVE)
    if len(offers) > 1:
        return Finding(subject, False, f"{by}, which are refused: one name has one package", REMOVE)
    return Finding(subject, True, by)
