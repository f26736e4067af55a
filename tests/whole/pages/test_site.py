"""The documentation as a site: built with warnings as errors, nothing loaded from elsewhere, every link and name in place."""

from __future__ import annotations

import html
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

from tests.house import ROOT
from tests.whole.pages.browser import SLOW, Chrome, shared

DOCS = ROOT / "docs"
_ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
#: Tags that load what their attribute names. A link of the page is followed by a person, and may lead anywhere.
_LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "embed": "src",
}


@dataclass
class Parsed(HTMLParser):
    """What of a page the tests look at."""

    tags: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    title: str = ""
    language: str = ""
    text: list[str] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    within: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.within.append(tag)
        if tag == "p":
            self.paragraphs.append("")
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(_LOADS.get(tag, "")):
            self.loads.append(given[_LOADS[tag]])
        self.loads += re.findall(r"url\(\s*['\"]?([^)'\"]+)", given.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.within:
            while self.within.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.within and self.within[-1] == "title":
            self.title = self.title or data
        if not {"script", "style", "code", "pre", "math"} & {*self.within}:
            self.text.append(data)
            if "p" in self.within:
                self.paragraphs[-1] += data


@dataclass(frozen=True)
class Site:
    """A built site, its pages by their place in it."""

    folder: Path
    pages: dict[str, Parsed]

    def source(self, page: str) -> str:
        return (self.folder / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site that INTERP_SITE names, whoever built it with `--strict`; else one that all processes build once."""
    from filelock import FileLock

    given = os.environ.get("INTERP_SITE")
    folder = Path(given) if given else shared(tmp_path_factory, "site")
    if not given:
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "index.html").exists():
                build(folder)
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        parsed = Parsed()
        parsed.feed(path.read_text(encoding="utf-8"))
        pages[str(path.relative_to(folder))] = parsed
    return Site(folder, pages)


def build(folder: Path) -> None:
    """Fails at a warning, and leaves nothing then."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0 or "WARNING" in done.stderr:
        shutil.rmtree(folder)
        pytest.fail(done.stderr[-3000:])


def module_of(name: str) -> ModuleType:
    """A module beside the pages."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


# ---------------------------------------------------------------- pages


def test_it_builds_without_a_warning_and_has_every_page(site: Site) -> None:
    written = {str(p.relative_to(DOCS).with_suffix(".html")) for p in DOCS.rglob("*.md")}
    assert written <= site.pages.keys()
    assert {"project/changelog.html", "project/contributing.html", "project/license.html"} <= site.pages.keys()
    assert {f"notebooks/{p.stem}.html" for p in (ROOT / "notebooks").glob("*.ipynb")} <= site.pages.keys()


def test_every_page_has_a_title_a_language_and_one_first_heading(site: Site) -> None:
    for name, page in site.pages.items():
        assert page.title.strip() and page.language == "en", name
        assert page.tags.count("h1") == 1, name


def test_lists_and_tables_are_no_paragraphs(site: Site) -> None:
    """Markdown of code hosts and that of the site differ in what begins a list or a table."""
    for name, page in site.pages.items():
        odd = [p for p in page.paragraphs if re.search(r"^\s*([*-] |\d+\. |\|.*\|\s*$)", p, re.MULTILINE)]
        assert not odd, f"{name}: {odd[:2]}"


# ---------------------------------------------------------------- nothing from elsewhere


def test_no_page_loads_anything_from_elsewhere(site: Site) -> None:
    for name, page in site.pages.items():
        assert not [x for x in page.loads if _ELSEWHERE.match(x) or x.startswith("data:text")], name
        for load in page.loads:
            path = load.partition("#")[0].partition("?")[0]
            # A host shows page 404 at any address, so what it loads is named from the root.
            assert (
                name == "404.html"
                or load.startswith("data:image/")
                or (site.folder / name).parent.joinpath(unquote(path)).exists()
            ), name


def test_no_style_loads_anything_from_elsewhere(site: Site) -> None:
    styles = list(site.folder.rglob("*.css"))
    assert len(styles) > 1
    for path in styles:
        text = path.read_text(encoding="utf-8")
        loads = re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)", text)
        assert not [x for pair in loads for x in pair if _ELSEWHERE.match(x)], path.name


def test_the_site_works_from_disk_without_a_request(site: Site, chrome: Chrome) -> None:
    """Search too, for which a browser gives a page on disk no worker; light, dark, and as narrow as a telephone."""
    asked: list[str] = []
    said: list[str] = []
    context = chrome.browser.new_context(offline=True)
    context.set_default_timeout(SLOW)
    context.on("request", lambda r: asked.append(r.url))
    page = context.new_page()
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    scheme = "document.body.getAttribute('data-md-color-scheme')"
    for name in ("concepts/rules.html", "reference/interp.html", "errors.html", "index.html"):
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            if width == 400:
                page.goto((site.folder / name).as_uri())
            # The drawer slides when the window grows.
            page.wait_for_function("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate(scheme) != "slate"
    search(page)
    page.emulate_media(color_scheme="dark")
    page.goto((site.folder / "errors.html").as_uri())
    assert page.evaluate(scheme) == "slate"
    context.close()
    outside = [url for url in asked if not url.startswith((site.folder.as_uri(), "data:", "blob:", "about:"))]
    assert not outside and not said


def search(page: Any) -> None:
    """A word that one page is about is found, and leads there."""
    page.click("[data-md-component=search-query]")
    page.keyboard.type("faithfulness", delay=5)
    found = page.wait_for_selector(".md-search-result__item a[href*='evaluation']")
    assert found is not None


# ---------------------------------------------------------------- links


def test_every_link_and_anchor_leads_somewhere(site: Site) -> None:
    broken = []
    for name, page in site.pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or name == "404.html":
                continue
            path, _, anchor = link.partition("#")
            to = os.path.normpath(Path(name).parent / unquote(path)) if path else name
            if to in site.pages:
                if anchor and unquote(anchor) not in site.pages[to].ids:
                    broken.append(f"{name}: {link}")
            elif not (site.folder / to).is_file():
                broken.append(f"{name}: {link}")
    assert not broken


# ---------------------------------------------------------------- reference


@pytest.mark.parametrize("package", ["interp", "circuits"])
def test_every_public_name_is_in_the_reference(site: Site, package: str) -> None:
    found = site.pages[f"reference/{package}.html"].ids
    names = [name for name in importlib.import_module(package).__all__ if not name.startswith("__")]
    assert len(names) > 30
    assert not [name for name in names if f"{package}.{name}" not in found]


def test_the_reference_holds_docstrings(site: Site) -> None:
    import interp

    text = " ".join(" ".join(site.pages["reference/interp.html"].text).split())
    for value in (interp.load, interp.agreement, interp.path_patch):
        first = re.split(r"[`\n]", value.__doc__ or "")[0].strip()
        assert first and first in text


def test_signatures_are_those_that_are_called(site: Site) -> None:
    """Also of functions whose keywords are the fields of a value."""
    import interp

    source = site.source("reference/interp.html")
    for function in (interp.attribute, interp.attribute_all, interp.load):
        at = source.index(f'id="interp.{function.__name__}"')
        shown = html.unescape(re.sub("<[^>]+>", "", source[at : source.index("</pre>", at)]))
        for name, parameter in inspect.signature(function).parameters.items():
            assert f"{name}: {parameter.annotation}" in shown, name


def test_every_option_of_every_command_is_on_the_page() -> None:
    from typer.testing import CliRunner

    from circuits.cli.app import app

    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (circuits[^\n]*)\n(.*?)(?=^## |^<!-- end)", page, re.DOTALL | re.MULTILINE))
    assert len(sections) > 15
    for name, text in sections.items():
        helped = CliRunner().invoke(app, [*name.split()[1:], "--help"], env={"COLUMNS": "200"}).output
        options = {*re.findall(r"^\s+(--[a-z][\w-]*)", helped, re.MULTILINE)} - {"--help"}
        assert not [o for o in options if f"`{o}`" not in text], name


# ---------------------------------------------------------------- errors


def test_the_catalogue_has_every_error_that_the_packages_define() -> None:
    import circuits
    import interp
    from interp.errors import InterpError

    for package in (interp, circuits):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    def below(cls: type) -> set[type]:
        return {cls}.union(*map(below, cls.__subclasses__()))

    ours = {c for c in below(InterpError) if c.__module__.split(".")[0] in ("interp", "circuits")}
    catalogue = module_of("catalogue")
    assert {c.__name__ for c in ours} == catalogue.errors().keys()
    for cls in ours:
        assert catalogue.exit_code(catalogue.errors()[cls.__name__]) == getattr(cls, "exit_code", 2)


def test_messages_that_are_raised_are_in_the_catalogue() -> None:
    """Errors made here, by wrong input, and looked up on the page."""
    import interp
    from interp.errors import InterpError

    model = interp.load("demo")
    task = interp.task("ioi", model, n=4)
    wrong = (
        lambda: interp.load("no-such-folder"),
        lambda: interp.task("ioy", model),
        lambda: interp.attribute(model, task, method="repl", level="heads"),
        lambda: interp.attribute(model, task, method="relp", level="heads", ablation="zero", direction="denoise"),
        lambda: interp.attribute(model, task, method="relp", level="heads", steps=3),
        lambda: model.run("Mary", reads=["z.99"]),
        lambda: interp.Rules(gate=0.3),
    )
    rows = re.findall(
        r"^\| `(.+?)` \| (?:`(.+?)`|-) \| `", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 500
    whole = [re.compile(r"\W*".join(map(_with_gaps, filter(None, row))), re.DOTALL) for row in rows]
    for call in wrong:
        with pytest.raises(InterpError) as caught:
            call()
        said = " ".join(str(caught.value).split())
        assert [t for t in whole if t.fullmatch(said.rstrip("."))] or [t for t in whole if t.fullmatch(said)], said


def _with_gaps(text: str) -> str:
    return re.escape(text.replace("\\|", "|").rstrip(".")).replace("…", ".*") + r"\.?"


# ---------------------------------------------------------------- formulas


def test_every_formula_is_mathml_and_no_latex_is_left(site: Site) -> None:
    for path in sorted((DOCS / "concepts").glob("*.md")):
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        blocks = re.findall(r"\$\$.+?\$\$", text, re.DOTALL)
        inline = re.findall(r"\$[^$\n]+\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL))
        page = site.pages[f"concepts/{path.stem}.html"]
        assert inline and page.tags.count("math") == len(blocks) + len(inline), path.name
        assert site.source(f"concepts/{path.stem}.html").count('display="block"') == len(blocks), path.name
        assert not re.search(r"\$|\\[a-z]", "".join(page.text)), path.name


def test_a_formula_says_what_it_says() -> None:
    found = module_of("formulas").mathml(r"\frac{a}{b + 1}", "inline")
    inside = re.sub(r"</?(?:math|mrow)[^>]*>", "", found)
    assert inside == "<mfrac><mi>a</mi><mi>b</mi><mo>&#x0002B;</mo><mn>1</mn></mfrac>"


@pytest.mark.parametrize("latex", [r"\nosuch{x}", r"\left( a", r"a \hatt b"])
def test_latex_that_is_not_known_stops_the_build(latex: str) -> None:
    formulas = module_of("formulas")
    with pytest.raises(formulas.FormulaError):
        formulas.mathml(latex, "inline")


def test_concepts_say_when_they_mislead() -> None:
    for path in (DOCS / "concepts").glob("*.md"):
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[-1] == "When it misleads", path.name
