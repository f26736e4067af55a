"""`circuits doctor`: whether Python and the packages are ones that work, and combinations that are known not to."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Final

DISTRIBUTION: Final = "relevance-circuits"
#: What brings everything to versions that were tested together.
REPAIR: Final = "pip install -c constraints.txt -e . in the project's folder"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `ok` False where something will not work."""

    subject: str
    ok: bool
    detail: str


def diagnose() -> list[Finding]:
    """Every dependency against its bounds, then the known bad combinations."""
    return [*_bounds(), *_combinations()]


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
