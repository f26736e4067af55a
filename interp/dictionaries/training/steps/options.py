"""What can be set for the training of each architecture: names and defaults as in sae-lens, checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import NORMALIZE
from interp.errors import unknown

#: A factor for all tokens that makes the mean norm sqrt(d_in); folded into the weights at the end.
AVERAGE: Final = "expected_average_only_in"
SCHEDULES: Final = ("constant", "cosineannealing", "cosineannealingwarmrestarts")
SPARSITY_LOSSES: Final = ("step", "tanh", "quadratic")

COMMON: Final[Mapping[str, Any]] = {
    "lr": 3e-4,
    "lr_end": None,
    "lr_scheduler_name": "constant",
    "lr_warm_up_steps": 0,
    "lr_decay_steps": 0,
    "n_restart_cycles": 1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "dead_feature_window": 1000,
    "decoder_init_norm": 0.1,
    "normalize_activations": "none",
}
_CENTRED: Final = {"apply_b_dec_to_input": True}
_L1: Final = {"l1_coefficient": 1.0, "l1_warm_up_steps": 0}
_LP: Final = _L1 | {"lp_norm": 1.0}
_JUMP: Final = {
    "jumprelu_init_threshold": 0.01,
    "jumprelu_bandwidth": 0.05,
    "jumprelu_sparsity_loss_mode": "step",
    "l0_coefficient": 1.0,
    "l0_warm_up_steps": 0,
    "pre_act_loss_coefficient": None,
    "jumprelu_tanh_scale": 4.0,
    "jumprelu_ste_to_input": False,
    "target_l0": None,
}
_TOPK: Final = {"k": 32, "aux_loss_coefficient": 1.0, "rescale_acts_by_decoder_norm": True}
_BATCH: Final = _TOPK | {"topk_threshold_lr": 0.01}

#: Each architecture with the options of its own and their defaults. `k` is sae-lens' only other default: 100.
ARCHITECTURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "topk": _CENTRED | _TOPK,
    "batchtopk": _CENTRED | _BATCH,
    "standard": _CENTRED | _LP,
    "gated": _CENTRED | _L1,
    "jumprelu": _CENTRED | _JUMP,
    "matryoshka": _CENTRED | _BATCH | {"matryoshka_widths": (), "use_matryoshka_aux_loss": False},
    "transcoder": _LP,
    "skip_transcoder": _LP,
    "jumprelu_transcoder": _JUMP,
    "batchtopk_transcoder": _BATCH,
}
TRANSCODERS: Final = tuple(name for name in ARCHITECTURES if name.endswith("transcoder"))


@dataclass(frozen=True)
class Plan:
    """One training, checked. `options`: every option of the architecture, given or default."""

    architecture: str
    d_in: int
    d_out: int
    d_sae: int
    options: Mapping[str, Any]
    steps: int
    seed: int

    @property
    def transcoder(self) -> bool:
        return self.architecture in TRANSCODERS

    def __getitem__(self, name: str) -> Any:
        return self.options[name]


def plan(
    architecture: str, d_in: int, d_out: int, d_sae: int, options: Mapping[str, Any], steps: int, seed: int
) -> Plan:
    """Raises: DictionaryError for an unknown architecture or option, a value out of range, options that do not go together."""
    if architecture not in ARCHITECTURES:
        raise DictionaryError(unknown("architecture", architecture, ARCHITECTURES))
    for name, value in (("d_in", d_in), ("d_out", d_out), ("d_sae", d_sae), ("steps", steps)):
        if not _whole(value) or value < 1:
            raise DictionaryError(f"{name}={value!r}: expected a whole number, 1 or more.")
    if architecture not in TRANSCODERS and d_in != d_out:
        raise DictionaryError(
            f"{architecture}: {d_in} in and {d_out} out; an autoencoder makes up what it reads. Choose a transcoder: {', '.join(TRANSCODERS)}."
        )
    own = {**COMMON, **ARCHITECTURES[architecture]}
    if odd := [name for name in options if name not in own]:
        raise DictionaryError(unknown(f"option of {architecture}", odd[0], own))
    merged = {**own, **options}
    for name, value in merged.items():
        _check(name, value)
    found = Plan(architecture, d_in, d_out, d_sae, _completed(merged, d_sae), steps, seed)
    _check_together(found)
    return found


def _completed(options: dict[str, Any], d_sae: int) -> dict[str, Any]:
    """With what sae-lens fills in outside its trainer (`lr_end`), and nested widths where none are given."""
    if options["lr_end"] is None:
        options["lr_end"] = options["lr"] / 10
    if "matryoshka_widths" in options:
        widths = tuple(options["matryoshka_widths"]) or tuple(d_sae // part for part in (8, 4, 2) if d_sae // part)
        options["matryoshka_widths"] = widths if widths and widths[-1] == d_sae else (*widths, d_sae)
    return options


# ---------------------------------------------------------------- one option


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _among(names: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return (lambda v: v in names), "one of " + ", ".join(names)


_POSITIVE: Final = ((lambda v: _number(v) and v > 0), "a number above 0")
_NOT_NEGATIVE: Final = ((lambda v: _number(v) and v >= 0), "a number, 0 or more")
_COUNT: Final = ((lambda v: _whole(v) and v >= 0), "a whole number, 0 or more")
_AT_LEAST_1: Final = ((lambda v: _whole(v) and v >= 1), "a whole number, 1 or more")
_SHARE: Final = ((lambda v: _number(v) and 0 <= v < 1), "a number from 0 to below 1")
_SWITCH: Final = ((lambda v: isinstance(v, bool)), "true or false")
_WIDTHS: Final = (
    (lambda v: isinstance(v, list | tuple) and all(_whole(w) and w >= 1 for w in v)),
    "a list of whole numbers, 1 or more",
)
#: What each option takes; those missing here take a number, 0 or more.
_TAKES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "lr": _POSITIVE,
    "lr_scheduler_name": _among(SCHEDULES),
    "n_restart_cycles": _AT_LEAST_1,
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "decoder_init_norm": _POSITIVE,
    "normalize_activations": _among((*NORMALIZE, AVERAGE)),
    "lp_norm": _POSITIVE,
    "jumprelu_bandwidth": _POSITIVE,
    "jumprelu_sparsity_loss_mode": _among(SPARSITY_LOSSES),
    "target_l0": _POSITIVE,
    "k": (_POSITIVE[0], _AT_LEAST_1[1]),  # of a batch it may be a fraction, which is not worth a word
    "topk_threshold_lr": _SHARE,
    "matryoshka_widths": _WIDTHS,
    **dict.fromkeys(("lr_warm_up_steps", "lr_decay_steps", "l1_warm_up_steps", "l0_warm_up_steps"), _COUNT),
    "dead_feature_window": _COUNT,
    **dict.fromkeys(
        ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm", "jumprelu_ste_to_input", "use_matryoshka_aux_loss"),
        _SWITCH,
    ),
}
_MAY_BE_NONE: Final = ("lr_end", "decoder_init_norm", "pre_act_loss_coefficient", "target_l0")


def _check(name: str, value: object) -> None:
    fits, wanted = _TAKES.get(name, _NOT_NEGATIVE)
    if not (value is None and name in _MAY_BE_NONE) and not fits(value):
        raise DictionaryError(f"{name}={value!r}: expected {wanted}.")


# ---------------------------------------------------------------- options together


def _check_together(found: Plan) -> None:
    k, widths = found.options.get("k"), found.options.get("matryoshka_widths", ())
    if k is not None and k > found.d_sae:
        raise DictionaryError(f"k={k}: there are {found.d_sae} features; expected at most as many.")
    if found.architecture == "topk" and not (_whole(k) and k):
        raise DictionaryError(f"k={k}: topk keeps k features of each token; expected a whole number, 1 or more.")
    if any(a >= b for a, b in pairwise(widths)):
        raise DictionaryError(
            f"matryoshka_widths={list(widths)}: expected growing widths up to the {found.d_sae} features."
        )
    if found.options.get("jumprelu_sparsity_loss_mode") == "quadratic" and found["target_l0"] is None:
        raise DictionaryError(
            "jumprelu_sparsity_loss_mode='quadratic': expected target_l0 too, the features per token."
        )
    if found["lr_warm_up_steps"] + found["lr_decay_steps"] > found.steps:
        raise DictionaryError(
            f"{found['lr_warm_up_steps']} steps of warm-up and {found['lr_decay_steps']} of decay, {found.steps} in all; expected fewer."
        )
    _check_normalisation(found)


def _check_normalisation(found: Plan) -> None:
    per_token = found["normalize_activations"] not in ("none", AVERAGE)
    if per_token and (found.transcoder or found.architecture == "gated" or "aux_loss_coefficient" in found.options):
        reason = "what would undo it has another width" if found.transcoder else "its auxiliary loss does without it"
        raise DictionaryError(
            f"{found.architecture} with normalize_activations={found['normalize_activations']!r}: {reason}; expected 'none' or {AVERAGE!r}."
        )
