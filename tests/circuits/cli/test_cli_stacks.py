"""`circuits discover` on an encoder-decoder: both stacks are scored, mapped and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from circuits.runs.record_files import load_record
from interp.attribution.request import attribute
from interp.parts.nodes import Node
from interp.tasks.task_files import load_task
from tests.circuits.cli.called import Run, run
from tests.interp.model.several.speaking import speaking, t5, tokenizer

__all__ = ["run"]


def _files() -> None:
    """The model and a task in the present folder."""
    t5().save_pretrained("model")
    tokenizer().save_pretrained("model")
    swaps = [("cat", "dog", "katze", "hund"), ("dog", "cat", "hund", "katze")]
    rows: list[dict[str, Any]] = [
        {"clean": f"the {a} is {c}", "corrupt": f"the {b} is {c}", "answer": x, "wrong": y, "decoder": "der"}
        for c in ("red", "blue")
        for a, b, x, y in swaps
    ]
    Path("words.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_a_run_on_an_encoder_decoder(run: Run) -> None:
    _files()
    code, out, err = run("discover", "--model", "model", "--task", "words.jsonl", "--out", "out")
    assert code == 0, out + err
    record = load_record(Path("out"))
    scores = next(own for own in record.scores if own.provenance.method == "atp")
    half, _ = load_task("words.jsonl").split(0)
    expected = attribute(speaking(), half, method="atp", level="heads")
    assert {node.name for node in scores.parts} == {node.name for node in expected.parts}
    for name in ("encoder:embed", "encoder:a1.h2", "x0.h1", "m2"):
        assert scores[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5)
    assert record.labels == {"": ("<pad>", "der"), "encoder": ("the", "cat", "is", "red", "</s>")}
    assert record.circuit is not None and {node.stack for node in record.circuit.nodes} == {"encoder", ""}
    assert record.position_map is not None
    spots = {(node.stack, node.position) for node in record.position_map.parts if isinstance(node, Node)}
    assert spots == {("encoder", p) for p in range(5)} | {("", p) for p in range(2)}
    page = Path("out/report.html").read_text()
    for text in ("encoder layer 0", "encoder layer 1", "encoder:embed", "x0.h1"):
        assert text in page, text


def test_what_is_refused_leaves_nothing(run: Run) -> None:
    _files()
    for options, words in ((("--level", "edges"), "several streams"), (("--ablation", "optimal"), "several streams")):
        code, _, err = run("discover", "--model", "model", "--task", "words.jsonl", "--out", "out", *options)
        assert code == 2 and words in err.splitlines()[-1] and "Traceback" not in err
        assert not Path("out").exists()


def test_where_heads_look_in_the_other_stream(run: Run) -> None:
    """The patterns of heads that attend to the encoder, against a plain run's, on the words of the source."""
    _files()
    code, out, err = run("discover", "--model", "model", "--task", "words.jsonl", "--out", "out", "--n", "20")
    assert code == 0, out + err
    anatomy = load_record(Path("out")).anatomy
    assert anatomy is not None
    model, example = speaking(), anatomy.examples[0]
    assert example.source[0] == "the" and example.source[-1] == "</s>" and example.tokens == ("<pad>", "der")
    across = [own for own in example.patterns if own.across]
    assert across and all(own.head.startswith("x") for own in across)
    words = {"input_ids": " ".join(example.source[:-1]), "decoder_input_ids": "der"}
    given = {name: torch.tensor([model.tokenizer.encode(text)]) for name, text in words.items()}
    given["decoder_input_ids"] = torch.tensor([[0, *given["decoder_input_ids"][0].tolist()[:1]]])
    for own in across:
        layer, head = map(int, own.head[1:].split(".h"))
        weights = model.run(given, reads=[site := f"cross_pattern.{layer}"])[site][0, head].detach()
        assert weights.shape == (2, 5) and own.looks == pytest.approx(weights[-1].tolist(), abs=2e-5)
        assert own.rows == tuple(tuple(round(1000 * w) for w in row) for row in weights.tolist())
    page = Path("out/report.html").read_text()
    assert f"Attention pattern of {across[0].head}" in page and "looks at" in page
