"""Where what a feature of attention reads comes from: direct feature attribution, with attention patterns and norms taken as they are.

    u_f(q) = sum_{h,k} A_h[q, k] v_h[k] . W_enc[h, f] + (b_enc - b_in W_enc)_f

Axis words: `example feature head source d_head`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.dictionaries.activation import DictionaryError, Relu
from interp.dictionaries.dictionary import Dictionary
from interp.effects.source_runs import At, Reader
from interp.effects.source_table import NO_TOKEN, TOKENS, FeatureSources
from interp.effects.splits import SPLITS
from interp.errors import TaskError
from interp.given import kinds_checked
from interp.heads.looking import prompts_of
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.parts.tokens import Texts
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import ids_of
from interp.whole_numbers import is_whole, whole


@kinds_checked
def feature_sources(
    model: Any,
    texts: Any,
    dictionary: Dictionary,
    features: Sequence[int],
    *,
    at: Literal["max"] | int | Sequence[int] = "max",
    split: str = TOKENS,
    dictionaries: Mapping[Site, Dictionary] | None = None,
    batch_size: int | None = None,
) -> FeatureSources:
    """Split the pre-activation of features of a dictionary of z into what each source token, head, writer or earlier feature adds.

    Values are split, patterns are not: why a head looks where it does is not in the sums. `writers` and `features` go on through the norm in front of
    the values, frozen at its scale, to what wrote the stream there; `features` are those of the one dictionary of
    `dictionaries`, at the stream that the attention reads, with its error as a part. Of a dictionary that normalises, the scale of the token is frozen.

    texts: what `model.run` takes as text or ids, or a task, of which the clean prompts are run. at: the position where each feature is largest,
    or one position for all prompts, or one for each (from the end where below 0). Units: those of the encoder. Cost: F and N_f H T d_head
    for each position; a backward through one attention for each feature besides where writers or features are asked for.
    Source: Kissane et al. 2024, "Interpreting attention layer outputs with sparse autoencoders".
    Raises: DictionaryError for a dictionary that does not read z, or a feature that there is not; SiteError for attention without a
    pattern; LayoutError where z is not pattern times values, or a norm acts on sums; TaskError for a position outside of a prompt.
    """
    chosen, own = SPLITS[split], _reading(dictionary, features).to(device=model.device)
    ids = [ids_of(prompt) for prompt in prompts_of(model, texts)]
    where = _where(at, [len(one) for one in ids])
    reader = Reader(model, own, tuple(dictionaries.values()) if dictionaries else ())
    chosen.check(reader)
    lengths = [len(one) for one in ids]
    rows: list[tuple[np.ndarray, At]] = [None] * len(ids)  # type: ignore[list-item]
    names: tuple[str, ...] = ()
    for index in by_length(lengths, batch_size or default_batch_size(model, max(lengths))):
        with settled(model.device), torch.set_grad_enabled(chosen.gradients):
            run = reader.run(
                [ids[i] for i in index],
                chosen.sites(reader),
                chosen.gradients,
                None if where is None else [where[i] for i in index],
            )
            named, parts = chosen.function(run)
            names = named if len(named) > len(names) else names
            for i, row, place in zip(index, parts.detach().cpu().numpy(), run.places(chosen.gradients), strict=True):
                rows[i] = row, place
    return _value(model, tuple(int(f) for f in features), dictionary, split, ids, names, rows)


def _value(
    model: Any, features: tuple[int, ...], dictionary: Dictionary, split: str, ids: Sequence[tuple[int, ...]],
    names: tuple[str, ...], rows: Sequence[tuple[np.ndarray, At]],
) -> FeatureSources:  # fmt: skip
    """Rows of prompts of several lengths as one value; of many features those that add anything anywhere."""
    longest = max(map(len, ids))
    tokens = np.full((len(ids), longest), NO_TOKEN, dtype=np.int64)
    for i, one in enumerate(ids):
        tokens[i, : len(one)] = one
    table = np.zeros((len(ids), len(features), len(names)))
    for i, (row, _) in enumerate(rows):
        table[i, :, : row.shape[1]] = row
    if split == "features":
        kept = [p for p in range(len(names)) if table[..., p].any()]
        table, names = table[..., kept], tuple(names[p] for p in kept)
    constant, value, position = (
        np.stack([getattr(at, name) for _, at in rows]) for name in ("constant", "value", "position")
    )
    known = Texts.of(model.text_of, {token for one in ids for token in one}) if model.tokenizer is not None else Texts()
    return FeatureSources(
        features, names, table, constant, value, position, tokens, split, str(dictionary.site), known, model.name
    )


def _reading(dictionary: Dictionary, features: Sequence[int]) -> Dictionary:
    """The part of a dictionary that reads these features. Raises: DictionaryError for another place than z, or a feature that there is not."""
    if dictionary.site.kind != "z" or dictionary.site.part:
        raise DictionaryError(
            f"a dictionary of '{dictionary.site}': sources are those of what attention reads, at z; of others take interp.feature_edges."
        )
    found = [whole(f, "feature", DictionaryError) for f in features]
    if not found:
        raise DictionaryError("features: none given; expected one or more, for example features=[17].")
    if wrong := [f for f in found if not 0 <= f < dictionary.n_features]:
        raise DictionaryError(f"feature {wrong[0]}: the dictionary has features 0 to {dictionary.n_features - 1}.")
    return Dictionary(
        dictionary.site, dictionary.site, Relu(), dictionary.W_enc[:, found], dictionary.b_enc[found],
        dictionary.W_enc[:, found].T.contiguous(), torch.zeros_like(dictionary.W_enc[:, 0]), dictionary.b_in,
        normalize=dictionary.normalize,
    )  # fmt: skip


def _where(at: Any, lengths: Sequence[int]) -> list[int] | None:
    """The position asked for in each prompt; None for where each feature is largest. Raises: TaskError for one outside."""
    if isinstance(at, str):
        if at != "max":
            raise TaskError(f"at={at!r:.40}: expected 'max', a position, or one position for each prompt.")
        return None
    given = [at] * len(lengths) if is_whole(at) else list(at)
    if len(given) != len(lengths):
        raise TaskError(f"at: {len(given)} positions for {len(lengths)} prompts; give one for all, or one for each.")
    found = [whole(one, "at", TaskError) for one in given]
    if wrong := [(p, n) for p, n in zip(found, lengths, strict=True) if not -n <= p < n]:
        raise TaskError(f"at: position {wrong[0][0]} of a prompt of {wrong[0][1]} tokens; expected one inside.")
    return [p % n for p, n in zip(found, lengths, strict=True)]
