"""What models with several stacks take, and refuse; what they write; what their positions are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.errors import (
    EditError,
    InterpError,
    SiteError,
    TaskError,
    UnsupportedRuleError,
)
from interp.model.edits import Edit, add, patch, zero
from interp.rules.rules import DEEPLIFT
from tests.interp.model.several.made import BART, CLIP, T5, WHISPER, given, known, output
from tests.interp.model.several.speaking import speaking

_ONES = torch.ones(2, 6, dtype=torch.long)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder_input_ids": None}, "decoder_input_ids missing"),
        ({"input_ids": None}, "input_ids missing"),
        ({"pixel_values": torch.zeros(2, 3, 4, 4)}, "pixel_values"),
        ({"decoder_input_ids": torch.zeros(1, 3, dtype=torch.long)}, "several batch sizes"),
        ({"decoder_input_ids": torch.full((2, 3), 64)}, "0 to 63"),
        ({"input_ids": torch.full((2, 3), -1)}, "token ids from -1"),
        ({"input_ids": torch.ones(2, 3)}, r"input_ids: given \[2, 3\] torch.float32"),
        ({"input_ids": torch.ones(6, dtype=torch.long)}, "expected token ids"),
        ({"decoder_input_ids": torch.zeros(2, 0, dtype=torch.long)}, r"\[2, 0\]"),
        ({"attention_mask": _ONES[:, :3]}, r"attention_mask: given \[2, 3\]"),
        ({"attention_mask": torch.ones(2, 9)}, r"for each of the ids \[2, 6\]"),
        ({"attention_mask": 5 * _ONES}, "0 or 1"),
        ({"attention_mask": 0 * _ONES}, "no id that is shown"),
        ({"decoder_attention_mask": _ONES}, r"for each of the ids \[2, 5\]"),
        ({"encoder_outputs": torch.zeros(2, 6, 32)}, "encoder_outputs"),
        ({"inputs_embeds": torch.zeros(2, 6, 32)}, "inputs_embeds"),
        ({"past_key_values": torch.zeros(2, 6)}, "past_key_values"),
        ({"use_cache": torch.tensor(True)}, "use_cache"),
        ({"colour": torch.zeros(2)}, "does not take colour"),
    ],
)
@pytest.mark.parametrize("name", [T5, BART])
def test_inputs_that_are_none_are_refused(name: str, change: dict[str, Any], words: str) -> None:
    inputs = {key: x for key, x in {**given(name), **change}.items() if x is not None}
    with pytest.raises(TaskError, match=words):
        known(name).run(inputs)


@pytest.mark.parametrize(
    "odd",
    ["the cat", ["the", "cat"], torch.zeros(1, 3, dtype=torch.long), 5, None],
    ids=["text", "texts", "ids", "number", "none"],
)
def test_what_is_no_mapping_is_refused_with_what_is_needed(odd: Any) -> None:
    """Text needs a tokeniser, and two towers more than one text."""
    with pytest.raises(TaskError, match=r"tokeniser|input_ids|text"):
        known(CLIP if odd == "the cat" else T5).run(odd)


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        (torch.zeros(2, 6, 31), EditError),
        (torch.zeros(1, 6, 32), EditError),
        (torch.zeros(2, 32), EditError),
        (torch.zeros(2, 6, 32, dtype=torch.long), EditError),
        (torch.zeros(2, 6, 32, dtype=torch.float64), EditError),
        (torch.full((2, 6, 32), float("nan")), EditError),
        ("what", EditError),
    ],
)
def test_what_no_encoder_gives_is_refused(encoded: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="encoded"):
        known(T5).run(given(T5), encoded=encoded)


def test_an_encoder_that_is_not_run_has_no_sites() -> None:
    model, inputs = known(T5), given(T5)
    encoded = model.encode(inputs)
    for options in ({"reads": ["encoder:z"]}, {"edits": [zero("encoder:z.0")]}):
        with pytest.raises(SiteError, match="encoder is not run"):
            model.run(inputs, encoded=encoded, **options)  # type: ignore[arg-type]
    with pytest.raises(EditError, match=r"\[2, 6, 32\]"):
        model.run({**inputs, "attention_mask": _ONES}, encoded=encoded[:, :4])
    with pytest.raises((EditError, TaskError)):
        known(CLIP).run(given(CLIP), encoded=encoded)


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("foo:z.1", "'encoder:', none"),
        ("encoder:z.2", "layers 0 to 1"),
        ("encoder:cross_z.0", "attend to no other stack"),
        ("encoder:logits", "whole model"),
        ("text:z.0", "prefix"),
    ],
)
def test_sites_that_are_not_there_are_refused(site: str, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        known(T5).run(given(T5), reads=[site])


def test_names_of_other_libraries_are_understood() -> None:
    model, inputs = known(T5), given(T5)
    run = model.run(
        inputs, reads=["encoder_blocks.1.attn.hook_z", "decoder_blocks.1.attn.hook_z", "decoder:resid_post.0"]
    )
    plain = model.run(inputs, reads=["encoder:z.1", "z.1", "resid_post.0"])
    for site in ("encoder:z.1", "z.1", "resid_post.0"):
        assert torch.equal(run[site], plain[site])
    assert known(CLIP).run(given(CLIP), reads=["vision:z.1"])["vision:z.1"].shape == (1, 17, 4, 8)


def test_edits_and_runs_that_do_not_fit_are_refused() -> None:
    model, inputs = known(T5), given(T5)
    with pytest.raises(EditError, match="shape"):
        model.run(inputs, edits=[patch("encoder:resid_post.0", torch.zeros(2, 5, 32))])
    with pytest.raises(DictionaryError):
        model.run(inputs, dictionaries={"encoder:resid_post.0": None})  # type: ignore[dict-item]
    longer = model.run(given(T5, n=7), keep_operands=True)
    with pytest.raises(UnsupportedRuleError, match="one length"):
        model.run(inputs, rules=DEEPLIFT, toward=longer, reads=["embed"])


# ---------------------------------------------------------------- texts


def test_a_source_and_what_its_decoder_has_been_given() -> None:
    model = speaking()
    one = model.inputs("the cat is red", decoder="der katze").tensors
    assert one["input_ids"].tolist() == [[7, 5, 8, 3, 1]] and one["decoder_input_ids"].tolist() == [[0, 13, 11]]
    several = model.inputs(["the cat", "the cat is red"]).tensors
    assert several["input_ids"].tolist() == [[7, 5, 1, 0, 0], [7, 5, 8, 3, 1]]
    assert several["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert several["decoder_input_ids"].tolist() == [[0], [0]]
    assert torch.equal(model.run("the cat is red").logits, model.run(model.inputs("the cat is red")).logits)
    assert model.positions("the cat is red", "encoder") == ("the", "cat", "is", "red", "</s>")
    assert model.positions(model.inputs("the cat", decoder="der"), "") == ("<pad>", "der")


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (None, {}),
        (5, {}),
        ([3, 4], {}),
        ("the cat", {"decoder": ["der", "ein"]}),
        ("the cat", {"decoder": 3}),
        ("the cat", {"text": "the dog"}),
        (["the cat", 3], {}),
    ],
)
def test_sources_that_are_none_are_refused(source: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TaskError):
        speaking().inputs(source, **options)


def test_towers_read_no_decoder() -> None:
    with pytest.raises(TaskError, match="decoder"):
        known(CLIP).inputs(given(CLIP)["pixel_values"], decoder="der")
    with pytest.raises(TaskError):
        known(CLIP).run({"pixel_values": given(CLIP)["pixel_values"]})
    with pytest.raises(TaskError, match="no decoder"):
        known(CLIP).encode(given(CLIP))


# ---------------------------------------------------------------- writing


def _greedy(model: Any, ids: Tensor, n: int) -> list[int]:
    found = model.hf.generate(input_ids=ids, do_sample=False, use_cache=False, max_new_tokens=n)[0, 1:].tolist()
    return found[: found.index(1)] if 1 in found else found


def test_what_is_written_is_what_transformers_writes() -> None:
    model = speaking()
    for source in ("the cat is red", "the dog", "is is blue"):
        ids = model.inputs(source).tensors["input_ids"]
        expected = model.tokenizer.decode(_greedy(model, ids, 7), skip_special_tokens=True)
        assert model.generate(source, max_new_tokens=7) == expected


@torch.no_grad()
def test_what_is_written_under_edits_of_either_stack() -> None:
    """Against a loop of whole runs with the edit in force."""
    model = speaking()
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    for edit in (zero("cross_z.0"), add("encoder:resid_post.1", 3 * direction), add("resid_post.1", 3 * direction)):
        inputs = dict(model.inputs("the cat is red", decoder="der").tensors)
        written: list[int] = []
        for _ in range(5):
            new = int(model.run(inputs, edits=[edit]).logits[0, -1].argmax())
            if new == 1:
                break
            written.append(new)
            inputs["decoder_input_ids"] = torch.cat([inputs["decoder_input_ids"], torch.tensor([[new]])], 1)
        expected = model.tokenizer.decode(written, skip_special_tokens=True)
        assert model.generate(model.inputs("the cat is red", decoder="der"), edits=[edit], max_new_tokens=5) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -1},
        {"do_sample": True, "temperature": 0},
        {"temperature": -1.0},
        {"do_sample": True, "seed": "one"},
        {"dictionaries": {"z.0": 1}},
    ],
)
def test_odd_options_of_writing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InterpError):
        speaking().generate("the cat", **options)
    with pytest.raises(TaskError):
        speaking().generate(["the cat", "the dog"])


def test_samples_are_drawn_by_their_seed() -> None:
    model = speaking()
    texts = [model.generate("the cat", do_sample=True, seed=seed, max_new_tokens=8) for seed in (0, 0, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) > 1


# ---------------------------------------------------------------- positions


def test_positions_of_every_stack_have_names() -> None:
    sound = known(WHISPER)
    assert sound.positions(given(WHISPER, batch=1), "encoder") == tuple(f"t{i}" for i in range(16))
    assert len(sound.positions(given(WHISPER, batch=1))) == 5
    towers, inputs = known(CLIP), given(CLIP)
    assert towers.positions(inputs, "vision")[:4] == ("CLS", "r0c0", "r0c1", "r0c2")
    assert towers.positions(inputs, "text") == tuple(f"<{i}>" for i in inputs["input_ids"][0].tolist())
    for stack in ("", "encoder", "words"):
        with pytest.raises(SiteError):
            towers.positions(inputs, stack)


@torch.no_grad()
def test_a_model_without_tokeniser_writes_ids() -> None:
    model, inputs = known(BART), {key: x[:1] for key, x in given(BART).items()}
    ids = [int(i) for i in model.generate(inputs, max_new_tokens=2).split()]
    assert ids[0] == int(output(model.hf, inputs)[0, -1].argmax())
    same = Edit("encoder:resid_post.0", lambda x: x)
    assert model.generate(inputs, max_new_tokens=2, edits=[same]) == " ".join(map(str, ids))
