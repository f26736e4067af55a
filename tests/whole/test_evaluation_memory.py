"""What evaluating circuits may take above the model is kept: the highest memory of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from circuits.circuit.circuit import Circuit
from circuits.evaluation.faithfulness import evaluate
from interp.errors import InterpError
from interp.parts.nodes import Node
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task

ROOT = Path(__file__).resolve().parents[2]
PEAK = """
import sys, warnings
warnings.simplefilter("ignore")
import circuits
from circuits.bench.workload import resident_peak
from circuits.circuit.circuit import Circuit
from interp.parts.nodes import Node
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task
model, circuit = hooked("gpt2", n_embd=128, n_inner=512), Circuit((Node("head", 0, 0), Node("mlp", 1)), "heads", "m", "t", "exact", "")
circuits.evaluate(model, toy_task(2, (6,)), circuit, n_random=2)
before = resident_peak()
circuits.evaluate(model, toy_task(512, (48,)), circuit, n_random=8, max_memory=None if sys.argv[1] == "none" else sys.argv[1])
print((resident_peak() - before) / 2**20)
"""


#: The same of features, whose values of all tokens are what is large.
OF_FEATURES = """
import sys, warnings
warnings.simplefilter("ignore")
import circuits
from circuits.bench.workload import resident_peak
from circuits.circuit.circuit import Circuit
from interp.attribution.features.listed import described
from interp.parts.nodes import Node
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task
model = hooked("gpt2", n_embd=128, n_inner=512)
given = {site: made(site, 128, n=4096, kind=kind) for site, kind in (("resid_post.0", "topk"), ("mlp_out.1", "relu"))}
named = tuple(map(described, given.values()))
circuit = Circuit((Node("resid_post.feature", 0, 3),), "features", "m", "t", "exact", "", dictionaries=named)
options = {"dictionaries": given, "n_random": 1, "sizes": [], "errors": "removed"}
circuits.evaluate(model, toy_task(2, (6,)), circuit, **options)
before = resident_peak()
circuits.evaluate(model, toy_task(48, (48,)), circuit, max_memory=None if sys.argv[1] == "none" else sys.argv[1], **options)
print((resident_peak() - before) / 2**20)
"""


def _peak(limit: str, script: str) -> float:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script, limit], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@pytest.mark.parametrize("script", [PEAK, OF_FEATURES], ids=["nodes", "features"])
def test_evaluation_keeps_to_the_memory_that_it_is_given(script: str) -> None:
    assert _peak("128MiB", script) < 128 < _peak("none", script)


def test_the_numbers_do_not_depend_on_the_memory() -> None:
    model = hooked("llama")
    task = answered(model, toy_task(6, (6, 7)))
    circuit = Circuit((Node("head", 0, 0), Node("mlp", 1)), "heads", "m", "t", "exact", "")
    few, many = (evaluate(model, task, circuit, n_random=2, max_memory=size) for size in ("1KiB", None))
    assert few.faithfulness.value == pytest.approx(many.faithfulness.value, abs=1e-5)


def test_what_is_no_size_is_refused() -> None:
    circuit = Circuit((Node("mlp", 1),), "heads", "m", "t", "exact", "")
    with pytest.raises(InterpError, match="max_memory"):
        evaluate(hooked("llama"), toy_task(), circuit, max_memory="lots")
