"""What of the benchmark is asked for, by name."""

from __future__ import annotations

import pytest

from circuits.bench import attribution_cost
from circuits.jobs.machine.bench import PARTS, check_parts, wanted
from interp.errors import InterpError


def test_parts_are_checked_by_name() -> None:
    check_parts(PARTS)
    with pytest.raises(InterpError, match=r"'atribution'.*attribution"):
        check_parts(["atribution"])


def test_wanted_picks_levels_and_methods() -> None:
    assert wanted(None, None, None) == attribution_cost.DEFAULT
    assert wanted(None, "edges", None) == (("eap", "edges", None), ("relp", "edges", None), ("relp-ah", "edges", None))
    assert {level for _, level, _ in wanted(None, "neurons", None)} == {"neurons"}
    assert {steps for _, _, steps in wanted(None, None, 20)} == {None, 20}
    assert wanted(["atp", "relp"], None, None) == (("atp", "heads", None), ("relp", "heads", None))
    assert wanted(["eap-ig"], "edges", 3) == (("eap-ig", "edges", 3),)
