"""What a command says while it works: numbered phases."""

from __future__ import annotations

import json
import re

import pytest

from circuits.console import phases as telling_module
from tests.circuits.cli.called import Run, run

__all__ = ["run"]
SMALL = ("--task", "gender", "--limit", "6", "--random", "1", "--batch-size", "6")


@pytest.mark.parametrize(
    "args",
    [
        ("discover", *SMALL),
        ("discover", *SMALL, "--method", "exact", "--level", "blocks", "--threshold", "1"),
        ("discover", *SMALL, "--method", "relp", "--level", "qkv"),
        ("discover", *SMALL, "--method", "eap", "--level", "edges", "--n", "9"),
        ("compare", "--task", "gender", "--limit", "4", "--methods", "atp"),
    ],
    ids=" ".join,
)
def test_every_phase_is_one_numbered_line_with_seconds(
    args: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling_module, "EVERY", float("inf"))
    code, out, err = run(*args, "--json")
    assert code == 0, err
    json.loads(out)
    told = [re.fullmatch(r"\[(\d+)/(\d+)\] +(\d+\.\d) s  \S.*", line) for line in err.splitlines()]
    phases = [(int(m[1]), int(m[2]), float(m[3])) for m in told if m]
    assert [k for k, _, _ in phases] == list(range(1, phases[0][1] + 1))
    assert len({total for _, total, _ in phases}) == 1
    assert [s for *_, s in phases] == sorted(s for *_, s in phases)
    assert "\x1b" not in err and re.fullmatch(r"done in \d+\.\d s", err.splitlines()[-1])
