"""What mkdocs does besides: files from outside this folder become pages, links to them are turned, formulas are drawn."""

from __future__ import annotations

import html
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from formulas import Formulas  # noqa: E402  (mkdocs runs a hook from anywhere)

#: Files of the repository -> their page on the site. The README has the site's first page for its counterpart.
PLACES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "LICENSE": "project/license.md",
    **{f"notebooks/{p.name}": f"notebooks/{p.stem}.md" for p in sorted((ROOT / "notebooks").glob("*.ipynb"))},
}
_ORIGIN = {place: name for name, place in PLACES.items()}
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
_PIPED = re.compile(r"(?<=[| ])`([^`\n]*\\\|[^`\n]*)`(?=[ ,|])")
_LINK = re.compile(r"(?<!`)(\[[^\]]*\]\()([^)\s]+)(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas are an extension that has no name on the path of packages."""
    config.markdown_extensions.append(Formulas())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that stand outside the folder."""
    for name, place in PLACES.items():
        files.append(File.generated(config, place, content=_page_of(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as a code host reads them, from the place in the repository, become links of the site."""
    here = page.file.src_uri
    origin = _ORIGIN.get(here, f"docs/{here}")
    parts = _FENCE.split(markdown)
    return "".join(
        p if p.startswith("```") else _LINK.sub(lambda m: _turned(m, origin, here), _cells(p)) for p in parts
    )


def _cells(text: str) -> str:
    """Code in a table with an escaped pipe as HTML: Markdown would show the backslash."""
    return _PIPED.sub(
        lambda m: f"<code>{html.escape(m[1].replace(chr(92) + '|', '|')).replace('|', '&#124;')}</code>", text
    )


def _turned(match: re.Match[str], origin: str, here: str) -> str:
    before, target, after = match.groups()
    path, hash_, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return match[0]
    named = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    place = PLACES.get(named) or ("index.md" if named == "README.md" else named.removeprefix("docs/"))
    return f"{before}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{hash_}{anchor}{after}"


def _page_of(path: Path) -> str:
    """A Markdown file as it is, a notebook cell by cell, plain text in a block."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return "\n\n".join(_cell(cell) for cell in json.loads(text)["cells"])
    return text if path.suffix == ".md" else f"# {path.name.capitalize()}\n\n```text\n{text}```\n"


def _cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
