"""Whatever is taken as a whole number, wherever an int is asked for; everything else is refused by a sentence that names the option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import circuits
import interp
from interp.errors import InterpError
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import toy_task

WHOLE = [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)]
NONE = [True, np.bool_(True), torch.tensor(True), 2.0, np.float32(2.0), torch.tensor(2.0), "2", torch.tensor([2])]
MODEL, TASK = hooked("llama"), toy_task(4)
SCORES = interp.attribute(MODEL, TASK, method="relp", level="blocks", show_progress=False)
CIRCUIT = circuits.discover(SCORES, n=2)


def scores(**options: Any) -> Any:
    options = {"method": "relp", "level": "blocks", **options}
    return interp.attribute(MODEL, TASK, show_progress=False, **options).mean


def evaluation(**options: Any) -> Any:
    return circuits.evaluate(MODEL, TASK, CIRCUIT, show_progress=False, **{"n_random": 2, **options})


def spans(end: Any) -> Any:
    ids_of = (replace(pair, spans={"head": (0, end)}) for pair in TASK.tokenize(None, 64))
    task = Task("t", tuple(Pair("", "", (), (), ids=pair) for pair in ids_of))
    return [int(pair.spans["head"][1]) for pair in task.tokenize(None, 64)]


#: By what messages call it: what takes it, and gives something that can be compared.
TAKES: dict[str, Callable[[Any], Any]] = {
    "batch_size": lambda v: scores(batch_size=v),
    "steps": lambda v: scores(method="atp-ig", steps=v),
    "steps ": lambda v: scores(method="deeplift", steps=v),
    "n=|^n ": lambda v: scores(method="auto", budget="3F", n=v),
    "seed": lambda v: scores(ablation="resample", seed=v),
    "limit": lambda v: [p.ids for p in TASK.limit(v).pairs],
    "seed ": lambda v: TASK.split_places(v),
    "span 'head'": spans,
    "logits_to_keep": lambda v: MODEL.run(ids(), logits_to_keep=v).logits.tolist(),
    "layer": lambda v: str(interp.Site("z", v)),
    "heads": lambda v: MODEL.run(ids(), edits=[interp.zero("z.0", heads=v)]).logits.tolist(),
    "positions": lambda v: MODEL.run(ids(), edits=[interp.zero("z.0", positions=v)]).logits.tolist(),
    "secants": lambda v: interp.Rules(secants=v),
    "n ": lambda v: SCORES.top(v),
    "n  ": lambda v: [node.name for node in circuits.discover(SCORES, n=v).nodes],
    "n   ": lambda v: circuits.selection_frequency(SCORES, v),
    "resamples": lambda v: circuits.selection_frequency(SCORES, 2, resamples=v),
    "seed  ": lambda v: circuits.selection_frequency(SCORES, 2, seed=v),
    "seed   ": lambda v: evaluation(seed=v),
    "n_random": lambda v: evaluation(n_random=v),
    "batch_size ": lambda v: evaluation(batch_size=v),
    "k": lambda v: interp.logit_lens(MODEL, ids()).top(v)[1].tolist(),
    "steps  ": lambda v: interp.attribute_tokens(MODEL, TASK, steps=v, show_progress=False).values,
    "limit ": lambda v: interp.attribute_tokens(MODEL, TASK, steps=2, limit=v, show_progress=False).values,
}


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(str(a) == str(b))


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_taken_or_refused_by_name(name: str) -> None:
    wanted = TAKES[name](2)
    for value in WHOLE[1:]:
        assert same(TAKES[name](value), wanted), repr(value)
    for value in NONE[: 6 if name in ("heads", "positions") else None]:  # several of them are lists
        with pytest.raises(InterpError, match=name.strip()):
            TAKES[name](value)


@pytest.mark.parametrize("value", [True, 2.0, None, -2])
def test_what_is_no_prompt_is_refused(value: Any) -> None:
    with pytest.raises(InterpError, match="expected text, a list of texts, token ids"):
        MODEL.run(value)


def test_built_in_tasks() -> None:
    demo = interp.load("demo")
    wanted = interp.task("ioi", demo, n=2, seed=2).pairs
    for value in WHOLE[1:]:
        assert interp.task("ioi", demo, n=value, seed=value).pairs == wanted
    for value in (*NONE, None):
        with pytest.raises(InterpError, match="seed"):
            interp.task("ioi", demo, n=2, seed=value)
    for value in NONE:
        with pytest.raises(InterpError, match="n "):
            interp.task("ioi", demo, n=value)
        with pytest.raises(InterpError, match="max_new_tokens"):
            demo.generate("the", max_new_tokens=value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_batch_of_no_size_and_a_seed_that_no_generator_takes() -> None:
    """A batch of -2 prompts would run none, and measure nothing."""
    with pytest.raises(InterpError, match="batch_size=-2: expected 1 or more"):
        evaluation(batch_size=-2)
    with pytest.raises(InterpError, match="seed=-1: expected 0 or more"):
        evaluation(seed=-1)
    with pytest.raises(InterpError, match="seed=-1: expected 0 or more"):
        scores(method="auto", budget="3F", seed=-1)
