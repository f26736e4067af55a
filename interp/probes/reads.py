"""What the model has at some sites for labelled texts: one forward for all of them, kept as one vector per text and site.

Axis words: `example d`; `batch pos` count the tokens of texts of one length, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.activations.walking import resolved
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import ProbeError
from interp.given import kinds_checked
from interp.model.modules.lock import settled
from interp.parts.sites import Site, SiteLike
from interp.probes.labelled_texts import LEAST, Labelled, labelled, read_labels
from interp.progress import progress
from interp.tasks.lengths import by_length
from interp.whole_numbers import count

#: Bytes of vectors that are kept at once.
MOST_KEPT: Final = 4 * 2**30

Lines = str | Path | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class LabelledReads:
    """examples: the texts and their labels; values: of each site [example d], float32."""

    examples: tuple[Labelled, ...]
    values: dict[Site, np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        """The label of each text [example]."""
        return np.array([one.label for one in self.examples])


@kinds_checked
def read_labelled(
    model: Any,
    lines: Any,
    sites: SiteLike | Sequence[SiteLike],
    pool: int | str = "last",
    *,
    n_labels: int = 2,
    least: int = LEAST,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> LabelledReads:
    """One vector for each text and site: at a token (`last` or its index) or the mean over the tokens but for the first where texts begin.

    lines: a JSONL file or its lines, `{"text" or "tokens", "label", "position", "group"}`. Cost: one forward of all texts for all sites; memory: 4 bytes per text
    and unit. Raises: ProbeError for lines that cannot be used, activations that are not finite, or more than 4 GiB; SiteError.
    """
    asked = resolved(model, sites)
    given = read_labels(lines) if isinstance(lines, (str, Path)) else lines
    examples = labelled(model, given, pool, n_labels, least)
    if batch_size is not None:
        count(batch_size, "batch_size", ProbeError)
    lengths = [len(one.ids) for one in examples]
    order = list(by_length(lengths, batch_size or default_batch_size(model, max(lengths))))
    values: dict[Site, np.ndarray] = {}
    with progress("reading", len(order), show_progress) as advance:
        for index in order:
            for site, x in _batch(model, asked, [examples[i] for i in index]).items():
                if site not in values:
                    values[site] = _room(site, asked, len(examples), x.shape[1])
                values[site][index] = x.numpy()
            advance(1)
    return LabelledReads(tuple(examples), values)


def _room(site: Site, sites: Sequence[Site], n: int, width: int) -> np.ndarray:
    if (size := 4 * n * width * len(sites)) > MOST_KEPT:
        raise ProbeError(
            f"{n} texts at {len(sites)} sites of about {width} units take {size / 2**30:.1f} GiB; expected at most {MOST_KEPT // 2**30} GiB. "
            "Ask for fewer sites or texts at once."
        )
    return np.zeros((n, width), dtype=np.float32)


def _batch(model: Any, sites: Sequence[Site], batch: Sequence[Labelled]) -> dict[Site, Tensor]:
    """Of each site the vectors [batch d] of texts of one length."""
    ids = torch.tensor([one.ids for one in batch])
    with settled(model.device), torch.no_grad():
        run = model.run(ids, reads=list(sites), logits_to_keep=1)
    share = shares(model, batch)
    return {site: _pooled(site, run[site], share) for site in sites}


def _pooled(site: Site, x: Tensor, share: Tensor) -> Tensor:
    if x.shape[:2] != share.shape:
        raise ProbeError(
            f"site '{site}' has {x.shape[1]} positions for {share.shape[1]} tokens; expected a site of the text's own positions."
        )
    x = x.flatten(2).cpu()
    used = x[share > 0]
    if not bool(torch.isfinite(used).all()):
        raise ProbeError(f"activations at '{site}' are not finite; try dtype='float32' or other texts.")
    weights = share.to(torch.float64)
    return torch.einsum("bpd,bp->bd", x.double().masked_fill((share == 0)[..., None], 0.0), weights).float()


def shares(model: Any, batch: Sequence[Labelled]) -> Tensor:
    """How much each token counts for its text [batch pos]; a row sums to 1."""
    bos = getattr(model.tokenizer, "bos_token_id", None)
    share = torch.zeros(len(batch), len(batch[0].ids), dtype=torch.float64)
    for row, one in enumerate(batch):
        if isinstance(one.position, int):
            share[row, one.position] = 1.0
        else:
            share[row] = torch.tensor([float(token != bos) for token in one.ids])
        if not bool(share[row].any()):
            raise ProbeError(f"nothing to take the mean of: a text is only {list(one.ids)}, where texts begin.")
    return share / share.sum(1, keepdim=True)
