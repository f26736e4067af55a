"""What all tests share: which of them run, one thread for each, and the folder of test assets."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Two test processes on two cores: a second thread of one only waits for the other. Commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Sums of equal numbers are equal bit for bit, wherever they lie in memory: on some processors MKL's fastest products depend on that.
os.environ.setdefault("MKL_CBWR", "COMPATIBLE")

#: One case in so many of a `broad` test runs without --slow.
SHARE: Final = 8
ASSETS = Path(os.environ.get("INTERP_ASSETS", Path(__file__).parents[2] / "shared"))
#: Where real pretrained models are, a folder for each; none by default, as they are large.
REAL_MODELS = os.environ.get("INTERP_REAL_MODELS")


def pytest_configure() -> None:
    """Ctrl-C as in a terminal: a shell starts background jobs with it ignored, and some tests press it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too, and every case of the broad ones")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    # The long ones first, so that several processes end together.
    items.sort(key=lambda item: not item.nodeid.startswith("tests/whole/pages/"))
    if config.getoption("--slow"):
        return
    left_out = beyond_the_sample(items)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def beyond_the_sample(items: list[Any]) -> set[Any]:
    """The cases of `broad` tests that do not run: of each test one in SHARE is kept, at least one, or as many as the mark says (`cases`),
    drawn by the hash of its name."""
    cases = defaultdict(list)
    for item in items:
        if "broad" in item.keywords:
            cases[item.nodeid.partition("[")[0]].append(item)
    left_out: set[Any] = set()
    for every in cases.values():
        every.sort(key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())
        mark = every[0].get_closest_marker("broad")
        left_out.update(every[mark.kwargs.get("cases", ceil(len(every) / SHARE)) :])
    return left_out


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests saw a real model, in a line that cannot be missed; or why none did."""
    found = {name: _real(terminalreporter.stats.get(name, ())) for name in ("passed", "failed", "skipped")}
    if ran := found["passed"] + found["failed"]:
        terminalreporter.write_line(f"real sample: ran {len(ran)}")
    elif found["skipped"]:
        *_, reason = found["skipped"][0].longrepr
        terminalreporter.write_line(f"real sample: skipped because {str(reason).removeprefix('Skipped: ')}")


def _real(reports: Sequence[Any]) -> list[Any]:
    """The reports of tests marked `real`."""
    return [report for report in reports if "real" in getattr(report, "keywords", ())]


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """The folder of a real pretrained model, by its name under INTERP_REAL_MODELS; a test is skipped where it is not there."""

    def folder(name: str) -> Path:
        if REAL_MODELS is None:
            pytest.skip("INTERP_REAL_MODELS names no folder of real models")
        if not (found := Path(REAL_MODELS) / name / "config.json").is_file():
            pytest.skip(f"there is no {found}")
        return found.parent

    return folder


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of test assets: INTERP_ASSETS, or `shared` beside the project."""
    if not ASSETS.is_dir():
        pytest.skip(f"test assets not found at {ASSETS}; set INTERP_ASSETS to their folder")
    return ASSETS
