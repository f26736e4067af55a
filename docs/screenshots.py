"""The pictures of the documentation: a run of each kind, opened in a browser and photographed at twice its size.

    python docs/screenshots.py --dictionaries FOLDER [--only heads]

FOLDER holds dictionaries of the residual stream of the model `demo`, made by `circuits sae train`. The pictures go to `docs/img`,
and that of the README to `docs/report.png`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.whole.pages.browser import FLAGS, Chrome, executable  # noqa: E402

SIZE = {"width": 1400, "height": 900}
LARGEST = 400_000
README = "heads"
RUNS: dict[str, list[str]] = {
    "heads": ["--task", "ioi"],
    "edges": ["--task", "ioi", "--level", "edges", "--method", "relp", "--n", "60"],
    "features": ["--task", "sva", "--level", "features", "--method", "relp", "--limit", "40", "--n", "100"],
}


def opened(name: str) -> Callable[[Any], None]:
    """The interactive circuit with a node open: the first that is drawn whose name holds `name`."""

    def act(page: Any) -> None:
        page.locator("#view-find").fill(name)
        page.keyboard.press("Enter")
        page.locator("#view-find").fill("")
        page.evaluate("document.activeElement.blur()")
        page.evaluate("document.getElementById('circuit').scrollIntoView()")

    return act


ACTS: dict[str, Callable[[Any], None]] = {
    "heads": opened("a3.h0"),
    "edges": opened("m0"),
    "features": opened("resid_post.1.f"),
}


def report(name: str, folder: Path, dictionaries: str) -> Path:
    """The report of a run, made now."""
    more = ["--dictionaries", str(Path(dictionaries).absolute())] if name == "features" else []
    call = [sys.executable, "-m", "circuits", "discover", *RUNS[name], *more, "--quiet", "--out", str(folder / name)]
    subprocess.run(call, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / name / "report.html"


def shoot(chrome: Chrome, path: Path, name: str) -> None:
    """Few colours, so that a picture is small: a page has hardly more."""
    from PIL import Image

    made = ROOT / "docs" / "img" / f"{name}.png"
    made.parent.mkdir(exist_ok=True)
    with chrome.open(path, viewport=SIZE, device_scale_factor=2) as tab:
        ACTS[name](tab.page)
        tab.page.wait_for_timeout(300)
        tab.page.screenshot(path=str(made))
        if trouble := tab.trouble():
            sys.exit(f"{path}: {trouble}")
    Image.open(made).convert("RGB").quantize(256).save(made, optimize=True)
    if name == README:
        shutil.copy(made, ROOT / "docs" / "report.png")
    sys.stdout.write(f"{made.relative_to(ROOT)}: {made.stat().st_size:,} bytes\n")
    if made.stat().st_size > LARGEST:
        sys.exit(f"{made} is larger than {LARGEST:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionaries", required=True, help="folder of dictionaries of the model demo")
    parser.add_argument("--only", choices=list(RUNS), help="one picture")
    parser.add_argument("--reports", type=Path, help="folder of runs made before, by name")
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chrome = Chrome(playwright.chromium.launch(executable_path=executable(), args=FLAGS))
        for name in [asked.only] if asked.only else RUNS:
            made = asked.reports / name / "report.html" if asked.reports else None
            shoot(chrome, made or report(name, Path(folder), asked.dictionaries), name)


if __name__ == "__main__":
    main()
