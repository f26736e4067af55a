"""What lenses say of encoders and classifiers: nothing where the output is no norm and linear map of a position's own stream."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import LayoutError
from tests.interp.model.encoders.models import hooked, output
from tests.interp.model.plain import close
from tests.interp.parts.masks import wordpiece

TEXT = "the [MASK] sat on a mat"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bert-mlm", "more than a norm and a linear map"),
        ("modernbert-mlm", "more than a norm and a linear map"),
        ("bert", "more than a norm and a linear map"),
    ],
)
def test_no_lens_through_more_than_a_linear_head(name: str, why: str) -> None:
    model = hooked(name, wordpiece())
    with pytest.raises(LayoutError, match=why):
        interp.logit_lens(model, TEXT)


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "gpt2-classes", "by-hand-around", "by-hand-mean"])
def test_no_direct_attribution(name: str) -> None:
    model = hooked(name, wordpiece())
    answers = ("cat", "dog") if model.layout.readout == "each" else model.outputs.names[:2]  # type: ignore[union-attr]
    task = interp.Task("made", (interp.Pair(TEXT, TEXT.replace("sat", "ran"), *answers),))
    for asked in (
        interp.direct_logit_attribution,
        lambda m, t: interp.direct_effects(m, t, [interp.Node("head", 0, 0)]),
    ):
        with pytest.raises(LayoutError, match=r"act on the sums|one for the prompt|more than a norm"):
            asked(model, task)


@pytest.mark.parametrize("name", ["by-hand-around", "by-hand-before"])
@torch.no_grad()
def test_the_lens_of_a_linear_head(name: str) -> None:
    """At the last stream it is the output; before it, the head by hand."""
    model = hooked(name, wordpiece())
    found, run = interp.logit_lens(model, TEXT), model.run(TEXT, reads=["resid_post"])
    close(found.logits[-1], output(model.hf, run.tokens.ids))
    norm = model.hf.last if name == "by-hand-before" else torch.nn.Identity()
    close(found.logits[0], model.hf.head(norm(run["resid_post.0"])))


def test_the_lens_of_a_classifier_of_tokens_is_refused() -> None:
    """Its outputs are labels, which no token is called by."""
    model = hooked("bert-tokens", wordpiece(), id2label={0: "x", 1: "y", 2: "z"}, label2id={"x": 0, "y": 1, "z": 2})
    with pytest.raises(LayoutError, match="no tokens"):
        interp.logit_lens(model, TEXT)


def test_direct_attribution_is_of_next_tokens_alone() -> None:
    """It reads the last position, where a masked model answers nothing, however linear its head is."""
    model = hooked("by-hand-before", wordpiece())
    task = interp.Task("made", (interp.Pair(TEXT, TEXT.replace("sat", "ran"), "cat", "dog"),))
    with pytest.raises(LayoutError, match="answers at its mask"):
        interp.direct_logit_attribution(model, task)
    with pytest.raises(LayoutError, match="answers at its mask"):
        interp.direct_effects(model, task, [interp.Node("head", 0, 0)])


@pytest.mark.parametrize("name", ["bert-mlm", "roberta-classes", "by-hand-mean"])
@torch.no_grad()
def test_patterns(name: str) -> None:
    model = hooked(name, wordpiece())
    found = interp.attention_patterns(model, TEXT)
    run = model.run(TEXT, reads=["pattern"])
    assert found.tokens == ("[CLS]", "the", "[MASK]", "sat", "on", "a", "mat", "[SEP]")
    for layer in range(2):
        close(torch.as_tensor(found.weights[layer]), run[f"pattern.{layer}"][0], 0)
    close(torch.as_tensor(found.weights).sum(-1), torch.ones(found.weights.shape[:-1]))
