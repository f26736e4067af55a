"""What makes inputs, beside the weights: found where it is, None where it is not, and never demanded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import interp
from interp.errors import LoadError
from interp.model.loading.processors import Beside, read_processor, read_tokenizer
from interp.model.model import HookedModel
from tests.interp.model.loading.folders import copy_of_demo, saved
from tests.interp.model.loading.others import other
from tests.interp.model.tiny import tiny

#: Settings of a processor that has no tokeniser in it.
SETTINGS = "preprocessor_config.json"


def settings(folder: Path, **changes: Any) -> Path:
    """A folder of a classifier of images with the settings of its processor."""
    other("ViTForImageClassification").save_pretrained(folder)
    own = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 8, "width": 8},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / SETTINGS).write_text(json.dumps({**own, **changes}))
    return folder


def test_a_processor_of_images(tmp_path: Path) -> None:
    found = Beside().completed(str(settings(tmp_path)), True)
    picture = np.full((8, 8, 3), 255, dtype=np.uint8)
    pixels = found.processor(images=picture, return_tensors="pt")["pixel_values"]
    assert found.tokenizer is None and pixels.shape == (1, 3, 8, 8) and bool((pixels == 1).all())


def test_a_processor_of_sound(tmp_path: Path) -> None:
    other("Wav2Vec2ForCTC").save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    found = Beside().completed(str(tmp_path), True)
    assert found.tokenizer is None
    sound = np.linspace(0, 1, 40, dtype=np.float32)
    assert np.array_equal(found.processor(sound, sampling_rate=16000)["input_values"][0], sound)


def test_one_with_a_tokeniser_in_it_where_there_is_one(tmp_path: Path) -> None:
    folder = settings(tmp_path / "m", processor_class="CLIPProcessor", image_processor_type="CLIPImageProcessor")
    assert type(read_processor(str(folder), True, False)).__name__.startswith("CLIPImageProcessor")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((copy_of_demo(tmp_path / name) / name).read_bytes())
    found = Beside().completed(str(folder), True)
    assert type(found.processor).__name__ == "CLIPProcessor"
    assert found.processor.tokenizer.get_vocab() == found.tokenizer.get_vocab()


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert Beside().completed(str(saved(tmp_path)), True) == Beside(None, None)


@pytest.mark.parametrize(
    "name", ["BertForMaskedLM", "T5ForConditionalGeneration", "ViTForImageClassification", "Wav2Vec2ForCTC"]
)
def test_no_kind_of_model_needs_a_tokeniser(name: str, tmp_path: Path) -> None:
    other(name).save_pretrained(tmp_path)
    assert read_tokenizer(str(tmp_path), True) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"], ids=repr)
@pytest.mark.parametrize("name", [SETTINGS, "processor_config.json"])
def test_a_damaged_file_is_named(name: str, damage: bytes, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    (folder / name).write_bytes(damage)
    with pytest.raises(LoadError, match=name):
        interp.load(folder)


def test_settings_of_no_processor_are_named(tmp_path: Path) -> None:
    folder = settings(tmp_path, image_processor_type="OddImageProcessor")
    with pytest.raises(LoadError, match=rf"processor of model .*{SETTINGS}.*pass processor=") as caught:
        interp.load(folder)
    assert len(str(caught.value)) < 1000


def test_a_whole_processor_that_is_not_known_is_not_replaced_by_its_tokeniser(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "OddProcessor"}))
    model = interp.load(folder)
    assert model.tokenizer is not None and model.processor is None


def test_code_beside_a_processor_is_not_run(tmp_path: Path) -> None:
    folder = settings(
        tmp_path, image_processor_type="OddProcessor", auto_map={"AutoImageProcessor": "odd.OddProcessor"}
    )
    (folder / "odd.py").write_text("raise SystemExit('remote code ran')")
    found = read_processor(str(folder), True, False)
    assert found is None or type(found).__module__.startswith("transformers.")


def test_a_given_one_comes_first(tmp_path: Path) -> None:
    own, folder = object(), copy_of_demo(tmp_path / "m")
    (folder / SETTINGS).write_text("{")
    assert interp.load(folder, processor=own).processor is own
    model = interp.load(tiny("gpt2"), processor=own)
    assert model.processor is own and model.tokenizer is None
    assert HookedModel(model.hf).processor is None
