"""A real browser that opens files and tells on them: one Chromium per process, pages that watch console, policy and network,
and the reports that the tests open, each made once: by the command line, or by hand where the page alone is what is tested."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW = {"width": 1280, "height": 720}
#: Milliseconds that a busy machine may take to open a page.
SLOW = 120_000

#: Runs in every page before anything else: what the policy refuses, and a trap that hostile text would spring.
WATCH = """
window.refused = [];
window.sprung = [];
window.canary = (what) => window.sprung.push(String(what));
addEventListener("securitypolicyviolation", (e) => window.refused.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sample}`));
"""

DICTIONARIES = ("resid_post.0", "mlp_out.1", "resid_post.2")
FEATURES = ("--level", "features", "--dictionaries", "dictionaries", "--method", "relp", "--n", "8")
RUNS: dict[str, tuple[str, ...]] = {
    "heads": ("discover", "--task", "ioi", "--limit", "16", "--random", "3"),
    "edges": (
        *("discover", "--task", "ioi", "--limit", "8", "--random", "2"),
        *("--level", "edges", "--method", "relp", "--n", "40"),
    ),
    "features": ("discover", "--task", "sva", "--limit", "12", "--random", "2", *FEATURES),
    "positions": (
        *("discover", "--task", "ioi", "--limit", "8", "--random", "1", "--positions", "spans"),
        *("--level", "edges", "--method", "relp", "--n", "60"),
    ),
    "compare": ("compare", "--task", "ioi", "--limit", "8", "--methods", "relp,atp"),
}
#: By hand, as `tests.whole.pages.browser_pages` names them.
BY_HAND = ("training", "dictionary", "side", "assessment", "circuit")


# ------------------------------------------------------------ pages


@dataclass
class Seen:
    """What a page did that nobody asked for."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@dataclass
class Tab:
    """An open file. `page` is Playwright's page."""

    page: Any
    seen: Seen

    def trouble(self) -> dict[str, list[str]]:
        """Everything that must not happen, by kind; empty where all is well."""
        found = {name: list(values) for name, values in vars(self.seen).items()}
        found |= {name: list(self.page.evaluate(f"window.{name} || []")) for name in ("refused", "sprung")}
        return {name: values for name, values in found.items() if values}

    def wider_than_the_window(self) -> float:
        """Pixels by which the page can be scrolled sideways."""
        return float(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def shot(self, name: str, whole: bool = False) -> None:
        """A picture of what is seen, in the folder that INTERP_SCREENSHOTS names; none where it names none."""
        if folder := os.environ.get("INTERP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=whole)

    def focused(self) -> str:
        """The element that has the focus, as a short selector; two of the same look have different numbers."""
        return str(
            self.page.evaluate(
                """() => { const e = document.activeElement;
                if (!e || e === document.body) return "";
                const all = [...document.querySelectorAll("*")];
                return `${e.tagName.toLowerCase()}#${e.id}@${all.indexOf(e)}`; }"""
            )
        )


@dataclass
class Chrome:
    """The browser of this process. A page is used again for the next file, as to start one costs more than to load a report."""

    browser: Any
    idle: dict[str, list[Any]] = field(default_factory=dict)

    @contextmanager
    def open(
        self,
        path: Path,
        *,
        viewport: dict[str, int] = WINDOW,
        color_scheme: str = "light",
        reduced_motion: str = "no-preference",
        **options: Any,
    ) -> Iterator[Tab]:
        """A file in an offline page that refuses every request but that of the file itself. `options`: of a context."""
        ready = self.idle.setdefault(repr(options), [])
        page = ready.pop() if ready else self._new(viewport, options)
        seen, address = Seen(), path.absolute().as_uri()
        watching = _watching(seen, address)
        try:
            page.set_viewport_size(viewport)
            page.emulate_media(media="screen", color_scheme=color_scheme, reduced_motion=reduced_motion)
            page.route("**/*", lambda route: _only(route, address))
            for event, heard in watching.items():
                page.on(event, heard)
            page.goto(address)
            yield Tab(page, seen)
        except BaseException:
            page.context.close()
            raise
        for event, heard in watching.items():
            page.remove_listener(event, heard)
        page.unroute_all()
        # A report that is left open goes on drawing.
        page.goto("about:blank")
        ready.append(page)

    def _new(self, viewport: dict[str, int], options: dict[str, Any]) -> Any:
        context = self.browser.new_context(offline=True, service_workers="block", viewport=viewport, **options)
        context.set_default_timeout(SLOW)
        context.add_init_script(WATCH)
        return context.new_page()


def _only(route: Any, address: str) -> None:
    if route.request.url == address and route.request.is_navigation_request():
        route.continue_()
    else:
        route.abort()


def _watching(seen: Seen, address: str) -> dict[str, Callable[[Any], None]]:
    """What is heard of each event of a page."""

    def asked(one: Any) -> None:
        if one.url != address or not one.is_navigation_request():
            seen.requests.append(one.url)

    def dialog(one: Any) -> None:
        seen.dialogs.append(one.message)
        one.dismiss()

    return {
        "request": asked,
        "console": lambda message: seen.console.append(f"{message.type}: {message.text}"),
        "pageerror": lambda error: seen.errors.append(str(error)),
        "dialog": dialog,
    }


def executable() -> str | None:
    """The browser: that of INTERP_BROWSER, or the first of the usual names."""
    given = os.environ.get("INTERP_BROWSER")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """One Chromium. Where there is none the test is skipped; where CI or INTERP_BROWSER promise one, it fails."""
    where = executable()
    promised = bool(os.environ.get("INTERP_BROWSER")) or os.environ.get("CI", "").lower() == "true"
    if where is None or not Path(where).exists():
        said = f"no browser found ({where or ', '.join(NAMES)}); install chromium or set INTERP_BROWSER to its path"
        (pytest.fail if promised else pytest.skip)(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=FLAGS)
        yield Chrome(browser)
        browser.close()


# ------------------------------------------------------------ reports


Reports = Callable[[str], Path]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """A folder with the report of a run by its name in RUNS, or of a name in BY_HAND, made by the first test that asks, in
    whatever process."""
    from filelock import FileLock

    folder = shared(tmp_path_factory, "reports")

    def run(name: str) -> Path:
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name / "report.html").exists():
                _make(folder, name)
        return folder / name

    return run


def shared(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all processes of a session have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


def _make(folder: Path, name: str) -> None:
    if name in RUNS:
        command(folder / "work" / name, *RUNS[name], "--quiet", "--out", str(folder / name))
        return
    from tests.whole.pages.browser_pages import KINDS, same

    (folder / name).mkdir(exist_ok=True)
    (folder / name / "report.html").write_text(KINDS[name](same), encoding="utf-8")


def command(folder: Path, *args: str) -> None:
    """`circuits ARGS` in this process, in a folder that holds small dictionaries with random weights."""
    # Late, so that tests which open no report import none of it.
    from circuits.cli import app
    from interp.dictionaries.storage import save_dictionary
    from tests.interp.dictionaries.random_dictionaries import made

    shutil.rmtree(folder, ignore_errors=True)
    for i, site in enumerate(DICTIONARIES):
        save_dictionary(made(site, 128, n=48, kind="topk", seed=i), folder / "dictionaries" / site)
    before, own = Path.cwd(), sys.argv
    try:
        os.chdir(folder)
        sys.argv = ["circuits", *args]
        app.main()
    except SystemExit as stopped:
        assert not stopped.code, f"circuits {' '.join(args)} ended with {stopped.code}"
    finally:
        os.chdir(before)
        sys.argv = own


def data_of(page: Any) -> Any:
    """What the page's scripts read, or None."""
    text = page.evaluate("(document.getElementById('data') || {}).textContent || null")
    return None if text is None else json.loads(text)
