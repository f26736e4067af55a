"""What all tests share: the folder of test assets, tiny random models of every architecture, and a float64 fixture."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chrome, reports  # noqa: F401 - fixtures of all tests

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ASSETS = Path(os.environ.get("INTERP_ASSETS", Path(__file__).parents[2] / "shared"))


def pytest_configure() -> None:
    """Ctrl-C as in a terminal: a shell starts background jobs with it ignored, and some tests press it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of test assets: INTERP_ASSETS, or `shared` beside the project."""
    if not ASSETS.is_dir():
        pytest.skip(f"test assets not found at {ASSETS}; set INTERP_ASSETS to their folder")
    return ASSETS
