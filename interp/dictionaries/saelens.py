"""sae-lens' folders: `cfg.json` and `sae_weights.safetensors`, to and from `Dictionary`. sae-lens itself is not imported,
except for the configurations of its versions before 6.

What is stored beside the weights is folded into them: a factor of the inputs, norms of the decoder's rows that its
features are counted in, a factor per feature. What differs from token to token stays `Dictionary.normalize`.
Source: sae-lens 6.54, `SAE` and its subclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import torch
from torch import Tensor

from interp.dictionaries.activation import Activation, DictionaryError, Gated, JumpRelu, Relu, TopK
from interp.dictionaries.dictionary import NORMALIZE, Dictionary, Normalize
from interp.dictionaries.places import Asked, places
from interp.dictionaries.weights import Weights, flag, size
from interp.errors import unknown
from interp.parts.sites import Site

CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
DTYPES: Final = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

#: Architecture: (activation, transcoder, skip). Those of TopK transcoders are not sae-lens' own, which refuses them by name.
ARCHITECTURES: Final[dict[str, tuple[type[Activation], bool, bool]]] = {
    "standard": (Relu, False, False),
    "topk": (TopK, False, False),
    "jumprelu": (JumpRelu, False, False),
    "gated": (Gated, False, False),
    "transcoder": (Relu, True, False),
    "skip_transcoder": (Relu, True, True),
    "jumprelu_transcoder": (JumpRelu, True, False),
    "jumprelu_skip_transcoder": (JumpRelu, True, True),
    "topk_transcoder": (TopK, True, False),
    "topk_skip_transcoder": (TopK, True, True),
}
#: Training checkpoints whose one threshold is a JumpReLU's once they are trained.
BATCH: Final = ("batchtopk", "matryoshka_batchtopk")
_NAMES = {kind: name for name, kind in ARCHITECTURES.items()}
_MEANING = {
    "architecture", "d_in", "d_sae", "d_out", "dtype", "device", "apply_b_dec_to_input", "normalize_activations",
    "reshape_activations", "metadata", "k", "rescale_acts_by_decoder_norm",
}  # fmt: skip
#: How it was trained: says nothing of what it computes.
_TRAINING = {
    "aux_loss_coefficient", "decoder_init_norm", "jumprelu_bandwidth", "jumprelu_init_threshold",
    "jumprelu_sparsity_loss_mode", "jumprelu_ste_to_input", "jumprelu_tanh_scale", "l0_coefficient", "l0_warm_up_steps",
    "l1_coefficient", "l1_warm_up_steps", "lp_norm", "matryoshka_widths", "pre_act_loss_coefficient", "target_l0",
    "topk_threshold_lr", "use_matryoshka_aux_loss", "use_sparse_activations",
}  # fmt: skip
_OURS = ("site", "target", "name", "hook_name", "hook_name_out", "sae_lens_version")


@dataclass(frozen=True)
class Stored:
    """What a folder says: its configuration, its tensors, its name in messages. scaling: the factor of the inputs, where
    one is kept beside the weights; finetuned: whether old weights carry a factor per feature."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    where: str
    scaling: float | None = None
    finetuned: bool = False


def architecture(d: Dictionary) -> str:
    """The name that `d` is saved under. Raises: DictionaryError for one that the format cannot hold."""
    transcoder = d.transcoder or d.W_skip is not None
    kind = (type(d.activation), transcoder, d.W_skip is not None)
    if kind not in _NAMES or (transcoder and d.normalize != "none"):
        raise DictionaryError(f"{d!r}: sae-lens' format has no gated transcoder and no skip beside normalised inputs.")
    return _NAMES[kind]


def from_stored(stored: Stored, asked: Asked, dtype: torch.dtype | None) -> Dictionary:
    """The dictionary of a folder in the format of sae-lens 6. Raises: DictionaryError where it cannot be read whole."""
    config, where = stored.config, stored.where
    _check_keys(config, where)
    kind, transcoder, skip = _kind(config, where)
    metadata = config.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise DictionaryError(f"{where}: its metadata are a {type(metadata).__name__}; expected an object.")
    site, target = places(metadata, asked, transcoder, where)
    _check_shape(config, site, where)
    weights = Weights(stored.tensors, where, dtype or _dtype(config, where))
    found = _Parts(stored, weights, kind, transcoder, skip).read()
    weights.close()
    details = {k: v for k, v in metadata.items() if k not in _OURS}
    return Dictionary(site, target, **found, name=str(metadata.get("name") or ""), details=details)


def _check_keys(config: Mapping[str, Any], where: str) -> None:
    if strange := sorted(set(config) - _MEANING - _TRAINING):
        raise DictionaryError(
            f"{where}: its configuration has keys that are not known here and may change what it computes: {', '.join(strange)}."
        )


def _check_shape(config: Mapping[str, Any], site: Site, where: str) -> None:
    """Heads are one vector here, whether or not sae-lens was told to make them one; nothing else is reshaped."""
    named = config.get("reshape_activations", "none")
    if named != "none" and (named != "hook_z" or site.kind != "z"):
        raise DictionaryError(
            f"{where} reshapes its inputs ({named!r}) and is of '{site}'; expected none, or hook_z at z."
        )


def _kind(config: Mapping[str, Any], where: str) -> tuple[type[Activation], bool, bool]:
    name = str(config.get("architecture"))
    if name in BATCH:
        return JumpRelu, False, False
    if name not in ARCHITECTURES:
        raise DictionaryError(f"{where}: {unknown('architecture', name, (*ARCHITECTURES, *BATCH))}")
    return ARCHITECTURES[name]


def _dtype(config: Mapping[str, Any], where: str) -> torch.dtype:
    name = str(config.get("dtype", "float32")).removeprefix("torch.")
    if name not in DTYPES:
        raise DictionaryError(f"{where}: {unknown('dtype', name, DTYPES)}")
    return DTYPES[name]


@dataclass(frozen=True)
class _Parts:
    """The tensors of a stored dictionary, as the fields of `Dictionary`."""

    stored: Stored
    weights: Weights
    kind: type[Activation]
    transcoder: bool
    skip: bool

    def read(self) -> dict[str, Any]:
        config, where = self.stored.config, self.stored.where
        d_in, n = size(config, "d_in", where), size(config, "d_sae", where)
        d_out = size(config, "d_out", where) if self.transcoder else d_in
        take = self.weights.take
        found: dict[str, Any] = {"W_enc": take("W_enc", d_in, n), "W_dec": take("W_dec", n, d_out)}
        found["b_dec"] = take("b_dec", d_out)
        found["b_enc"] = found["b_dec"].new_zeros(n) if self.kind is Gated else take("b_enc", n)
        found["W_skip"] = take("W_skip", d_out, d_in).T.contiguous() if self.skip else None
        found["activation"] = self._activation(found["b_dec"], n)
        if self.stored.finetuned:
            found["W_dec"] = found["W_dec"] * take("scaling_factor", n).unsqueeze(1)
        elif "scaling_factor" in self.weights and bool((take("scaling_factor", n) != 1).any()):
            raise DictionaryError(f"{where} has a factor per feature that its configuration does not apply.")
        return self._rescaled(self._normalized(found))

    def _activation(self, like: Tensor, n: int) -> Activation:
        take = self.weights.take
        if self.kind is TopK:
            return TopK(size(self.stored.config, "k", self.stored.where))
        if self.kind is Gated:
            return Gated(take("b_gate", n), take("r_mag", n), take("b_mag", n))
        if self.kind is Relu:
            return Relu()
        if self.stored.config["architecture"] in BATCH:
            threshold = self.weights.number("topk_threshold")
            return JumpRelu(like.new_full((n,), threshold))
        return JumpRelu(take("log_threshold", n).exp() if "log_threshold" in self.weights else take("threshold", n))

    def _normalized(self, found: dict[str, Any]) -> dict[str, Any]:
        """With the inputs' normalisation: a factor s is folded, W_enc s, W_dec / s, b_dec / s; the others are applied."""
        name, where = self.stored.config.get("normalize_activations"), self.stored.where
        name = "none" if name is None else name
        if name == "expected_average_only_in":
            if self.stored.scaling is None or self.transcoder:
                raise DictionaryError(
                    f"{where} was trained on inputs times one factor, 'expected_average_only_in', which is not stored: "
                    "give scaling_factor= (sqrt(d_in) over the mean norm of its training inputs; for autoencoders only)."
                )
            s = self.stored.scaling
            found |= {"W_enc": found["W_enc"] * s, "W_dec": found["W_dec"] / s, "b_dec": found["b_dec"] / s}
            if self._by_norms and isinstance(found["activation"], JumpRelu):
                found["activation"] = JumpRelu(found["activation"].threshold / s)
        elif name not in NORMALIZE:
            raise DictionaryError(
                f"{where}: inputs normalised by {name!r}; expected {', '.join(NORMALIZE)} or expected_average_only_in "
                "(sae-lens folds a whitening when training ends: load what it saved then)."
            )
        centred = flag(self.stored.config, "apply_b_dec_to_input", not self.transcoder, where)
        if centred and self.transcoder:
            raise DictionaryError(f"{where}: apply_b_dec_to_input of a transcoder, whose output has another width.")
        found["b_in"] = found["b_dec"].clone() if centred else None
        return found | {"normalize": cast(Normalize, name if name in NORMALIZE else "none")}

    @property
    def _by_norms(self) -> bool:
        return flag(self.stored.config, "rescale_acts_by_decoder_norm", False, self.stored.where)

    def _rescaled(self, found: dict[str, Any]) -> dict[str, Any]:
        """Features counted in norms n of the decoder's rows: (u n) is what the activation sees, and f / n is decoded."""
        if not self._by_norms:
            return found
        norms = found["W_dec"].norm(dim=-1)
        found |= {"W_enc": found["W_enc"] * norms, "b_enc": found["b_enc"] * norms}
        return found | {"W_dec": found["W_dec"] / norms.clamp(min=1e-8).unsqueeze(1)}


def to_stored(d: Dictionary) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What of a configuration its architecture and sizes decide, and the tensors. An input bias that is not the decoder's
    is folded into the encoder's, b_enc - b_in W_enc.

    Raises: DictionaryError for one that the format cannot hold.
    """
    name = architecture(d)
    transcoder = ARCHITECTURES[name][1]
    centred = not transcoder and d.b_in is not None and torch.equal(d.b_in, d.b_dec)
    if d.b_in is not None and not centred:
        shift = d.b_in.double() @ d.W_enc.double()
        d = replace(d, b_enc=(d.b_enc.double() - shift).to(d.dtype), b_in=None)
    tensors = {"W_enc": d.W_enc, "W_dec": d.W_dec, "b_dec": d.b_dec}
    config: dict[str, Any] = {"architecture": name, "d_in": d.d_in, "d_sae": d.n_features}
    config |= {"dtype": str(d.dtype).removeprefix("torch."), "device": "cpu", "apply_b_dec_to_input": centred}
    config |= {"normalize_activations": d.normalize}
    config |= {"reshape_activations": "hook_z" if d.site.kind == "z" and not transcoder else "none"}
    config |= {"d_out": d.d_out} if transcoder else {}
    tensors |= {} if d.W_skip is None else {"W_skip": d.W_skip.T}
    match d.activation:
        case Gated(b_gate, r_mag, b_mag):
            tensors |= {"b_gate": b_gate + d.b_enc, "r_mag": r_mag, "b_mag": b_mag + r_mag.exp() * d.b_enc}
        case TopK(k):
            config |= {"k": min(k, d.n_features)} | ({} if transcoder else {"rescale_acts_by_decoder_norm": False})
        case JumpRelu(threshold):
            tensors |= {"threshold": threshold}
    tensors |= {} if isinstance(d.activation, Gated) else {"b_enc": d.b_enc}
    return config, {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
