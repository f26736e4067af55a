"""Every notebook runs from top to bottom, offline, and its plots are plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.house import ROOT
from tests.whole.pages.browser import shared
from tests.whole.pages.kernels import Kernels

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PLOTLY = "application/vnd.plotly.v1+json"
#: Notebooks with functions of their own: one is about writing them, two train what they look at; the others only call.
WRITES = {"extend_the_toolkit", "optimised_images", "second_order"}


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def kernels() -> Iterator[Callable[[], Kernels]]:
    """Started by the first notebook that this process has to run."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(Kernels()))


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kernels: Callable[[], Kernels]
) -> Any:
    """The notebook with its outputs, run once by all processes, in an empty folder."""
    from filelock import FileLock

    folder = shared(tmp_path_factory, "notebooks")
    done = folder / request.param.name
    with FileLock(done.with_suffix(".lock")):
        if not done.exists():
            empty = folder / request.param.stem
            empty.mkdir()
            kernels().run(request.param, empty, done)
    return nbformat.read(done, as_version=4)


def test_plot_cells_show_plotly_figures(executed: Any) -> None:
    plots = [cell for cell in code_cells(executed) if ".plot" in cell.source]
    assert plots
    for cell in plots:
        figures = [out["data"][PLOTLY] for out in cell.outputs if PLOTLY in out.get("data", {})]
        assert figures, cell.source
        assert all(figure["data"] for figure in figures)


def test_no_cell_complains(executed: Any) -> None:
    for cell in code_cells(executed):
        noise = [out for out in cell.outputs if out.output_type == "error" or out.get("name") == "stderr"]
        # Importing libraries may say something; nothing else may.
        assert not noise or "import" in cell.source, (cell.source, noise)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_short_without_outputs_and_without_logic(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) < 25
    for cell in code_cells(notebook):
        assert not cell.outputs and cell.execution_count is None
        logic = ("class ", "for ", "while ", "if ", *(() if path.stem in WRITES else ("def ",)))
        assert not any(line.startswith(logic) for line in cell.source.splitlines())


def test_values_show_themselves(executed: Any) -> None:
    """The value that a cell ends in is shown as more than its name in memory."""
    shown = [
        out["data"] for cell in code_cells(executed) for out in cell.outputs if out.output_type == "execute_result"
    ]
    assert any("text/html" in data for data in shown)
    assert not [data["text/plain"] for data in shown if " object at 0x" in data.get("text/plain", "")]


def test_the_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == {
        "find_a_circuit", "find_a_smaller_circuit", "compare_methods", "edges_and_known_circuits", "features", "own_model_and_task",
        "encoder", "image_classifier",
        *WRITES,
    }  # fmt: skip
