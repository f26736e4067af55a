"""Training runs: what comes out of them, and what they refuse. Resuming is in `test_dictionary_resume`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.checkpoints.folder import read_record
from interp.dictionaries.training.data.chunks import CHUNK_TOKENS, Activations
from interp.dictionaries.training.train_dictionaries import train_dictionaries, train_dictionary
from interp.errors import InterpError
from tests.interp.dictionaries.training.data.trained import BOS, SITE, documents, equal, small
from tests.interp.model import tiny


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.hooked("llama")


# ---------------------------------------------------------------- what comes out


def test_training_explains_held_out_text_better_and_better(model: Any, tmp_path: Path) -> None:
    d = train_dictionary(
        model,
        documents(300),
        **small(tokens=40_000, batch_tokens=200, buffer=4000, d_sae=96, k=12, out=tmp_path / "run"),
    )
    record = read_record(tmp_path / "run")
    assert record is not None and record["status"] == "complete"
    rows = record["log"][d.name]
    curve = [row["held_out_explained_variance"] for row in rows if "held_out_explained_variance" in row]
    assert len(curve) > 5 and curve[-1] > 0.5 > curve[0] and all(row["l0"] == 12 for row in rows)
    assert rows[-1]["tokens"] == 40_000 and record["source"]["epoch"] >= 1
    back = interp.load_dictionary(tmp_path / "run")
    assert equal(back, d) and back.site == SITE and back.details["trained_tokens"] == 40_000
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "cfg.json",
        "sae_weights.safetensors",
        "training.json",
    ]


@pytest.mark.parametrize("steps", [50, 100, 300])
def test_a_short_batchtopk_training_ends_with_about_k_active_features(model: Any, tmp_path: Path, steps: int) -> None:
    """On text that was held out, with the threshold that is saved, not the choice of k per token of the training."""
    settings = small(architecture="batchtopk", tokens=200 * steps, batch_tokens=200, buffer=3000, out=tmp_path / "run")
    train_dictionary(model, documents(300), **settings)
    record = read_record(tmp_path / "run")
    assert record is not None
    assert next(iter(record["final"].values()))["held_out_l0"] == pytest.approx(6, rel=0.2)


def test_two_runs_give_the_same_bits_and_another_seed_others(model: Any) -> None:
    one, other = (train_dictionary(model, documents(), **small()) for _ in range(2))
    assert equal(one, other) and not equal(one, train_dictionary(model, documents(), **small(seed=1)))


def test_several_dictionaries_from_one_pass_are_those_trained_alone(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = type(model).run

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return run(*args, **kwargs)

    monkeypatch.setattr(type(model), "run", counted)
    common = {k: v for k, v in small().items() if k not in ("site", "d_sae", "k")}
    specs = [
        {"site": "resid_post.0", "d_sae": 48, "k": 6},
        {"site": "resid_post.0", "d_sae": 24, "architecture": "standard"},
    ]
    alone = []
    for spec in specs:
        calls.clear()
        alone += train_dictionaries(model, documents(), [spec], **common)
    each = len(calls)
    calls.clear()
    together = train_dictionaries(model, documents(), specs, **common)
    assert len(calls) == each and all(equal(a, b) for a, b in zip(alone, together, strict=True))


def test_several_are_written_to_a_folder_each(model: Any, tmp_path: Path) -> None:
    common = {k: v for k, v in small().items() if k not in ("site", "d_sae", "k")}
    specs = [{"site": site, "d_sae": 40, "k": 4} for site in ("resid_post.0", "z.1", "mlp_out.1")]
    specs.append({"site": "mlp_normed.0", "d_sae": 40, "architecture": "skip_transcoder"})
    found = train_dictionaries(model, documents(), specs, out=tmp_path / "run", **common)
    back = interp.load_dictionaries(tmp_path / "run")
    assert {str(site) for site in back} == {"resid_post.0", "z.1", "mlp_out.1", "mlp_out.0"}
    assert all(equal(back[d.target], d) for d in found)
    assert found[3].transcoder and str(found[3].site) == "mlp_normed.0"


def test_a_cache_gives_the_same_weights_without_forward_passes(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = documents(200)
    monkeypatch.setattr(
        "interp.activations.collection.SHARD_BYTES", 20_000
    )  # several files, and chunks that lie in two
    plain = train_dictionary(model, data, **small())
    first = train_dictionary(model, data, cache=tmp_path / "cache", **small())
    assert len(list((tmp_path / "cache").glob("shard-*"))) > 2
    monkeypatch.setattr(Activations, "take", lambda self: pytest.fail("the model was run for activations"))
    second = train_dictionary(model, data, cache=tmp_path / "cache", **small())
    assert equal(plain, first) and equal(plain, second)
    with pytest.raises(DictionaryError, match="seed was 0, now 1"):
        train_dictionary(model, data, cache=tmp_path / "cache", **small(seed=1))
    with pytest.raises(DictionaryError, match=r"cache .* holds .* tokens"):
        train_dictionary(model, data, cache=tmp_path / "cache", **small(tokens=3000, buffer=600))


@pytest.mark.parametrize("given", [600, "200KiB", None])
def test_the_buffer_is_as_large_as_it_was_said_to_be(model: Any, tmp_path: Path, given: Any) -> None:
    train_dictionary(model, documents(), **small(buffer=given, out=tmp_path / "run"))
    record = read_record(tmp_path / "run")
    assert record is not None
    tokens = record["identity"]["buffer_tokens"]
    assert record["buffer_bytes"] == tokens * (32 * 4 + 16)
    assert tokens == {600: 600, None: 1200}.get(given, tokens) and (
        given != "200KiB" or record["buffer_bytes"] <= 200 << 10
    )


def test_no_buffer_is_larger_than_what_a_run_can_fill(model: Any, tmp_path: Path) -> None:
    """And sizes that come to the same buffer are the same run."""
    for given in ("900TiB", 100_000_000_000):
        train_dictionary(
            model, documents(), **small(buffer=given, out=tmp_path / "run", resume=(tmp_path / "run").exists())
        )
    record = read_record(tmp_path / "run")
    assert record is not None and record["identity"]["buffer_tokens"] == 1200 + CHUNK_TOKENS + 100


def test_the_default_buffer_stays_within_its_bytes_with_the_order(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp.dictionaries.training.data.buffer.BYTES", 100 << 10)
    train_dictionary(model, documents(), **small(buffer=None, out=tmp_path / "run"))
    record = read_record(tmp_path / "run")
    assert record is not None and (99 << 10) < record["buffer_bytes"] <= 100 << 10


def test_a_cache_that_was_not_finished_is_collected_again(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train_dictionary(model, documents(), **small())
    with monkeypatch.context() as patched:
        patched.setattr("interp.activations.collection.SHARD_BYTES", 20_000)
        patched.setattr("interp.activations.collection.Writer.finish", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            train_dictionary(model, documents(), cache=tmp_path, **small())
    assert list(tmp_path.glob("shard-*")) and not (tmp_path / "index.json").exists()
    assert equal(plain, train_dictionary(model, documents(), cache=tmp_path, **small()))
    (tmp_path / "index.json").unlink()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InterpError, match="not empty"):
        train_dictionary(model, documents(), cache=tmp_path, **small())


# ---------------------------------------------------------------- bad input

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no features": ({"d_sae": 0}, "d_sae=0"),
    "features that are no number": ({"d_sae": 1.5}, "d_sae=1.5"),
    "unknown site": ({"site": "resid_pots.0"}, "resid_post"),
    "layer out of range": ({"site": "resid_post.7"}, "layers 0 to 1"),
    "several sites": ({"site": "resid_post"}, "means 2 places"),
    "pattern": ({"site": "pattern.0"}, "no vector"),
    "logits": ({"site": "logits"}, "no vector"),
    "unknown architecture": ({"architecture": "topc"}, "Did you mean topk"),
    "unknown option": ({"l1_coeff": 3}, "unknown option of topk"),
    "k larger than the dictionary": ({"k": 100}, "there are 48 features"),
    "target of an autoencoder": ({"target": "mlp_out.0"}, "transcoder"),
    "transcoder without target": ({"architecture": "transcoder", "k": None}, "give a target"),
    "transcoder to an earlier site": (
        {"architecture": "transcoder", "k": None, "site": "resid_post.1", "target": "resid_post.0"},
        "comes after",
    ),
    "no tokens": ({"tokens": 0}, "tokens=0"),
    "less than a step": ({"tokens": 50}, "one step"),
    "no batch": ({"batch_tokens": 0}, "batch_tokens=0"),
    "small buffer": ({"buffer": 100}, "buffer=100 holds 100 tokens"),
    "buffer of no size": ({"buffer": "many"}, "256MiB"),
    "buffer beyond the machine": ({"buffer": "900TiB", "tokens": 10**14}, "GiB for the buffer .* smaller buffer"),
    "batch beyond the machine": ({"batch_tokens": 10**13, "tokens": 10**14, "buffer": None}, "buffer or batch_tokens"),
    "features beyond the machine": ({"d_sae": 1 << 62}, "GiB for the dictionaries, and cpu has .* smaller d_sae"),
    "context beyond the model's": ({"context": 65}, "2 to 64"),
    "context of one": ({"context": 1}, "context=1"),
    "share held out": ({"hold_out": 0.7}, "0 to 0.5"),
    "dtype": ({"dtype": "float16"}, "float32 or float64"),
    "seed": ({"seed": -1}, "seed=-1"),
    "learning rate": ({"lr": -1.0}, "lr=-1.0"),
    "checkpoints": ({"checkpoint_every": 0}, "checkpoint_every=0"),
    "name": ({"name": "../x"}, "name='../x'"),
    "long name": ({"name": "x" * 300}, "up to 100"),
    "name of the checkpoints": ({"name": "Checkpoint"}, "something else of this name"),
    "name of the record": ({"name": "training.json"}, "something else of this name"),
}
BAD_DATA: dict[str, tuple[Any, str]] = {
    "nothing": ([], "no documents"),
    "a number": (7, "expected a .txt"),
    "no such file": ("nowhere.txt", "No such file"),
    "numbers that are no ids": ([[1.5, 2.5]], "row of token ids"),
    "ids out of range": ([[1, 2, 9999]] * 50, "ids 0 to 63"),
    "only BOS": ([[BOS]] * 50, "0 tokens to train on|nothing could be held out"),
    "too short": ([[BOS, 5 + i] for i in range(20)], "one step takes 100"),
    "one document": ([list(range(3, 60)) * 10], "one document"),
    "text without a tokeniser": (["hello"] * 50, "no tokeniser"),
    "an empty iterator": (iter([]), "held out"),
    "one token over and over": ([[BOS, 5]] * 500, "same on all .* held-out tokens"),
    "an endless iterator of nothing": (itertools.repeat([BOS]), "nothing could be held out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_one_sentence_and_nothing_is_written(model: Any, tmp_path: Path, case: str) -> None:
    changes, words = BAD[case]
    with pytest.raises(InterpError, match=words) as found:
        train_dictionary(model, documents(), **small(out=tmp_path / "run", **changes))
    assert "\n" not in str(found.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_one_sentence_and_nothing_is_written(model: Any, tmp_path: Path, case: str) -> None:
    data, words = BAD_DATA[case]
    with pytest.raises(InterpError, match=words) as found:
        train_dictionary(model, data, **small(out=tmp_path / "run"))
    assert "\n" not in str(found.value) and not list(tmp_path.rglob("*.safetensors"))


def test_activations_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = tiny.hooked("llama")
    with torch.no_grad():
        broken.hf.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(DictionaryError, match=r"activations at resid_post\.0 .* not finite"):
        train_dictionary(broken, documents(), **small(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_left_alone(model: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DictionaryError, match="holds no training run"):
        train_dictionary(model, documents(), **small(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
