"""The table of heads over many texts, against transformers' own attentions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import interp
from interp.errors import InterpError, SiteError, TaskError
from interp.heads.statistics import HeadStatistics
from interp.model.model import HookedModel
from tests.interp.model.encoders.models import hooked as encoder
from tests.interp.model.tiny import hooked
from tests.interp.model.vision.made import made, seen
from tests.interp.parts.masks import wordpiece

SIZES = {
    "vocab_size": 32,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
ROWS = [[3, 4, 5, 3, 4, 9], [7, 7, 8], [3, 9, 3, 9, 3, 9], [11]]


def by_hand(attentions: tuple[torch.Tensor, ...], ids: list[int]) -> dict[str, list[float]]:
    """Two measures of every head from what transformers returns, [head] each."""
    rows = np.concatenate([layer[0].double().numpy() for layer in attentions])
    n = len(ids)
    before = [rows[:, i, i - 1] for i in range(1, n)]
    repeats = [[j + 1 for j in range(i - 1) if ids[j] == ids[i]] for i in range(n)]
    follow = [rows[:, i, js].sum(-1) for i, js in enumerate(repeats) if js]
    empty = np.full(len(rows), np.nan)
    return {
        "to_offset(-1)": np.mean(before, 0) if before else empty,
        "induction": np.mean(follow, 0) if follow else empty,
    }  # fmt: skip


def test_every_text_has_its_own_numbers_whatever_the_batch() -> None:
    model = hooked("llama")
    found = interp.head_statistics(model, ROWS)
    one = interp.head_statistics(model, ROWS, batch_size=1)
    np.testing.assert_allclose(found.per_example, one.per_example, atol=1e-6)
    for i, ids in enumerate(ROWS):
        with torch.no_grad():
            attentions = model.hf(torch.tensor([ids]), output_attentions=True).attentions
        for name, wanted in by_hand(attentions, ids).items():
            np.testing.assert_allclose(found.per_example[i, :, found.measures.index(name)], wanted, atol=1e-6)
    assert found.heads[5] == "a1.h1"
    n = dict(zip(found.measures, found.n, strict=True))
    assert (n["entropy"], n["to_offset(-1)"], n["to_offset(-3)"], n["induction"], n["previous_duplicate"]) == (
        4,
        3,
        2,
        2,
        3,
    )


def test_means_and_intervals_leave_out_texts_without_a_measure() -> None:
    values = np.array([[[1.0, np.nan]], [[3.0, 5.0]], [[5.0, np.nan]]])
    found = HeadStatistics(("a0.h0",), ("entropy", "induction"), values)
    assert found.mean.tolist() == [[3.0, 5.0]]
    assert found.n.tolist() == [3, 1]
    assert np.isnan(found.interval[0, 1]).all()
    low, high = found.interval[0, 0]
    assert 1 <= low < 3 < high <= 5
    with pytest.raises(InterpError, match="Did you mean induction"):
        found["inductoin"]


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    found = interp.head_statistics(hooked("gpt2"), ROWS, layers=[1])
    assert found.heads == ("a1.h0", "a1.h1", "a1.h2", "a1.h3")
    found.save(tmp_path / "heads.parquet")
    back = HeadStatistics.load(tmp_path / "heads.parquet")
    np.testing.assert_array_equal(back.per_example, found.per_example)
    assert back.to_pandas().equals(found.to_pandas())
    assert found.to_dict()["rows"][0]["head"] == "a1.h0"
    ids = torch.tensor(ROWS[0])
    assert len(interp.head_statistics(hooked("gpt2"), ids).per_example) == 1


def test_an_encoder_looks_both_ways() -> None:
    model = encoder("bert-mlm", wordpiece())
    texts = ["the cat sat on the mat .", "a dog ran"]
    found = interp.head_statistics(model, texts, tokens={"stop": ["."], "ends": ["[SEP]"]})
    for i, text in enumerate(texts):
        ids = model.tokenize(text).ids
        with torch.no_grad():
            rows = torch.cat(model.hf(ids, output_attentions=True).attentions, 1)[0].double()
        ahead = torch.stack([rows[:, q, q + 1] for q in range(ids.shape[1] - 1)]).mean(0)
        np.testing.assert_allclose(found.per_example[i, :, found.measures.index("to_offset(1)")], ahead, atol=1e-6)
        np.testing.assert_allclose(
            found.per_example[i, :, found.measures.index("to_token(ends)")], rows[..., -1].mean(-1), atol=1e-6
        )
        np.testing.assert_allclose(
            found.per_example[i, :, found.measures.index("entropy_from_cls")],
            torch.special.entr(rows[:, 0]).sum(-1), atol=1e-6,
        )  # fmt: skip
    assert dict(zip(found.measures, found.n, strict=True))["to_token(stop)"] == 1
    task = interp.Task("t", (interp.Pair("the [MASK] sat", "the [MASK] ran", "cat", "dog"),))
    of_task = interp.head_statistics(model, task, prompts="corrupt")
    np.testing.assert_array_equal(of_task.per_example, interp.head_statistics(model, ["the [MASK] ran"]).per_example)
    assert of_task.task == "t"


def test_images_have_offsets_of_two_axes() -> None:
    model = HookedModel(made("ViT-tall"))
    x = seen(model.hf, 3)
    found = interp.head_statistics(model, x, batch_size=2)
    with torch.no_grad():
        rows = torch.cat(model.hf(**x, output_attentions=True).attentions, 1).double()
    columns = 12 // 4
    right = [1 + i for i in range(12) if i % columns < columns - 1]
    wanted = torch.stack([rows[:, :, q, q + 1] for q in right]).mean(0)
    np.testing.assert_allclose(found.per_example[:, :, found.measures.index("to_offset(0,1)")], wanted, atol=1e-6)
    assert "entropy_from_cls" in found.measures and "induction" not in found.measures


def test_what_cannot_be_measured_is_refused() -> None:
    model = hooked("gpt2")
    for given, options, error, why in (
        ([], {}, TaskError, "no texts"),
        (ROWS, {"layers": []}, SiteError, "none given"),
        (ROWS, {"layers": [7]}, SiteError, "layer 7"),
        (ROWS, {"offsets": [2]}, TaskError, "later ones"),
        (ROWS, {"prompts": "dirty"}, TaskError, "dirty"),
        (ROWS, {"batch_size": 0}, InterpError, "batch_size"),
    ):
        with pytest.raises(error, match=why):
            interp.head_statistics(model, given, **options)  # type: ignore[arg-type]
    with pytest.raises(SiteError):
        interp.head_statistics(hooked("gptj"), ROWS)


@pytest.mark.real
def test_known_heads_of_a_real_model(real_model: Callable[[str], Path]) -> None:
    """Random tokens that start over: a head that looks at the token before in one, and one at what followed the copy in a later one."""
    model = interp.load(real_model("smollm2"))
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(1000, 40_000, (4, 20), generator=generator)
    found = interp.head_statistics(model, torch.cat([half, half], 1), offsets=[-1])
    (before, most), (copies, followed) = found.largest("to_offset(-1)", 1)[0], found.largest("induction", 1)[0]
    assert most > 0.7 and followed > 0.7
    assert int(before[1:].split(".")[0]) < int(copies[1:].split(".")[0])


def test_heads_of_an_encoder_behind_which_a_decoder_is() -> None:
    """Each stack by its prefix, with the tokens that it reads itself; texts of other lengths are run apart."""
    hf = T5ForConditionalGeneration(T5Config(**SIZES)).eval()
    hf.set_attn_implementation("eager")
    model = HookedModel(hf)
    given = [{"input_ids": [ids], "decoder_input_ids": [[0, 5, 6, 5]]} for ids in ROWS[:3]]
    found = interp.head_statistics(model, given, stack="encoder")
    for i, one in enumerate(given):
        with torch.no_grad():
            out = hf(**{name: torch.tensor(x) for name, x in one.items()}, output_attentions=True)
        for name, wanted in by_hand(out.encoder_attentions, ROWS[i]).items():
            np.testing.assert_allclose(found.per_example[i, :, found.measures.index(name)], wanted, atol=1e-6)
        own = by_hand(out.decoder_attentions, [0, 5, 6, 5])["induction"]
        decoder = interp.head_statistics(model, one)
        np.testing.assert_allclose(decoder["induction"], own, atol=1e-6)
    assert found.heads[0] == "encoder:a0.h0" and "to_offset(1)" in found.measures
    assert decoder.heads[0] == "a0.h0" and "to_offset(1)" not in decoder.measures
    patterns = interp.attention_patterns(model, given[0], stack="encoder")
    assert patterns.heads[0] == "encoder:a0.h0" and patterns.weights.shape[-2:] == (6, 6)
    hidden = given[0] | {"attention_mask": [[1, 1, 1, 1, 1, 0]]}
    with pytest.raises(TaskError, match="without padding"):
        interp.head_statistics(model, hidden)
    with pytest.raises(SiteError, match="vision"):
        interp.head_statistics(model, given, stack="vision")
