"""Pictures, sounds and arrays in files, as the inputs of a model: its own processor makes them."""

from __future__ import annotations

import inspect
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.errors import TaskError
from interp.model.modules.calling import main_input

PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SOUNDS: Final = (".wav",)
#: Numbers as the model takes them.
ARRAYS: Final = (".npy",)


def input_of(model: Any, path: Path) -> Tensor | Mapping[str, Any]:
    """What a file holds as inputs of `model`: a picture or a sound as its processor makes it, an array as it is.

    Raises: TaskError for a file that is none of these or is damaged, and where the model has no processor.
    """
    suffix = path.suffix.lower()
    if suffix not in (*PICTURES, *SOUNDS, *ARRAYS):
        raise TaskError(
            f"{path.name}: expected a picture ({', '.join(PICTURES)}), a sound (.wav) or numbers (.npy), by its ending."
        )
    try:
        if suffix in ARRAYS:
            return torch.as_tensor(np.load(path, allow_pickle=False))
        made = _sound(model, path) if suffix in SOUNDS else _picture(model, path)
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, ImportError, wave.Error) as error:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise TaskError(f"{path.name} cannot be read as {suffix[1:]}: {reason:.200}.") from error
    known = inspect.signature(model.hf.forward).parameters
    return {name: x for name, x in made.items() if name in known}


def _processor(model: Any, path: Path) -> Any:
    """Raises: TaskError where the model has none, which alone knows how pictures and sounds become numbers."""
    if model.processor is None:
        raise TaskError(
            f"{path.name}: this model has no processor, which makes {main_input(model.hf)} of files: interp.load(..., processor=...), or give the "
            "numbers themselves as .npy files."
        )
    return model.processor


def _picture(model: Any, path: Path) -> Any:
    processor = _processor(model, path)
    from PIL import Image

    with Image.open(path) as picture:
        return processor(images=picture.convert("RGB"), return_tensors="pt")


def _sound(model: Any, path: Path) -> Any:
    """Samples of 16 bits; of several channels the mean. Raises: TaskError for another rate than the processor's."""
    processor = _processor(model, path)
    with wave.open(str(path), "rb") as sound:
        rate, channels, width = sound.getframerate(), sound.getnchannels(), sound.getsampwidth()
        data = sound.readframes(sound.getnframes())
    if width != 2:
        raise TaskError(f"{path.name}: samples of {8 * width} bits; expected 16.")
    own = getattr(getattr(processor, "feature_extractor", processor), "sampling_rate", rate)
    if own != rate:
        raise TaskError(f"{path.name}: {rate} samples a second; its processor takes {own}. Resample the file.")
    samples = np.frombuffer(data, dtype="<i2").reshape(-1, channels).mean(1).astype(np.float32) / 32768
    return processor(samples, sampling_rate=rate, return_tensors="pt")
