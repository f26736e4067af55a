"""Whoever registers a method from where the documentation says finds the built-in ones there, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house import ROOT

TWICE = """
from interp.attribution.methods import method
@method("relp", formula="", cost="", paper="")
def mine(batch, options, rules): ...
"""
BESIDE = """
from interp.attribution.methods import METHODS, edge_method
before = METHODS["atp-ig-sites"]
@edge_method("atp-ig-sites")
def mine(batch, options, rules): ...
assert METHODS["atp-ig-sites"].edges is mine and METHODS["atp-ig-sites"].function is before.function is not None
"""


@pytest.mark.parametrize(("script", "code", "said"), [(TWICE, 1, "'relp' is registered twice"), (BESIDE, 0, "")])
def test_a_fresh_process_knows_the_built_in_methods(script: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stderr, done.stderr
