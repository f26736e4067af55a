"""The class that comes back is the one that the configuration names, with the weights of the files, all and no others."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import interp
from interp.errors import LoadError
from interp.model.loading.fit import LoadWarning
from interp.model.loading.pretrained import read_pretrained
from tests.interp.model.loading.folders import change_weights, saved, set_key
from tests.interp.model.loading.others import other
from tests.interp.model.tiny import tiny

NAMES = (
    "BertForMaskedLM", "BertForSequenceClassification", "BertModel", "ViTForImageClassification", "T5ForConditionalGeneration",
    "Wav2Vec2ForCTC",
)  # fmt: skip


def read(folder: Path) -> Any:
    """The model alone; any warning fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LoadWarning)
        model, left = read_pretrained(str(folder), True, None)
    assert left == ()
    return model


def kept(model: Any, folder: Path, named: str | None = None) -> Path:
    """The model in a folder, whose configuration names another class where `named` says so."""
    model.save_pretrained(folder)
    if named is not None:
        set_key(folder, "config.json", "architectures", [named])
    return folder


def assert_within(found: Any, whole: Any) -> None:
    """Every weight of one model is that of another, by its name there."""
    theirs = whole.state_dict()
    assert all(torch.equal(theirs[name], weight) for name, weight in found.state_dict().items())


def assert_same(found: Any, wanted: Any) -> None:
    """Of one class, with bit-equal weights of one type."""
    a, b = found.state_dict(), wanted.state_dict()
    assert type(found) is type(wanted) and not found.training and a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in b)


@pytest.mark.parametrize("name", NAMES)
def test_the_named_class_with_the_weights_of_the_files(name: str, tmp_path: Path) -> None:
    model = other(name)
    assert_same(read(kept(model, tmp_path)), model)


def test_the_padding_row_is_that_of_the_files(tmp_path: Path) -> None:
    """Funnel's class puts 0 there once it has read the weights, and its head is the embedding."""
    model = other("FunnelForMaskedLM")
    assert model.lm_head.weight is model.funnel.embeddings.word_embeddings.weight
    assert_same(read(kept(model, tmp_path)), model)


@pytest.mark.parametrize(
    ("name", "options", "comes"),
    [
        ("llama", {}, "LlamaModel"),
        ("llama-tied", {}, "LlamaForCausalLM"),
        ("gpt2", {}, "GPT2LMHeadModel"),
        ("bloom", {}, "BloomForCausalLM"),
    ],
)
def test_a_decoder_without_its_head(name: str, options: dict[str, Any], comes: str, tmp_path: Path) -> None:
    """The bare class that is named; but the whole decoder where its head is the embedding, whose numbers are there."""
    whole = tiny(name, **options)
    found = read(kept(whole.base_model, tmp_path))
    assert type(found).__name__ == comes
    assert_same(found, whole if comes != "LlamaModel" else whole.base_model)


def test_the_decoder_of_a_wrapper_that_its_own_class_reads(tmp_path: Path) -> None:
    """Of Qwen 3.5 transformers has a causal class for the files of the wrapper, which leaves the eyes out."""
    text = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "layer_types": ["full_attention", "full_attention"]}  # fmt: skip
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
    wrapper = transformers.Qwen3_5ForConditionalGeneration(
        transformers.Qwen3_5Config(text_config=text, vision_config=eyes)
    )
    found = read(kept(wrapper, tmp_path))
    assert type(found).__name__ == "Qwen3_5ForCausalLM"
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.allclose(found(ids).logits, wrapper.eval()(ids).logits, atol=1e-5)


# ---------------------------------------------------------------- names


def without_name(folder: Path) -> Path:
    found = json.loads((folder / "config.json").read_text())
    del found["architectures"]
    (folder / "config.json").write_text(json.dumps(found))
    return folder


def test_without_a_name_the_causal_class_or_the_only_one(tmp_path: Path) -> None:
    assert_same(read(without_name(saved(tmp_path / "llama"))), tiny("llama"))
    model = other("ViTMSNForImageClassification")
    assert_same(read(without_name(kept(model, tmp_path / "vit"))), model)


def test_without_a_name_several_classes_are_not_guessed_between(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"does not say its class.*'t5' has several:.*T5ForConditionalGeneration"):
        read(without_name(kept(other("T5ForConditionalGeneration"), tmp_path)))


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("BertForNothing", r"names BertForNothing, which is no model of transformers.*'bert': .*Bert"),
        ("AutoModel", r"names AutoModel, which is no model"),
        ("BertConfig", r"names BertConfig, which is no model"),
        ("ViTModel", r"names ViTModel, which is no class of its model_type 'bert'; classes of that type: .*Bert"),
        ("GPT2LMHeadModel", r"names GPT2LMHeadModel, which is no class of its model_type 'bert'"),
    ],
)
def test_a_name_of_nothing_or_of_another_type(named: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=says):
        read(kept(other("BertModel"), tmp_path, named))


@pytest.mark.parametrize("named", ["BertModel", [3], {"a": "b"}])
def test_architectures_of_another_shape(named: Any, tmp_path: Path) -> None:
    folder = kept(other("BertModel"), tmp_path)
    set_key(folder, "config.json", "architectures", named)
    with pytest.raises(LoadError, match="architectures"):
        interp.load(folder)


def test_code_beside_the_weights_is_named_and_not_run(tmp_path: Path) -> None:
    folder = kept(other("BertModel"), tmp_path, "OddModel")
    (folder / "odd.py").write_text("raise SystemExit('remote code ran')")
    set_key(folder, "config.json", "auto_map", {"AutoModel": "odd.OddModel"})
    with pytest.raises(LoadError, match=r"names OddModel, whose code lies beside the weights \(auto_map\)"):
        read(folder)
    set_key(folder, "config.json", "model_type", "odd")
    with pytest.raises(LoadError, match=r"model_type 'odd' is none of transformers .*\(auto_map\)"):
        read(folder)
    set_key(folder, "config.json", "architectures", ["BertModel"])
    set_key(folder, "config.json", "model_type", "bert")
    assert_same(read(folder), other("BertModel"))  # known here: the class of transformers, whatever lies beside


# ---------------------------------------------------------------- weights that are missing


def follow(advice: str, folder: Path) -> Any:
    """The model that a message says how to load."""
    call = re.search(r"transformers\.(\w+)\.from_pretrained\(folder(, add_pooling_layer=False)?\)", advice)
    assert call is not None
    options = {"add_pooling_layer": False} if call[2] else {}
    model, report = getattr(transformers, call[1]).from_pretrained(folder, output_loading_info=True, **options)
    assert not report["missing_keys"]
    return model


@pytest.mark.parametrize(
    ("body", "named"), [("BertModel", "BertForSequenceClassification"), ("ViTModel", "ViTForImageClassification")]
)
def test_a_classifier_without_its_head(body: str, named: str, tmp_path: Path) -> None:
    model = other(body)
    folder = kept(model, tmp_path, named)
    with pytest.raises(
        LoadError, match=rf"lack 2 of the weights of a {named}: classifier\.bias.*random numbers"
    ) as caught:
        read(folder)
    assert_within(follow(str(caught.value), folder), model)


def test_a_pooler_that_is_not_there(tmp_path: Path) -> None:
    model = other("BertModel", add_pooling_layer=False)
    folder = kept(model, tmp_path)
    with pytest.raises(
        LoadError, match=r"lack 2 of the weights of a BertModel: pooler\.dense\.bias.*without its pooler"
    ) as caught:
        read(folder)
    assert_same(follow(str(caught.value), folder), model)


def test_a_layer_that_is_not_there_has_no_way_out(tmp_path: Path) -> None:
    folder = kept(other("BertForMaskedLM"), tmp_path)
    change_weights(folder, drop=("layer.1.",))
    with pytest.raises(
        LoadError, match=r"lack 16 of the weights of a BertForMaskedLM: bert\.encoder\.layer\.1\."
    ) as caught:
        read(folder)
    assert "from_pretrained" not in str(caught.value)


def test_what_only_training_reads_is_0_and_said(tmp_path: Path) -> None:
    whole = other("Wav2Vec2ForCTC")
    folder = kept(whole, tmp_path)
    change_weights(folder, drop=("masked_spec_embed",))
    with pytest.warns(LoadWarning, match=r"lack wav2vec2\.masked_spec_embed, which only training reads"):
        found, left = read_pretrained(str(folder), True, None)
    sound = torch.randn(1, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(found(sound).logits, whole(sound).logits, atol=1e-5)
    assert left == () and not found.wav2vec2.masked_spec_embed.any()


def test_hidden_frames_of_a_class_that_takes_them(tmp_path: Path) -> None:
    folder = kept(other("Wav2Vec2ForPreTraining"), tmp_path)
    change_weights(folder, drop=("masked_spec_embed",))
    with pytest.raises(LoadError, match="masked_spec_embed"):
        read(folder)


# ---------------------------------------------------------------- weights that the class does not have


def test_heads_of_other_classes_are_left_out_and_said(tmp_path: Path) -> None:
    """As BERT is published: with its pooler and both heads of its training, whichever class is named."""
    whole, ids = other("BertForPreTraining"), torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        wanted = whole(ids)
    folder = kept(whole, tmp_path, "BertForMaskedLM")
    with pytest.warns(LoadWarning, match=r"\(4\) that a BertForMaskedLM.*bert\.pooler\.dense\.bias.*left out"):
        found, left = read_pretrained(str(folder), True, None)
    assert left == (
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    )
    assert_within(found, whole)
    with torch.no_grad():
        assert torch.allclose(found(ids).logits, wanted.prediction_logits, atol=1e-5)
    folder = kept(whole, tmp_path, "BertForNextSentencePrediction")
    with pytest.warns(LoadWarning, match="BertForNextSentencePrediction"):
        found, _ = read_pretrained(str(folder), True, None)
    assert_within(found, whole)
    with torch.no_grad():
        assert torch.allclose(found(ids).logits, wanted.seq_relationship_logits, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["bert.encoder.layer.5.output.dense.weight", "bert.encoder.layer.0.adapter.weight", "odd.weight"]
)
def test_weights_of_no_class_are_refused(name: str, tmp_path: Path) -> None:
    folder = kept(other("BertForPreTraining"), tmp_path, "BertForMaskedLM")
    change_weights(folder, **{name: torch.ones(3, 3)})
    with pytest.raises(LoadError, match=rf"hold weights \(1\) that a BertForMaskedLM.*no place for: {name}"):
        read(folder)


def test_positions_of_older_checkpoints_are_no_weights(tmp_path: Path) -> None:
    folder = kept(other("BertModel"), tmp_path)
    change_weights(folder, **{"embeddings.position_ids": torch.arange(16)[None]})
    assert_same(read(folder), other("BertModel"))


@pytest.mark.real
@pytest.mark.parametrize(("name", "cls"), [("minilm", "BertModel"), ("whisper", "WhisperForConditionalGeneration")])
def test_real_models(name: str, cls: str, real_model: Any) -> None:
    folder = real_model(name)
    assert_same(read(Path(folder)), getattr(transformers, cls).from_pretrained(folder).eval())


def test_a_way_of_reading_of_its_own_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few classes read their files themselves, and open pickles or fetch parts as they do."""

    def own(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the class read its files itself")

    folder = kept(other("BertModel"), tmp_path)
    monkeypatch.setattr(transformers.BertModel, "from_pretrained", classmethod(own))
    assert_same(read(folder), other("BertModel"))
