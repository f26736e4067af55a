"""Reading and writing dictionaries: sae-lens' folders both ways; sparsify and dictionary_learning folders, and releases of
sae-lens on the hub, are read. Only JSON and safetensors; a pickle is refused.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any, Final

import torch

from interp.dictionaries import foreign
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.places import Asked, transformer_lens_name
from interp.dictionaries.saelens import CONFIG, DTYPES, WEIGHTS, Stored, from_stored, to_stored
from interp.dictionaries.weights import read_json, read_tensors
from interp.errors import unknown
from interp.files import replacing, write_text
from interp.given import kinds_checked
from interp.parts.sites import Site, SiteLike

HUB: Final = "hf:"
#: Where sae-lens keeps the factor of the inputs while it trains.
_SCALER: Final = "activation_scaler.json"
#: sae-lens' version at which a configuration got its present keys.
_PRESENT: Final = 6


@kinds_checked
def save_dictionary(d: Dictionary, folder: str | Path) -> Path:
    """Write `cfg.json` and `sae_weights.safetensors` as sae-lens does; the configuration last, so that a folder that has one
    is whole. Our names of its places are `site` and `target` in the metadata, beside `details`.

    Raises: DictionaryError where the folder holds a dictionary already, cannot be written, or the format cannot hold it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    config, tensors = to_stored(d)
    try:
        text = json.dumps({**config, "metadata": _metadata(d)}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DictionaryError(f"{d!r}: its details are not plain data ({error}).") from error
    if (folder / CONFIG).exists():
        raise DictionaryError(f"{str(folder)!r} holds a dictionary already; choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary)
        write_text(folder / CONFIG, text)
    except (OSError, SafetensorError) as error:  # the latter for a full disk too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DictionaryError(f"cannot write to {str(folder)!r}: {reason}.") from error
    return folder


def _metadata(d: Dictionary) -> dict[str, Any]:
    hooks = {"hook_name": transformer_lens_name(d.site)}
    hooks |= {"hook_name_out": transformer_lens_name(d.target)} if d.transcoder or d.W_skip is not None else {}
    found = {**d.details, **{k: v for k, v in hooks.items() if v is not None}}
    found |= {"site": str(d.site), "target": str(d.target), "name": d.name}
    return found | {"sae_lens_version": importlib.metadata.version("sae-lens")}


def load_dictionary(
    path: str | Path,
    *,
    sae_id: str | None = None,
    site: SiteLike | None = None,
    target: SiteLike | None = None,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device | None = None,
    scaling_factor: float | None = None,
) -> Dictionary:
    """A dictionary from a folder of sae-lens, sparsify or dictionary_learning, or from sae-lens' hub releases.

    path: a folder; or `hf:RELEASE/SAE_ID`, or a release with `sae_id=` (these alone may touch the network).
    site, target: where it belongs, over what its files say. dtype: default what its files say.
    scaling_factor: the factor of its inputs, for weights whose training multiplied them by one that is not stored.

    Raises: DictionaryError for anything that is not understood to the last key.
    """
    asked, as_dtype = Asked(site, target), _as_dtype(dtype)
    if sae_id is not None or str(path).startswith(HUB):
        return from_stored(_released(str(path).removeprefix(HUB), sae_id, scaling_factor), asked, as_dtype).to(
            device=device or "cpu"
        )
    folder = Path(path)
    if not folder.is_dir():
        raise DictionaryError(
            f"dictionary {str(path)!r} is no folder. Expected a folder with {CONFIG} and {WEIGHTS}, or 'hf:RELEASE/SAE_ID'."
        )
    if foreign.recognised(folder):
        return foreign.load(folder, asked, as_dtype, device)
    if len(several := [x for x in sorted(folder.iterdir()) if x.is_dir() and holds_one(x)]) and not holds_one(folder):
        raise DictionaryError(
            f"{str(folder)!r} holds {len(several)} dictionaries, the first in {several[0].name!r}; load one of them, or all with load_dictionaries."
        )
    return from_stored(_read(folder, scaling_factor, device), asked, as_dtype)


def load_dictionaries(
    folder: str | Path, *, dtype: torch.dtype | str | None = None, device: str | torch.device | None = None
) -> dict[Site, Dictionary]:
    """Dictionaries by the site that they make up (`target`): the one of a folder, or those of its subfolders that hold one.

    Raises: DictionaryError where there is none, two are of one site, or one cannot be read.
    """
    found: dict[Site, Dictionary] = {}
    for one in dictionary_folders(folder):
        d = load_dictionary(one, dtype=dtype, device=device)
        if d.target in found:
            raise DictionaryError(
                f"{str(folder)!r} holds two dictionaries of {d.target}; keep one ({one.name!r} is one)."
            )
        found[d.target] = d
    return found


def dictionary_folders(folder: str | Path) -> list[Path]:
    """The folder itself where it is a dictionary, else its subfolders that are, by name. Raises: DictionaryError for none."""
    top = Path(folder)
    if not top.is_dir():
        raise DictionaryError(f"dictionaries {str(folder)!r}: no such folder.")
    found = [top] if holds_one(top) else sorted(x for x in top.iterdir() if x.is_dir() and holds_one(x))
    if not found:
        raise DictionaryError(
            f"{str(folder)!r} holds no dictionary, and no subfolder of it does (looked for {CONFIG})."
        )
    return found


def holds_one(folder: Path) -> bool:
    """Whether a folder is meant as a dictionary: a configuration or weights of one, whole or not."""
    return (folder / CONFIG).exists() or (folder / WEIGHTS).exists() or foreign.recognised(folder)


def _as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None or dtype in DTYPES.values():
        return dtype  # type: ignore[return-value]
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise DictionaryError(unknown("dtype", name, DTYPES))
    return DTYPES[name]


def _read(folder: Path, scaling: float | None, device: str | torch.device | None) -> Stored:
    """A folder of sae-lens, its configuration in the words of version 6."""
    config = read_json(folder / CONFIG)
    if scaling is None and (folder / _SCALER).exists():
        scaling = read_json(folder / _SCALER).get("scaling_factor")
    if scaling is not None and not (isinstance(scaling, (int, float)) and 0 < scaling < float("inf")):
        raise DictionaryError(f"dictionary {str(folder)!r}: scaling_factor={scaling!r}; expected a number above 0.")
    tensors = read_tensors(folder / WEIGHTS, device)
    where = f"dictionary {str(folder)!r}"
    if _is_present(config, where):
        return Stored(config, tensors, where, scaling)
    return Stored(_from_old(config, where), tensors, where, scaling, bool(config.get("finetuning_scaling_factor")))


def _is_present(config: dict[str, Any], where: str) -> bool:
    metadata = config.get("metadata")
    version = config.get("sae_lens_version") or (metadata if isinstance(metadata, dict) else {}).get("sae_lens_version")
    if version is None:
        return False
    if not str(version).split(".")[0].isdigit():
        raise DictionaryError(f"{where}: sae_lens_version {version!r}; expected a number such as 6.54.0.")
    return int(str(version).split(".")[0]) >= _PRESENT


def _from_old(config: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration from before sae-lens 6, by sae-lens' own reader; it would pass over other activation functions."""
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    named, kwargs = (
        config.get("activation_fn_str", config.get("activation_fn", "relu")),
        config.get("activation_fn_kwargs"),
    )
    more = sorted(k for k, v in kwargs.items() if k != "k" and v) if isinstance(kwargs, dict) else kwargs
    if named not in ("relu", "topk") or more:
        raise DictionaryError(f"{where}: activation function {named!r} with {more}; expected relu or topk.")
    try:
        found = dict(handle_config_defaulting(config))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DictionaryError(f"{where}: its configuration cannot be read ({error}).") from error
    if named == "topk" and found["architecture"] != "topk":
        raise DictionaryError(f"{where}: activation function topk without its k.")
    return found


def _released(release: str, sae_id: str | None, scaling: float | None) -> Stored:
    """A release, by sae-lens' own loader."""
    if sae_id is None:
        release, _, sae_id = release.partition("/")
    where = f"dictionary '{HUB}{release}/{sae_id}'"
    if not release or not sae_id:
        raise DictionaryError(f"{where}: expected hf:RELEASE/SAE_ID, or a release with sae_id=.")
    from sae_lens import SAE

    try:
        sae = SAE.from_pretrained(release, sae_id)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DictionaryError(f"{where} cannot be loaded: {(str(error).splitlines() or [''])[0]}") from error
    return Stored(sae.cfg.to_dict(), dict(sae.state_dict()), where, scaling)
