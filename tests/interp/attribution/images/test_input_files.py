"""Tables of pictures, sounds and arrays, as tasks."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import TaskError
from interp.model.model import HookedModel
from tests.interp.model.tiny import hooked as text_model
from tests.interp.model.vision.made import made


def _arrays(folder: Path, model: Any, shape: tuple[int, ...]) -> tuple[Path, torch.Tensor]:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(4))
    for name, own in zip("ab", x, strict=True):
        np.save(folder / f"{name}.npy", own.numpy())
    (folder / "task.csv").write_text("clean,corrupt,answer,wrong\na.npy,b.npy,LABEL_0,LABEL_1\n", encoding="utf-8")
    return folder / "task.csv", x


def test_a_table_of_arrays_is_the_task_of_their_numbers(tmp_path: Path) -> None:
    model = HookedModel(made("ViTForImageClassification"))
    file, x = _arrays(tmp_path, model, (3, 16, 16))
    task = interp.Task("task", (interp.InputPair(x[0], x[1], 0, 1),))
    asked = {"method": "exact", "level": "heads", "direction": "noise"}
    found, expected = (interp.attribute(model, given, **asked) for given in (str(file), task))
    assert np.array_equal(found.per_example, expected.per_example)
    assert found.provenance.pairs == expected.provenance.pairs
    with pytest.raises(TaskError, match=r"task\.csv line 2: its inputs are no text"):
        interp.attribute(text_model("gpt2"), str(file), **asked)


class Processor:
    """As those of transformers are called."""

    sampling_rate = 100

    def __call__(self, samples: Any = None, *, images: Any = None, return_tensors: str, **more: Any) -> Any:
        assert return_tensors == "pt"
        if images is not None:
            return {"pixel_values": torch.tensor(np.asarray(images)).permute(2, 0, 1)[None] / 255, "size": 16}
        return {"input_values": torch.tensor(samples)[None]}


def test_pictures_go_through_the_processor(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow reads pictures")
    model = HookedModel(made("ViTForImageClassification"), processor=Processor())
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    for name, own in zip("ab", pixels, strict=True):
        image.fromarray(own).save(tmp_path / f"{name}.png")
    rows = [{"clean": "a.png", "corrupt": "b.png", "answer": "LABEL_1", "wrong": "LABEL_0"}]
    (tmp_path / "task.json").write_text(json.dumps(rows), encoding="utf-8")
    (found,) = interp.load_task(tmp_path / "task.json").tokenize(None, model.outputs)
    assert torch.allclose(found.clean.tensors["pixel_values"], torch.tensor(pixels[0]).permute(2, 0, 1) / 255)  # type: ignore[union-attr]
    assert found.answers == (1,)
    with pytest.raises(TaskError, match=r"'clean': a\.png: this model has no processor"):
        interp.load_task(tmp_path / "task.json").tokenize(None, HookedModel(model.hf).outputs)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(TaskError, match=r"task\.json pair 1 of 1: 'corrupt': b\.png cannot be read as png: .*identify"):
        interp.load_task(tmp_path / "task.json").tokenize(None, model.outputs)


def test_sounds_go_through_the_processor(tmp_path: Path) -> None:
    model = HookedModel(made("Wav2Vec2-stable"), processor=Processor())
    samples = np.random.default_rng(0).integers(-9999, 9999, (2, 200), dtype=np.int16)
    for name, own, rate in (("a", samples[0], 100), ("b", samples[1], 100), ("c", samples[1], 200)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(own.tobytes())
    file = tmp_path / "task.csv"
    file.write_text("clean,corrupt,answer,wrong\na.wav,b.wav,LABEL_0,LABEL_1\n", encoding="utf-8")
    (found,) = interp.load_task(file).tokenize(None, model.outputs)
    assert torch.equal(found.clean.tensors["input_values"], torch.tensor(samples[0]).float() / 32768)  # type: ignore[union-attr]
    file.write_text("clean,corrupt,answer,wrong\na.wav,c.wav,LABEL_0,LABEL_1\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"c\.wav: 200 samples a second; its processor takes 100"):
        interp.load_task(file).tokenize(None, model.outputs)


def test_files_that_are_none_are_refused_with_a_sentence(tmp_path: Path) -> None:
    model = HookedModel(made("ViTForImageClassification"))
    inside = tmp_path / "inside"
    inside.mkdir()
    file, _ = _arrays(inside, model, (3, 16, 16))
    np.save(tmp_path / "out.npy", np.zeros((3, 16, 16), dtype=np.float32))
    (inside / "a.txt").write_text("x", encoding="utf-8")
    np.save(inside / "o.npy", np.array([object()]), allow_pickle=True)
    for other, said in (
        ("../out.npy", r"'corrupt' is '\.\./out\.npy', no file in the folder"),
        ("c.npy", r"'corrupt' is 'c\.npy', no file in the folder"),
        ("a.txt", r"'corrupt': a\.txt: expected a picture"),
        ("o.npy", r"o\.npy cannot be read as npy: .*pickle"),
    ):
        file.write_text(f"clean,corrupt,answer,wrong\na.npy,{other},LABEL_0,LABEL_1\n", encoding="utf-8")
        with pytest.raises(TaskError, match=rf"task\.csv line 2: .*{said}"):
            interp.load_task(file).tokenize(None, model.outputs)
