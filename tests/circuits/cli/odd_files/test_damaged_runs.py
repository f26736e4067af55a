"""Damaged runs: a sample of every way of `damage`, each read by the commands that read runs. None of them ends with exit code 1."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from circuits.jobs.starting import prompts_text
from tests.circuits.cli.called import Run, run
from tests.circuits.cli.odd_files.damage import Damage, in_json, of_files, of_parquet

__all__ = ["run"]

SAMPLE = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A complete run; made once, copied before it is damaged."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "p.jsonl").write_text(prompts_text(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("sys.argv", ["circuits", "discover", "--task", "p.jsonl", "--level", "blocks", "--method", "atp",
                                     "--random", "2", "--quiet", "--out", "r"])  # fmt: skip
        from circuits.cli import app

        with pytest.raises(SystemExit) as stopped:
            app.main()
    assert stopped.value.code == 0
    yield folder / "r"


@pytest.mark.parametrize("kind", [of_files, of_parquet, in_json], ids=lambda kind: kind.__name__)
def test_a_damaged_run_is_read_right_or_refused_in_a_line(
    kind: Callable[[Path], Iterator[tuple[str, Damage]]], whole: Path, run: Run
) -> None:
    for what, damage in random.Random(3).sample(list(kind(whole)), SAMPLE):
        shutil.rmtree("r", ignore_errors=True)
        shutil.copytree(whole, "r")
        damage(Path("r"))
        for args in (("report", "r"), ("stability", "r", "--resamples", "2"), ("diff", "r", str(whole))):
            code, out, err = run(*args)
            assert code in (0, 2), (what, args, err)
            assert code == 0 or (err.count("\n") == 1 and "r" in err and not out), (what, args, err)


def _option(name: str, value: object) -> Damage:
    import json

    def go(r: Path) -> None:
        data = json.loads((r / "manifest.json").read_text())
        data["options"][name] = value
        (r / "manifest.json").write_text(json.dumps(data))

    return go


@pytest.mark.parametrize(
    ("name", "value"),
    [("task", 5), ("task", None), ("limit", "x"), ("seed", 1.5), ("model", []), ("metric", {}), ("batch_size", "x"), ("pair", 1)],
)  # fmt: skip
def test_an_option_of_another_kind_is_refused_before_a_model_is_loaded(
    name: str, value: object, whole: Path, run: Run
) -> None:
    shutil.copytree(whole, "r")
    _option(name, value)(Path("r"))
    code, _, err = run("evaluate", "r")
    assert code == 2 and "manifest.json" in err, err
