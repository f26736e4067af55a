"""`Dictionary`: features of what is at one place of a model, and how they make it up again. A value; nothing trains it here.

    u = (scaled(x) - b_in) W_enc + b_enc        f = activation(u)
    x-hat = unscaled(f W_dec + b_dec) + x W_skip

An autoencoder reads and makes up the same site; a transcoder reads one (`site`) and makes up another (`target`).

Axis words: `feature` is a feature of the dictionary; `d_in`, `d_out` the widths of `site` and `target`, heads
concatenated at z. Leading axes are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from interp.dictionaries.activation import Activation, DictionaryError
from interp.formatting.showing import card
from interp.formatting.text import visible
from interp.ledger import product
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT, Rules

Normalize = Literal["none", "layer_norm", "constant_norm_rescale"]
NORMALIZE: Final[tuple[str, ...]] = get_args(Normalize)
#: What is added to a token's standard deviation before it divides, as sae-lens does.
EPS: Final = 1e-5


@dataclass(frozen=True, eq=False)
class Dictionary:
    """W_enc [d_in feature], b_enc [feature], W_dec [feature d_out], b_dec [d_out]; b_in [d_in] and W_skip [d_in d_out] or None.

    normalize: what is done to each token before encoding, and undone after decoding: `none`, `layer_norm` (centred and
    divided by its standard deviation) or `constant_norm_rescale` (norm sqrt(d_in)). A factor that is the same for all tokens is
    folded into the weights. `details`: how it came about, plain data.

    Raises: DictionaryError where shapes or dtypes do not fit, or a number is not finite.
    """

    site: Site
    target: Site
    activation: Activation
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    b_in: Tensor | None = None
    W_skip: Tensor | None = None
    normalize: Normalize = "none"
    name: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.normalize not in NORMALIZE:
            raise DictionaryError(f"normalize={self.normalize!r}: expected {', '.join(NORMALIZE)}.")
        if self.transcoder and self.normalize != "none":
            raise DictionaryError("a transcoder with normalised inputs: what would undo it has another width.")
        for name, x, wanted in self._shapes():
            if x is not None and tuple(x.shape) != wanted:
                raise DictionaryError(f"{name} of shape {tuple(x.shape)}; expected {wanted}.")
            if x is not None and x.dtype != self.dtype:
                raise DictionaryError(f"{name} is {x.dtype}, W_enc {self.dtype}; expected one dtype.")
            if x is not None and not bool(torch.isfinite(x).all()):
                raise DictionaryError(f"{name} of dictionary {self.name or self.site} has numbers that are not finite.")

    def _shapes(self) -> list[tuple[str, Tensor | None, tuple[int, ...]]]:
        if self.W_enc.ndim != 2 or self.W_dec.ndim != 2:
            raise DictionaryError("W_enc and W_dec: expected two axes, [d_in feature] and [feature d_out].")
        d_in, n, d_out = self.d_in, self.n_features, self.d_out
        found: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
            ("W_enc", self.W_enc, (d_in, n)),
            ("b_enc", self.b_enc, (n,)),
            ("W_dec", self.W_dec, (n, d_out)),
            ("b_dec", self.b_dec, (d_out,)),
            ("b_in", self.b_in, (d_in,)),
            ("W_skip", self.W_skip, (d_in, d_out)),
        ]
        own = ((f.name, getattr(self.activation, f.name)) for f in fields(self.activation))
        return found + [(name, x, (n,)) for name, x in own if isinstance(x, Tensor)]

    # ------------------------------------------------------------ what it is

    @property
    def transcoder(self) -> bool:
        """Whether it makes up another place than it reads."""
        return self.site != self.target

    @property
    def d_in(self) -> int:
        return int(self.W_enc.shape[0])

    @property
    def d_out(self) -> int:
        return int(self.W_dec.shape[1])

    @property
    def n_features(self) -> int:
        return int(self.W_enc.shape[1])

    @property
    def encoding(self) -> int:
        """The multiply-adds of encoding one token."""
        return self.d_in * self.n_features

    @property
    def decoding(self) -> int:
        """Those of decoding one, without what is skipped."""
        return self.n_features * self.d_out

    @property
    def skipping(self) -> int:
        """Those of what is skipped."""
        return 0 if self.W_skip is None else self.d_in * self.d_out

    @property
    def dtype(self) -> torch.dtype:
        return self.W_enc.dtype

    @property
    def device(self) -> torch.device:
        return self.W_enc.device

    def __repr__(self) -> str:
        where = f"{self.site} -> {self.target}" if self.transcoder else str(self.site)
        kind = type(self.activation).__name__
        named = f", {visible(self.name)}" if self.name else ""
        return f"Dictionary({where}, {kind}, {self.d_in} -> {self.n_features} features{named})"

    def _repr_html_(self) -> str:
        return str(card(self))

    def to(self, **to: Any) -> Dictionary:
        """The same on another device or in another dtype: keywords as `Tensor.to` takes them."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(**to) for k, v in found.items() if isinstance(v, Tensor)}
        return replace(self, **moved, activation=self.activation.map(**to))

    # ------------------------------------------------------------ what it does

    def encode(self, x: Tensor, rules: Rules = GRADIENT) -> Tensor:
        """Features [... feature] of x [... d_in], in the dictionary's dtype. `rules`: a frozen norm holds the scale of
        `normalize` fixed in the backward pass; nothing else of them speaks of an encoder (see `activation`)."""
        return self.activation(self.encoder_output(x, rules))

    def encoder_output(self, x: Tensor, rules: Rules = GRADIENT) -> Tensor:
        """u [... feature], before the activation."""
        x = x.to(self.dtype)
        if self.normalize != "none":
            seen = x.detach() if rules.norm == "frozen" else x
            x = (x - self._centre(x)) / (self._spread(seen) + (EPS if self.normalize == "layer_norm" else 0))
        return product(x if self.b_in is None else x - self.b_in, self.W_enc) + self.b_enc

    def decode(self, features: Tensor, x: Tensor | None = None) -> Tensor:
        """x-hat [... d_out] of features [... feature]. x: what was encoded, needed where the dictionary normalises or skips.

        Raises: DictionaryError where it is needed and not given.
        """
        found = product(features, self.W_dec) + self.b_dec
        if self.normalize == "none" and self.W_skip is None:
            return found
        if x is None:
            raise DictionaryError(f"{self!r} normalises or skips: decode needs the x that was encoded.")
        x = x.to(self.dtype)
        if self.normalize != "none":
            found = found * self._spread(x) + self._centre(x)
        return found if self.W_skip is None else found + product(x, self.W_skip)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x-hat [... d_out] of x [... d_in]."""
        return self.decode(self.encode(x), x)

    def write(self, change: Tensor, x: Tensor) -> Tensor:
        """What a change of features [... feature] adds to x-hat [... d_out]; x [... d_in]: what was encoded."""
        return product(change, self.W_dec) * self.scale(x)

    def scale(self, x: Tensor) -> Tensor | float:
        """By what a token's decoded features are multiplied: 1, or [... 1]."""
        return 1.0 if self.normalize == "none" else self._spread(x.to(self.dtype))

    def _centre(self, x: Tensor) -> Tensor | float:
        return x.mean(-1, keepdim=True) if self.normalize == "layer_norm" else 0.0

    def _spread(self, x: Tensor) -> Tensor:
        """The standard deviation of each token, or its norm over sqrt(d_in) [... 1]."""
        if self.normalize == "layer_norm":
            return (x - x.mean(-1, keepdim=True)).std(-1, keepdim=True)
        found: Tensor = x.norm(dim=-1, keepdim=True) / float(self.d_in) ** 0.5
        return found
