"""A close look at circuits of encoders and classifiers: what is shown is the model's own answer, or it says why it is not there."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.closeups import look_closely
from circuits.circuit.selection import discover
from circuits.settings.prepared import Prepared, Settings, prepare_run
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.interp.attribution.on_encoders.asked import Asked, asked


@cache
def _looked(name: str) -> tuple[Asked, Prepared, Anatomy]:
    own = asked(name)
    masked = own.task.pairs[0].answers != ()
    texts = product(("the", "a"), ("cat", "dog"), ("mat", "play"))
    written = [(f"{a} {b} was {{}} on the {c}", b) for a, b, c in texts]
    pairs = [
        Pair(text.format("[MASK]"), text.format("[MASK]").replace("was", "ran"), "good", "bad")
        if masked
        else Pair(text.format("good"), text.format("bad"), (), answer_ids=2, wrong_ids=0)
        for text, _ in written
    ]
    settings = Settings(methods=("atp",), level="heads", n=4, n_random=1)
    job = prepare_run(own.model, Task(name, tuple(pairs)), settings)
    scores = job.request.score()["atp"]
    anatomy, _ = look_closely(job, scores, discover(scores, n=4), lambda message: None)
    return own, job, anatomy


@pytest.mark.parametrize(
    "name",
    [
        "bert-mlm",
        "modernbert-mlm",
        "bert-classes",
        "by-hand-before",
        "by-hand-mean",
        "gpt2-classes",
    ],
)
def test_the_lens_ends_at_the_models_own_answer_or_is_not_there(name: str) -> None:
    own, job, found = _looked(name)
    if not found.examples[0].lens:
        assert any(missing.view == "lens" for missing in found.missing)
        return
    for example, pair in zip(
        found.examples, job.evaluation.tokenize(own.model.tokenizer, own.model.outputs), strict=False
    ):
        with torch.no_grad():
            expected = float(own.metric(pair.clean, pair))
        assert abs(example.lens[-1].metric - expected) < 1e-3


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes"])
def test_writes_say_why_they_are_not_there_and_patterns_are_those_of_the_model(name: str) -> None:
    own, job, found = _looked(name)
    assert any(missing.view == "writes" and "act on the sums" in missing.reason for missing in found.missing)
    pairs = job.evaluation.tokenize(own.model.tokenizer, own.model.outputs)
    for example, pair in zip(found.examples, pairs, strict=False):
        own_patterns = own.model.hf(input_ids=torch.tensor([pair.clean]), output_attentions=True).attentions
        assert example.tokens[0] == "[CLS]" and example.tokens[-1] == "[SEP]"
        for pattern in example.patterns:
            layer, head = int(pattern.head[1]), int(pattern.head[4])
            wanted = 1000 * own_patterns[layer][0, head].detach().double().numpy()
            assert np.abs(np.array(pattern.rows) - wanted).max() <= 0.501


@pytest.mark.parametrize(
    ("name", "reads", "reader"),
    [
        ("bert-mlm", "one", "[MASK]"),
        ("bert-classes", "one", "[CLS]"),
        ("by-hand-mean", "all", ""),
        ("gpt2-classes", "last", None),
    ],
)
def test_where_heads_look_is_from_where_the_answer_is_read(name: str, reads: str, reader: str | None) -> None:
    _, _, found = _looked(name)
    for example in found.examples:
        assert example.reads == reads and example.reader == (example.tokens[-1] if reader is None else reader)
        for pattern in example.patterns:
            rows = np.array(pattern.rows) / 1000
            at = {"one": example.tokens.index(reader or example.tokens[-1]), "last": -1}.get(reads)
            wanted = rows.mean(0) if at is None else rows[at]
            assert np.abs(np.array(pattern.looks) - wanted).max() <= 0.00051 and pattern.looked == pattern.looks
