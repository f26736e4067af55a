"""Dictionaries of other trainers whose weights are safetensors: sparsify and dictionary_learning, read only.

| format | files | architectures |
| --- | --- | --- |
| sparsify | `cfg.json`, `sae.safetensors` | topk autoencoders and transcoders, with or without a skip |
| dictionary_learning | `config.json`, one `.safetensors` | AutoEncoder, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE, JumpReluAutoEncoder |

Source: EleutherAI/sparsify `SparseCoder`; saprmarks/dictionary_learning `dictionary.py` and its trainers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError, Gated, JumpRelu, Relu, TopK
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.places import Asked, one_site
from interp.dictionaries.weights import Weights, flag, read_json, read_tensors, size
from interp.errors import unknown
from interp.parts.sites import Site

_SPARSIFY: Final = "sae.safetensors"
_PICKLES: Final = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
#: Keys of sparsify that are read, or that say how it was trained.
_KNOWN = {
    "activation", "d_in", "expansion_factor", "num_latents", "k", "skip_connection", "transcode",
    "normalize_decoder", "multi_topk", "lookup_max_order",
}  # fmt: skip
_LAYER = re.compile(r"(?:.*\.)?(?:layers|h|blocks)[._](\d+)")
_SUBMODULE = re.compile(r"(resid_pre|resid_post|attn_out|mlp_out)_layer_(\d+)")


def recognised(folder: Path) -> bool:
    """Whether a folder is one of these, or a pickle of one."""
    return (folder / _SPARSIFY).exists() or _other(folder) or (_pickled(folder) and not _safe(folder))


def load(folder: Path, asked: Asked, dtype: torch.dtype | None, device: str | torch.device | None) -> Dictionary:
    """The dictionary of such a folder. Raises: DictionaryError for other architectures, and for pickles."""
    if _pickled(folder) and not _safe(folder):
        raise DictionaryError(
            f"dictionary {str(folder)!r} is a pickle, which can run code when it is read: convert it where you trust it, "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'ae.safetensors')."
        )
    return (_dictionary_learning if _other(folder) else _sparsify)(folder, asked, dtype, device)


def _other(folder: Path) -> bool:
    """Whether its configuration is in dictionary_learning's words."""
    path = folder / "config.json"
    return path.exists() and b"dict_class" in path.read_bytes()


def _safe(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _pickled(folder: Path) -> bool:
    return any(x.suffix in _PICKLES for x in folder.iterdir()) and any(
        (folder / x).exists() for x in ("cfg.json", "config.json")
    )


def _sparsify(folder: Path, asked: Asked, dtype: torch.dtype | None, device: str | torch.device | None) -> Dictionary:
    """u = (x - b_dec) W_enc + b_enc, x as it is for a transcoder; the k largest of max(u, 0)."""
    where, config = f"dictionary {str(folder)!r}", read_json(folder / "cfg.json")
    _check_options(config, where)
    d_in = size(config, "d_in", where)
    n = (
        size(config, "num_latents", where)
        if config.get("num_latents")
        else d_in * size(config, "expansion_factor", where)
    )
    transcoder = flag(config, "transcode", False, where)
    weights = Weights(read_tensors(folder / _SPARSIFY, device), where, dtype)
    skip = weights.take("W_skip", d_in, d_in).T.contiguous() if flag(config, "skip_connection", False, where) else None
    b_dec = weights.take("b_dec", d_in)
    site, target = _hookpoint(folder.name, transcoder, asked)
    found = Dictionary(
        site,
        target,
        TopK(size(config, "k", where)),
        W_enc=weights.take("encoder.weight", n, d_in).T.contiguous(),
        b_enc=weights.take("encoder.bias", n),
        W_dec=weights.take("W_dec", n, d_in),
        b_dec=b_dec,
        b_in=None if transcoder else b_dec.clone(),
        W_skip=skip,
        name=folder.name,
    )
    weights.close()
    return found


def _check_options(config: Mapping[str, Any], where: str) -> None:
    if strange := sorted(k for k, v in config.items() if k not in _KNOWN and v):
        raise DictionaryError(f"{where}: sparsify options that are not known here: {', '.join(strange)}.")
    if config.get("activation", "topk") != "topk":
        raise DictionaryError(f"{where}: activation {config['activation']!r}; of sparsify's, topk is read.")


def _hookpoint(name: str, transcoder: bool, asked: Asked) -> tuple[Site, Site]:
    """`layers.3` is the output of block 3. What a module inside a block puts out is not always what the block adds, so for
    those the caller says it."""
    block = _LAYER.fullmatch(name)
    site = asked.site if asked.site or transcoder or not block else f"resid_post.{block[1]}"
    target = asked.target if asked.target or transcoder else site
    if site is None or target is None:
        raise DictionaryError(
            f"dictionary of sparsify's hookpoint {name!r}: say where it belongs, site='resid_post.3', or for a transcoder of "
            "an MLP site='mlp_normed.3', target='mlp_out.3'."
        )
    return one_site(site), one_site(target)


def _dictionary_learning(
    folder: Path, asked: Asked, dtype: torch.dtype | None, device: str | torch.device | None
) -> Dictionary:
    where, files = f"dictionary {str(folder)!r}", _safe(folder)
    trainer = read_json(folder / "config.json").get("trainer")
    if not isinstance(trainer, Mapping) or len(files) != 1:
        raise DictionaryError(
            f"{where}: expected config.json with a trainer, and one .safetensors; {len(files)} found."
        )
    name = str(trainer.get("dict_class"))
    if name not in _CLASSES:
        raise DictionaryError(f"{where}: {unknown('dict_class', name, _CLASSES)}")
    site = _submodule(trainer, asked, where)
    d_in, n = size(trainer, "activation_dim", where), size(trainer, "dict_size", where)
    weights = Weights(read_tensors(files[0], device), where, dtype)
    found = _CLASSES[name](weights, d_in, n, trainer)
    weights.close()
    return Dictionary(site, site if asked.target is None else one_site(asked.target), **found, name=folder.name)


def _submodule(trainer: Mapping[str, Any], asked: Asked, where: str) -> Site:
    named = _SUBMODULE.fullmatch(str(trainer.get("submodule_name")))
    if asked.site is None and not named:
        raise DictionaryError(
            f"{where}: submodule {trainer.get('submodule_name')!r} is not a site's name: give site=, for example "
            "site='resid_post.3'."
        )
    return one_site(asked.site or f"{named[1]}.{named[2]}")  # type: ignore[index]


Read = dict[str, Any]


def _linear(w: Weights, d_in: int, n: int, bias: str) -> Read:
    """Encoder and decoder as torch keeps linear layers, and one bias at both ends."""
    b = w.take(bias, d_in)
    found = {"W_enc": w.take("encoder.weight", n, d_in).T.contiguous(), "b_dec": b, "b_in": b.clone()}
    return found | {"W_dec": w.take("decoder.weight", d_in, n).T.contiguous()}


def _relu(w: Weights, d_in: int, n: int, trainer: Mapping[str, Any]) -> Read:
    return _linear(w, d_in, n, "bias") | {"b_enc": w.take("encoder.bias", n), "activation": Relu()}


def _topk(w: Weights, d_in: int, n: int, trainer: Mapping[str, Any]) -> Read:
    """k of each token; a threshold that is stored beside is for another way of use."""
    k = size({"k": w.number("k")} if "k" in w else trainer, "k", w.where)
    w.drop("threshold")
    return _linear(w, d_in, n, "b_dec") | {"b_enc": w.take("encoder.bias", n), "activation": TopK(k)}


def _batch(w: Weights, d_in: int, n: int, trainer: Mapping[str, Any]) -> Read:
    """One threshold for all features, which training estimates."""
    threshold = w.number("threshold")
    if threshold < 0:
        raise DictionaryError(f"{w.where}: its threshold {threshold} was not estimated yet; train it on.")
    w.drop("k")
    found = _linear(w, d_in, n, "b_dec") | {"b_enc": w.take("encoder.bias", n)}
    return found | {"activation": JumpRelu(found["b_enc"].new_full((n,), threshold))}


def _by_norm(found: Read, norms: Tensor) -> Read:
    """Features are counted in norms of the decoder's rows."""
    return found | {"W_dec": found["W_dec"] / norms.clamp(min=1e-8).unsqueeze(1)}


def _gated(w: Weights, d_in: int, n: int, trainer: Mapping[str, Any]) -> Read:
    found = _linear(w, d_in, n, "decoder_bias")
    norms = found["W_dec"].norm(dim=1)
    sizes = (w.take("gate_bias", n), w.take("r_mag", n) + norms.log(), w.take("mag_bias", n) * norms)
    return _by_norm(found, norms) | {"b_enc": torch.zeros_like(norms), "activation": Gated(*sizes)}


def _jumprelu(w: Weights, d_in: int, n: int, trainer: Mapping[str, Any]) -> Read:
    found: Read = {"W_dec": w.take("W_dec", n, d_in), "b_dec": w.take("b_dec", d_in)}
    norms = found["W_dec"].norm(dim=1)
    found |= {"W_enc": w.take("W_enc", d_in, n) * norms, "b_enc": w.take("b_enc", n) * norms}
    return _by_norm(found, norms) | {"activation": JumpRelu(w.take("threshold", n) * norms)}


_CLASSES: Final = {
    "AutoEncoder": _relu,
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch,
    "JumpReluAutoEncoder": _jumprelu,
}
