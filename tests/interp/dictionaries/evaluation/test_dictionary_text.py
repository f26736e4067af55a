"""What an evaluation reads, batch by batch; its files; what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.evaluation.evaluate import evaluate_dictionary, evaluate_on
from interp.dictionaries.evaluation.evaluated_text import read_text
from interp.dictionaries.evaluation.measured import DictionaryEvaluation
from interp.parts.sites import Site
from tests.interp.dictionaries.evaluation.evaluated import BOS, DICTIONARIES, D, hooked_reads, model_of, rows, whole
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import parts
from tests.interp.rules.float64 import true_float64

# ---------------------------------------------------------------- the text


@pytest.fixture
def wide() -> Iterator[None]:
    """Norms and rotations compute in float64 too: in float32 some processors add in another order for other shapes."""
    with true_float64():
        yield


def test_batches_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch, wide: None) -> None:
    model, d = model_of("llama"), made("resid_post.0", D, n=48, dtype=torch.float64)
    first = evaluate_dictionary(model, d, rows())
    monkeypatch.setattr("interp.dictionaries.evaluation.evaluated_text.FORWARD_TOKENS", 1)
    alone = evaluate_dictionary(model, d, rows())
    monkeypatch.setattr("interp.dictionaries.evaluation.dashboard_stream.ENCODE_BYTES", 1000)
    apart = evaluate_dictionary(model, d, [torch.tensor([row]) for row in rows()])
    for other in (alone, apart):
        assert other.counts.tolist() == first.counts.tolist()
        for name in ("explained_variance", "mse", "cosine"):
            assert getattr(other, name) == pytest.approx(getattr(first, name), abs=1e-12)
        assert vars(other.cross_entropies) == pytest.approx(vars(first.cross_entropies), abs=1e-12)


def test_exactly_so_many_tokens_are_counted() -> None:
    model = model_of()
    found = evaluate_dictionary(model, whole(), rows(), tokens=17)
    assert found.tokens == 17
    kept = torch.cat([hooked_reads(model, row)[0] for row in rows()])[:17]
    assert found.counts.tolist() == (torch.cat([kept, -kept], 1) > 0).sum(0).tolist()
    assert evaluate_dictionary(model, whole(), rows(), keep_bos=True).tokens == sum(map(len, rows()))


def test_held_out_documents_are_those_that_training_sets_aside() -> None:
    """A quarter of the documents, the same ones for the same seed, others for another."""
    from interp.dictionaries.training.data.reading import open_documents
    from interp.dictionaries.training.data.rows import Cutter, Rows

    model, data = model_of(), rows(40)
    cutter = Cutter.of(model, None, False)

    def ids(seed: int) -> list[list[int]]:
        text = read_text(model, data, tokens=10_000, seed=seed, hold_out=0.25)
        found = [ids[real].tolist() for b in text.batches for ids, real in zip(b.ids, b.real, strict=True)]
        return sorted(found)

    training = Rows(open_documents(data, 3), cutter, share=0.25, seed=3)
    assert ids(3) == sorted(row for i, row in enumerate(data) if training.held_out(i))
    assert len(ids(3)) == 10 and ids(3) != ids(4)


def test_generated_text_is_not_the_text_of_training() -> None:
    from interp import load
    from interp.dictionaries.training.data.documents import Written

    model = load("demo")
    text = read_text(model, "demo", tokens=2000)
    trained = {tuple(model.tokenizer.encode(Written(0).read(i))) for i in range(200)}
    found = {tuple(ids[real].tolist()) for b in text.batches for ids, real in zip(b.ids, b.real, strict=True)}
    assert len(found) > 20 and not found & trained


def test_several_dictionaries_share_one_text() -> None:
    model = model_of()
    text = read_text(model, rows(), tokens=1000)
    both = evaluate_on(model, list(DICTIONARIES.values()), text, pca=None)
    for d, found in zip(DICTIONARIES.values(), both, strict=True):
        alone = evaluate_dictionary(model, d, rows(), tokens=1000, pca=None)
        assert found.explained_variance == alone.explained_variance and found.target == str(d.target)
        assert found.cross_entropies == alone.cross_entropies and found.pca == ()


# ---------------------------------------------------------------- files and refusals


def test_files(tmp_path: Path) -> None:
    found = evaluate_dictionary(model_of(), DICTIONARIES["mlp_out"], rows())
    found.save(tmp_path / "e.json")
    again = DictionaryEvaluation.load(tmp_path / "e.json")
    assert again.to_dict() == found.to_dict() and np.array_equal(again.densities, found.densities)
    for change, message in (
        ({"format": "other"}, "format 'other'"),
        ({"pca": 3}, "damaged"),
        ({"cross_entropies": {}}, "damaged"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(found.to_dict() | change))
        with pytest.raises(DictionaryError, match=message):
            DictionaryEvaluation.load(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DictionaryError, match="cannot be read"):
        DictionaryEvaluation.load(tmp_path / "bad.json")


def test_activations_that_are_not_finite() -> None:
    model = model_of()
    with torch.no_grad():
        parts("gpt2", model.hf, 0).block.mlp.c_proj.bias[3] = float("nan")
    with pytest.raises(DictionaryError, match=r"activations at 'resid_post\.0' are not finite"):
        evaluate_dictionary(model, whole(), rows())


def test_what_the_dictionary_makes_is_not_finite() -> None:
    with pytest.raises(DictionaryError, match="makes numbers that are not finite"):
        evaluate_dictionary(model_of(), whole(W_dec=torch.full((2 * D, D), 1e308, dtype=torch.float64)), rows())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"data": []}, "holds no documents"),
    ({"data": [[BOS], [BOS]]}, "nothing but BOS and padding"),
    ({"data": [[5], [6], [7]]}, "no next token to predict"),
    ({"data": [[5, 6, 7, 8]]}, "one half of the rows"),
    ({"data": [[5, 5], [5, 5]], "dictionary": "mlp_pre"}, "is one of width|has width"),
    ({"tokens": 0}, "tokens=0: expected a whole number, 1 or more"),
    ({"tokens": 3.5}, "tokens=3.5: expected a whole number"),
    ({"context": 1}, "context=1: expected a whole number, 2 or more"),
    ({"seed": -1}, "seed=-1: expected a whole number, 0 or more"),
    ({"pca": 0}, "pca=0: expected 1 component or more"),
    ({"context": 1000}, "context=1000: expected 2 to 64"),
    ({"dictionary": "width"}, "has width 31; this model has 32 there"),
    ({"dictionary": "layer"}, "layer 7 does not exist"),
    ({"hold_out": 0.9}, "hold_out=0.9: expected the share"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input(given: dict[str, Any], message: str) -> None:
    wrong = {"width": made("resid_post.0", 31), "layer": made("resid_post.7", D), "mlp_pre": made("mlp_pre.0", D)}
    given = {"data": rows(), **given}
    d = wrong.get(given.pop("dictionary", ""), whole())
    with pytest.raises(Exception, match=message) as caught:
        evaluate_dictionary(model_of(), d, given.pop("data"), **given)
    assert type(caught.value).__module__.startswith("interp")


def test_a_target_that_never_varies() -> None:
    """One token, seen at one position only, is the same vector each time."""
    with pytest.raises(DictionaryError, match="is the same on all 4 tokens"):
        evaluate_dictionary(model_of(), whole(), [[BOS, 5]] * 4)


def test_site_names_survive() -> None:
    found = evaluate_dictionary(model_of(), DICTIONARIES["mlp_out"], rows())
    assert (found.site, found.target) == (str(Site("mlp_normed", 0)), "mlp_out.0")
    assert found.data == "the list" and found.model == "gpt2" and found.activation == "JumpRelu"


def test_the_trainer_and_the_evaluation_agree(tmp_path: Path) -> None:
    """Explained variance and L0 of the documents that training held out: logged at its end, and measured on what it saved."""
    from interp.dictionaries.storage import load_dictionary
    from interp.dictionaries.training.checkpoints.folder import read_record
    from interp.dictionaries.training.train_dictionaries import train_dictionary

    model, data = model_of(), rows(80)
    common: dict[str, Any] = {"hold_out": 0.25, "seed": 5}
    for site, architecture in (("resid_post.0", "batchtopk"), ("mlp_normed.0", "transcoder")):
        out = tmp_path / architecture
        train_dictionary(
            model,
            data,
            site=site,
            d_sae=48,
            architecture=architecture,
            tokens=2000,
            batch_tokens=100,
            out=out,
            **common,
        )
        record = read_record(out)
        assert record is not None
        (final,) = record["final"].values()
        found = evaluate_dictionary(model, load_dictionary(out), data, **common)
        assert found.explained_variance == pytest.approx(final["held_out_explained_variance"], abs=1e-6)
        assert found.l0 == pytest.approx(final["held_out_l0"], rel=1e-3)
        assert 0 < found.explained_variance < 1
