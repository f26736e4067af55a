"""Writes the tables of these pages from the registries and from tiny models of every tested architecture, the drawing of the house,
and the module of names that shells complete.

    python docs/generate.py           rewrite the tables, the drawing and the module
    python docs/generate.py --check   exit 1, naming the page or file that is not current

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else on a page is written by hand.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

DOCS = Path(__file__).resolve().parent
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: Block -> module and function.
_BLOCKS = {
    "methods": ("registered", "methods"),
    "rules": ("registered", "rules"),
    "rules-of-nets": ("registered", "rules_of_nets"),
    "metrics": ("registered", "metrics"),
    "ablations": ("registered", "ablations"),
    "tasks": ("registered", "tasks"),
    "token-methods": ("registered", "token_methods"),
    "layer-scores": ("registered", "layer_scores"),
    "selections": ("registered", "selections"),
    "quadratures": ("registered", "quadratures"),
    "levels": ("registered", "levels"),
    "dictionaries": ("registered", "dictionaries"),
    "formats": ("registered", "formats"),
    "worked-example": ("survey", "worked_example"),
    "architectures": ("survey", "architectures"),
    "missing-sites": ("survey", "missing_sites"),
    "refused-presets": ("survey", "refused_presets"),
    "architecture-shares": ("breadth", "shares"),
    "architecture-reasons": ("breadth", "reasons"),
    "architecture-classes": ("breadth", "classes"),
    "errors": ("catalogue", "overview"),
    "messages": ("catalogue", "catalogue"),
    "commands": ("commands", "reference"),
    "names-interp": ("names", "of_interp"),
    "names-circuits": ("names", "of_circuits"),
    "rooms": ("house", "rooms"),
}
#: File -> module and function that make the whole of it.
_WHOLE = {"circuits/terms/names.py": ("vocabulary", "module"), "docs/house.svg": ("house_drawing", "drawing")}


def _called(module: str, function: str) -> str:
    return str(getattr(importlib.import_module(module), function)())


def generated(text: str, page: str) -> str:
    """The page with every generated block made anew."""

    def new(match: re.Match[str]) -> str:
        if match[2] not in _BLOCKS:
            raise SystemExit(f"{page}: no table {match[2]!r}; there is {', '.join(_BLOCKS)}")
        return f"{match[1]}{_called(*_BLOCKS[match[2]])}\n{match[3]}"

    return _BLOCK.sub(new, text)


def main(check: bool) -> int:
    stale = []
    # Whole files first, code before what is drawn of it: the command line, which a page describes, takes its names from one of them.
    for path in (*(DOCS.parent / name for name in _WHOLE), *sorted(DOCS.rglob("*.md"))):
        name, old = path.relative_to(DOCS.parent).as_posix(), path.read_text(encoding="utf-8") if path.exists() else ""
        new = _called(*_WHOLE[name]) if name in _WHOLE else generated(old, name)
        if new != old:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{name}: {'not current; run python docs/generate.py' if check else 'rewritten'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    sys.exit(main("--check" in sys.argv[1:]))
