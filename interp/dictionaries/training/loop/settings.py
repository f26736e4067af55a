"""What a training is to do, checked: which dictionaries, on how many tokens, in what steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from interp.attribution.batching.batch_sizes import parse_bytes
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data import buffer as buffers
from interp.dictionaries.training.data.chunks import CHUNK_TOKENS
from interp.dictionaries.training.steps.options import ARCHITECTURES, TRANSCODERS, plan
from interp.errors import MethodError, unknown
from interp.parts.sites import Site, SiteLike, order

TOKENS: Final = 2_000_000
BATCH_TOKENS: Final = 2048
HOLD_OUT: Final = 0.05
HELD_OUT_TOKENS: Final = 8192
#: Sites without one vector per token.
NO_VECTORS: Final = ("pattern", "logits")
#: What a transcoder reads, and what it makes up of it.
TRANSCODED: Final = ("mlp_normed", "mlp_out")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: What else stands in the folder of a run, where each of several dictionaries has a folder of its name.
TAKEN: Final = ("checkpoint", "training.json", "config.toml", "report.html", "cfg.json", "sae_weights.safetensors")
SPEC_KEYS: Final = ("site", "d_sae", "architecture", "target", "name")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises: DictionaryError for anything but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DictionaryError(f"{name}={value!r}: expected a whole number, {least} or more.")


@dataclass(frozen=True)
class Wanted:
    """One dictionary to train. `options`: those of its architecture, as `interp.dictionaries.training.steps.options` lists them."""

    name: str
    site: Site
    target: Site
    architecture: str
    d_sae: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "site": str(self.site), "target": str(self.target), "options": dict(self.options)}


@dataclass(frozen=True)
class Settings:
    """How all dictionaries of a run are trained.

    tokens: activations seen in all; batch_tokens: of one optimiser step. buffer: tokens in the shuffled buffer.
    hold_out: share of the documents that is never trained on; held_out_tokens: how many of their tokens are measured.
    """

    tokens: int = TOKENS
    batch_tokens: int = BATCH_TOKENS
    buffer: int | str | None = None
    context: int | None = None
    keep_bos: bool = False
    hold_out: float = HOLD_OUT
    held_out_tokens: int = HELD_OUT_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_tokens", "held_out_tokens"):
            check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0)
        if self.context is not None:
            check_whole("context", self.context, 2)
        if not isinstance(self.keep_bos, bool):
            raise DictionaryError(f"keep_bos={self.keep_bos!r}: expected true or false.")
        if (
            isinstance(self.hold_out, bool)
            or not isinstance(self.hold_out, int | float)
            or not 0 <= self.hold_out <= 0.5
        ):
            raise DictionaryError(f"hold_out={self.hold_out!r}: expected a share of the documents from 0 to 0.5.")
        if self.tokens < self.batch_tokens:
            raise DictionaryError(
                f"tokens={self.tokens}: expected one step of batch_tokens={self.batch_tokens} or more."
            )
        self._check_buffer()

    def _check_buffer(self) -> None:
        if isinstance(self.buffer, bool) or not isinstance(self.buffer, int | str | None):
            raise DictionaryError(f"buffer={self.buffer!r}: expected tokens, or bytes with a unit such as 256MiB.")
        if isinstance(self.buffer, str):
            try:
                parse_bytes(self.buffer)
            except MethodError:
                raise DictionaryError(f"buffer={self.buffer!r}: expected tokens, or bytes such as 256MiB.") from None

    @property
    def steps(self) -> int:
        """Optimiser steps: whole batches."""
        return -(-self.tokens // self.batch_tokens)

    def capacity(self, row_bytes: int, context: int) -> int:
        """Tokens that the buffer holds, no more than the run can fill. row_bytes: of one token at all sites.

        Raises: DictionaryError for a size that is none, or does not hold two batches and two rows.
        """
        least = 2 * (context + self.batch_tokens)
        # No run needs more: its tokens, and a chunk and a batch that begin with the last of them.
        most = self.tokens + max(context, CHUNK_TOKENS) + self.batch_tokens
        found = min(self._capacity(row_bytes, least), max(least, most))
        if found < least:
            raise DictionaryError(
                f"buffer={self.buffer!r} holds {found:,} tokens: expected {least:,} or more, two batches of "
                f"{self.batch_tokens:,} and two rows of {context:,}."
            )
        return found

    def _capacity(self, row_bytes: int, least: int) -> int:
        slot = row_bytes + buffers.ORDER_BYTES
        if self.buffer is None:
            needed = max(self.tokens, 4 * self.batch_tokens)
            return max(least, min(buffers.TOKENS, buffers.BYTES // slot, needed))
        return self.buffer if isinstance(self.buffer, int) else parse_bytes(self.buffer) // slot


@dataclass(frozen=True)
class Keeping:
    """What of a run is kept: in the folder `out`, nothing without one.

    resume: go on with the run that is there. checkpoint_every: steps between checkpoints, None for those that time allows.
    keep_checkpoint: leave the last one behind at the end.
    """

    out: Path | None
    resume: bool
    checkpoint_every: int | None
    keep_checkpoint: bool

    @classmethod
    def of(cls, out: str | Path | None, resume: bool, checkpoint_every: int | None, keep_checkpoint: bool) -> Keeping:
        """The same of what is given. Raises: DictionaryError for no number of steps, and for `resume` without a folder."""
        if checkpoint_every is not None:
            check_whole("checkpoint_every", checkpoint_every, 1)
        if out is None and resume:
            raise DictionaryError("resume without out: expected the folder of the run to go on with.")
        return cls(None if out is None else Path(out), resume, checkpoint_every, keep_checkpoint)


def check_specs(specs: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """What can be said of dictionaries to train without the model. Raises: DictionaryError."""
    if not specs:
        raise DictionaryError("no dictionaries to train; expected one or more.")
    named = [(i, spec, spec.get("site", "no site")) for i, spec in enumerate(specs)]
    for i, spec, site in named:
        with said_of(i, len(specs), site):
            _check_spec(spec)
    for i, spec, site in named:
        with said_of(i, len(specs), site):
            architecture, d_sae = _check_spec(spec)
            plan(architecture, d_sae, d_sae, d_sae, _options(spec), settings.steps, settings.seed)


def wanted(model: Any, specs: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    """The dictionaries that are asked for. Raises: DictionaryError, SiteError."""
    if not specs:
        raise DictionaryError("no dictionaries to train; expected one or more.")
    found = []
    for i, spec in enumerate(specs):
        with said_of(i, len(specs), spec.get("site", "no site")):
            found.append(_one(model, spec))
    names = [one.name.lower() for one in found]  # folders, which some systems hold the same whatever the case
    if twice := [name for name in names if names.count(name) > 1]:
        raise DictionaryError(f"two dictionaries called {twice[0]!r}: give each a name of its own with name=.")
    return found


@contextmanager
def said_of(i: int, n: int, site: object) -> Iterator[None]:
    """Errors inside name the dictionary that they are about, where there are several."""
    try:
        yield
    except DictionaryError as error:
        if n == 1:
            raise
        raise DictionaryError(f"dictionary {i + 1} of {n}, at {site}: {error}") from error


def _check_spec(spec: Mapping[str, Any]) -> tuple[str, int]:
    """Its architecture and number of features."""
    if missing := [key for key in ("site", "d_sae") if spec.get(key) is None]:
        raise DictionaryError(f"a dictionary without {missing[0]}; expected site and d_sae.")
    architecture = str(spec.get("architecture") or "topk")
    if architecture not in ARCHITECTURES:
        raise DictionaryError(unknown("architecture", architecture, ARCHITECTURES))
    check_whole("d_sae", spec["d_sae"], 1)
    _check_name(spec.get("name") or "unnamed")
    return architecture, spec["d_sae"]


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DictionaryError(f"name={name!r:.80}: expected up to 100 letters, digits, dots, dashes and underscores.")
    if name.lower() in TAKEN:
        raise DictionaryError(f"name={name!r}: the folder of a run has something else of this name; choose another.")


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the architecture."""
    return {key: value for key, value in spec.items() if key not in SPEC_KEYS}


def _one(model: Any, spec: Mapping[str, Any]) -> Wanted:
    architecture, d_sae = _check_spec(spec)
    site = one_site(model, spec["site"])
    target = _target(model, site, spec.get("target"), architecture)
    name = spec.get("name") or f"{site}-{architecture}-{d_sae}"
    _check_name(name)
    return Wanted(name, site, target, architecture, d_sae, _options(spec))


def one_site(model: Any, given: SiteLike) -> Site:
    """The site that a name means on this model. Raises: DictionaryError where it means several, or has no vectors."""
    if not isinstance(given, str | Site):
        raise DictionaryError(f"site {given!r}: expected a name such as 'resid_post.3'.")
    found = model.resolve(given)
    if len(found) != 1:
        raise DictionaryError(f"site {str(given)!r} means {len(found)} places: name one, for example '{found[0]}'.")
    site: Site = found[0]
    if site.kind in NO_VECTORS or site.part:
        raise DictionaryError(
            f"site '{site}' has no vector of the model per token; choose another, for example resid_post.1."
        )
    return site


def _target(model: Any, site: Site, given: SiteLike | None, architecture: str) -> Site:
    """What is made up: the site itself; for a transcoder the target, by default the MLP's output for its input."""
    if architecture not in TRANSCODERS:
        if given is not None and one_site(model, given) != site:
            raise DictionaryError(
                f"{architecture} makes up its own site; for target={str(given)!r} choose {', '.join(TRANSCODERS)}."
            )
        return site
    if given is not None:
        target = one_site(model, given)
    elif site.kind == TRANSCODED[0]:
        target = one_site(model, Site(TRANSCODED[1], site.layer))
    else:
        raise DictionaryError(f"{architecture} at '{site}': give a target, or the site '{TRANSCODED[0]}.LAYER'.")
    if target == site:
        raise DictionaryError(f"{architecture} from '{site}' to itself: choose another target, or an autoencoder.")
    if order(site) > order(target):
        raise DictionaryError(f"{architecture}: '{site}' comes after '{target}'; choose a target behind what is read.")
    return target
