"""What one forward pass gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from interp.errors import SiteError, TaskError
from interp.formatting.showing import card
from interp.model.operands import Operands
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site, SiteLike, parse
from interp.parts.tokens import Tokens


@dataclass(frozen=True, eq=False, repr=False)
class Run(Mapping[SiteLike, Tensor]):
    """What a run returns: `logits` [batch pos d_vocab] (or of some tokens only), the reads by site, and what it ran on, `given`: `tokens`,
    or `inputs` that are no text."""

    logits: Tensor
    reads: Mapping[Site, Tensor]
    given: Tokens | Inputs
    _layers: Mapping[str, int]
    _rotary: bool
    operands: Operands | None = None

    @property
    def tokens(self) -> Tokens:
        """The tokens that it ran on. Raises: TaskError where these were other inputs."""
        if isinstance(self.given, Inputs):
            raise TaskError(f"this run was of {self.given.main}, not of tokens; run.inputs has what it was given.")
        return self.given

    @property
    def inputs(self) -> Inputs:
        """The inputs that it ran on. Raises: TaskError where these were tokens."""
        if isinstance(self.given, Tokens):
            raise TaskError("this run was of tokens; run.tokens has them.")
        return self.given

    def __getitem__(self, site: SiteLike) -> Tensor:
        found = parse(site, self._layers, rotary=self._rotary)
        if len(found) != 1 or found[0] not in self.reads:
            raise SiteError(
                f"site {str(site)!r} was not read in this run; read: {', '.join(map(str, self.reads)) or 'none'}."
            )
        return self.reads[found[0]]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{site} {list(x.shape)}" for site, x in self.reads.items())
        return f"Run(logits {list(self.logits.shape)}, reads: {shapes or 'none'})"

    def _repr_html_(self) -> str:
        return str(card(self))

    def __iter__(self) -> Iterator[Site]:
        return iter(self.reads)

    def __len__(self) -> int:
        return len(self.reads)
