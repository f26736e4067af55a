"""The same run gives the same report, byte for byte, wherever and whenever it is made; a run done again differs in its times."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.whole.pages.browser import Reports, command

KINDS = ("heads", "edges", "features", "compare")

#: Renders the runs that it is given from their files, and prints the hashes.
AGAIN = """
import hashlib, sys
from pathlib import Path
from circuits.report.pages import render
from circuits.runs.record_files import load_record
for path in sys.argv[1:]:
    print(hashlib.sha256(render(load_record(Path(path))).encode()).hexdigest())
"""

#: What two runs with the same seed may differ in: how long each step took, when it was, its memory, and where the run was written.
TIMES = re.compile(
    r"<dt><bdi>(time|seconds|created|finished|highest|above)</bdi></dt>"
    r"|<pre><code><bdi>circuits discover .* --out "
    r'|<tr><th scope="row"><bdi>[\w ,]+</bdi></th>(<td class="n">[\d,.–]+</td>){3}</tr>'
)


def test_a_process_of_another_hash_seed_locale_and_clock_writes_what_the_run_wrote(
    reports: Reports, tmp_path: Path
) -> None:
    runs = [reports(kind) for kind in KINDS]
    written = [hashlib.sha256((run / "report.html").read_bytes()).hexdigest() for run in runs]
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "4242" else "4242"
    around = {"PYTHONHASHSEED": seed, "LC_ALL": "C", "LANG": "C", "TZ": "Asia/Kathmandu", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", AGAIN, *map(str, runs)],
        env={**os.environ, **around}, cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.split() == written


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("twice")
    for name in ("one", "two"):
        out = str(folder / name)
        command(folder / f"work-{name}", "discover", "--limit", "6", "--random", "2", "--quiet", "--out", out)
    return [folder / "one", folder / "two"]


def test_a_run_done_again_differs_in_times_and_its_path_alone(twice: list[Path]) -> None:
    one, two = ((run / "report.html").read_text(encoding="utf-8").splitlines() for run in twice)
    assert len(one) == len(two) > 300
    apart = [(a, b) for a, b in zip(one, two, strict=True) if a != b]
    assert 3 < len(apart) < 30
    assert [pair for pair in apart if not all(map(TIMES.match, pair))] == []
    step = re.compile(r'<td class="n">[\d.–]+</td></tr>$')
    for a, b in apart:
        if a.startswith("<tr>"):
            assert step.sub("", a) == step.sub("", b)


def test_a_run_done_again_has_the_same_files_but_for_times(twice: list[Path]) -> None:
    """Scores and maps hold how long they took; the circuit, its evaluation, prompts and agreement hold no time."""
    one, two = ({p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} for run in twice)
    assert set(one) == set(two)
    for name in ("circuit.json", "evaluation.json", "agreement.json", "prompts.json", "config.toml"):
        if name in one:
            assert one[name] == two[name]
    assert {"circuit.json", "evaluation.json"} <= set(one)
