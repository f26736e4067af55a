"""A folder of adapters, as peft saves them, merged into a model's weights; only where the merged model does what the live one does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import LoadError, some
from interp.formatting.guarded import foreign_json
from interp.model.loading.pretrained import failing
from interp.model.loading.source import ADAPTER
from interp.model.origin import Merged
from interp.model.probing.sample import probe_inputs

WEIGHTS: Final = "adapter_model.safetensors"
#: Kinds whose change of a weight is a number that can be added to it or multiplied into it, by peft's names.
MERGED: Final = ("LORA", "LOHA", "LOKR", "IA3", "OFT")
#: How far logits of the merged model may be from those with live adapters, beside the largest logit: rounding in float32.
_CLOSE: Final = 1e-4


@dataclass(frozen=True)
class Adapter:
    """A folder of adapters: its `adapter_config.json`, and its tensors by their names there."""

    folder: Path
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def origin(self) -> Merged:
        base = self.settings.get("base_model_name_or_path")
        return Merged(str(self.folder), str(self.settings["peft_type"]), base if isinstance(base, str) else "")


def adapter_settings(folder: Path) -> dict[str, Any]:
    """`adapter_config.json` of a folder. Raises: LoadError for a folder without, and for one that cannot be read."""
    path = folder / ADAPTER
    if not path.is_file():
        raise LoadError(
            f"adapter {str(folder)!r} is no folder with {ADAPTER}; expected one that peft saved (save_pretrained)."
        )
    found = foreign_json(path, dict, f"{ADAPTER} of adapter {str(folder)!r}", LoadError)
    if not isinstance(found.get("peft_type"), str):
        raise LoadError(f"{ADAPTER} of adapter {str(folder)!r} names no kind of adapter (peft_type).")
    return found


def read_adapter(folder: Path) -> Adapter:
    """The files of a folder of adapters. Raises: LoadError for a kind that is not merged, for pickles, and without peft."""
    settings = adapter_settings(folder)
    if settings["peft_type"] not in MERGED:
        raise LoadError(
            f"adapter {str(folder)!r} is of the kind {settings['peft_type']}, which is not merged into weights here; kinds that are: "
            f"{', '.join(MERGED)}. Load it with peft and give the model in place of its name."
        )
    if find_spec("peft") is None:
        raise LoadError("merging adapters needs peft: pip install 'relevance-circuits[peft]'.")
    if not (folder / WEIGHTS).is_file():
        raise LoadError(
            f"adapter {str(folder)!r} lacks {WEIGHTS}. Other files may be pickles, which can run code when they are read: save it "
            "again with a newer peft where you trust it."
        )
    from safetensors.torch import load_file

    with failing(f"{WEIGHTS} of adapter {str(folder)!r} cannot be read"):
        return Adapter(folder, settings, load_file(folder / WEIGHTS))


def merge(model: Any, adapter: Adapter, name: str) -> Any:
    """The model with the adapters in its weights, in the dtype that it has: best float32, as sums are rounded to it.

    Its logits are compared with those of live adapters on a few tokens. Raises: LoadError where the adapters do not fit this
    model, weight by weight and name by name, or the merged model computes something else.
    """
    import peft

    where = f"adapter {str(adapter.folder)!r} cannot be merged into model {name!r}"
    with failing(where), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = peft.get_peft_model(model, _config(adapter, where), autocast_adapter_dtype=False).eval()
        _fit(live, adapter, where)
        if odd := [key for key, t in adapter.tensors.items() if not bool(torch.isfinite(t).all())]:
            raise LoadError(f"{where}: it has numbers that are not finite (NaN or infinite) in {some(odd)}.")
        peft.set_peft_model_state_dict(live, dict(adapter.tensors))
        tokens = probe_inputs(model)["input_ids"]
        with torch.no_grad():
            wanted = live(input_ids=tokens).logits
            merged = live.merge_and_unload(progressbar=False, safe_merge=True)
            found = merged(input_ids=tokens).logits
    off, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
    if not off <= _CLOSE * largest:
        raise LoadError(
            f"{where}: logits are {off:.3g} from those with live adapters, of {largest:.3g}; expected {_CLOSE:g} of that at most. What it "
            "does is no change of weights: load it with peft and give the model in place of its name."
        )
    return merged


def _config(adapter: Adapter, where: str) -> Any:
    """The settings as peft has them. Raises: LoadError for one that this peft does not know and would leave out."""
    import peft

    kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(adapter.settings["peft_type"])]
    known = set(kind.__dataclass_fields__)
    if odd := sorted(
        key for key, value in adapter.settings.items() if key not in known and value not in (None, False, {}, [])
    ):
        raise LoadError(
            f"{where}: {ADAPTER} has {some(odd)}, which peft {peft.__version__} does not know and would leave out. Install the version "
            f"that saved it ({adapter.settings.get('peft_version', 'not said')})."
        )
    given = {key: value for key, value in adapter.settings.items() if key in known and key != "auto_mapping"}
    return kind(**{**given, "inference_mode": True})


def _fit(live: Any, adapter: Adapter, where: str) -> None:
    """Raises: LoadError naming tensors of the adapter that belong to no weight, weights that it has none for, other shapes."""
    import peft

    own = peft.get_peft_model_state_dict(live, save_embedding_layers=False)
    base = adapter.origin.base
    trained = f" It says that it was trained on {base!r}." if base else ""
    if extra := sorted(adapter.tensors.keys() - own.keys()):
        raise LoadError(
            f"{where}: it has tensors ({len(extra)}) that belong to no weight of it: {some(extra)}.{trained}"
        )
    if missing := sorted(own.keys() - adapter.tensors.keys()):
        raise LoadError(
            f"{where}: it lacks tensors ({len(missing)}) that its settings ask for: {some(missing)}.{trained}"
        )
    wrong = [
        f"{k} is {list(t.shape)}, here {list(own[k].shape)}"
        for k, t in adapter.tensors.items()
        if t.shape != own[k].shape
    ]
    if wrong:
        raise LoadError(
            f"{where}: shapes differ ({len(wrong)}): {some(sorted(wrong))}.{trained} That is another model."
        )
