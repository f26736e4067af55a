"""A real browser that opens files and tells on them: one Chromium per process, pages that watch console, policy and network,
and the reports that the tests open, each made once by the command line."""

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

ROOT = Path(__file__).parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

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
    "compare": ("compare", "--task", "ioi", "--limit", "8", "--methods", "relp,atp"),
    "train": (
        *("sae", "train", "--site", "resid_post.1", "--d-sae", "64", "--k", "8"),
        *("--tokens", "3000", "--batch-tokens", "300"),
    ),
    "eval": ("sae", "eval", "dictionaries/resid_post.0", "--tokens", "2000", "--dashboards", "4"),
}


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

    def shot(self, name: str, whole: bool = False) -> Path:
        """A picture of what is seen, kept under `build/screenshots` or the folder that INTERP_SCREENSHOTS names."""
        folder = Path(os.environ.get("INTERP_SCREENSHOTS", ROOT / "build" / "screenshots"))
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(folder / f"{name}.png"), full_page=whole)
        return folder / f"{name}.png"

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
    """The browser of this process."""

    browser: Any

    @contextmanager
    def open(self, path: Path, **options: Any) -> Iterator[Tab]:
        """A file in a fresh, offline context that refuses every request but that of the file itself."""
        context = self.browser.new_context(offline=True, service_workers="block", **options)
        seen, address = Seen(), path.absolute().as_uri()
        allowed = [address]

        def request(route: Any) -> None:
            if route.request.url == address and route.request.is_navigation_request():
                route.continue_()
            else:
                route.abort()

        def asked(one: Any) -> None:
            # The file itself, once.
            if one.url in allowed:
                allowed.remove(one.url)
            else:
                seen.requests.append(one.url)

        def said(message: Any) -> None:
            seen.console.append(f"{message.type}: {message.text}")

        def dialog(one: Any) -> None:
            seen.dialogs.append(one.message)
            one.dismiss()

        try:
            context.route("**/*", request)
            context.add_init_script(WATCH)
            context.on("request", asked)
            page = context.new_page()
            page.on("console", said)
            page.on("pageerror", lambda error: seen.errors.append(str(error)))
            page.on("dialog", dialog)
            page.goto(address)
            yield Tab(page, seen)
        finally:
            context.close()


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
    """The folder of a run by its name in RUNS, made by the first test that asks, in whatever process."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reports"

    def run(name: str) -> Path:
        folder.mkdir(exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name / "report.html").exists():
                command(folder / "work" / name, *RUNS[name], "--quiet", "--out", str(folder / name))
        return folder / name

    return run


def command(folder: Path, *args: str) -> None:
    """`circuits ARGS` in this process, in a folder that holds small dictionaries with random weights."""
    # Late, so that tests which open no report import none of it.
    from circuits import cli
    from interp.dictionaries.formats import save_dictionary
    from tests.dictionaries import made

    shutil.rmtree(folder, ignore_errors=True)
    for i, site in enumerate(DICTIONARIES):
        save_dictionary(made(site, 128, n=48, kind="topk", seed=i), folder / "dictionaries" / site)
    before, own = Path.cwd(), sys.argv
    try:
        os.chdir(folder)
        sys.argv = ["circuits", *args]
        cli.main()
    except SystemExit as stopped:
        assert not stopped.code, f"circuits {' '.join(args)} ended with {stopped.code}"
    finally:
        os.chdir(before)
        sys.argv = own


def data_of(page: Any) -> Any:
    """What the page's scripts read, or None."""
    text = page.evaluate("(document.getElementById('data') || {}).textContent || null")
    return None if text is None else json.loads(text)
