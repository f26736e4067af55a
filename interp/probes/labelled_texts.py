"""Labelled texts for probes: read from JSONL, checked, turned into tokens, and split in two halves.

One line each: `{"text": "...", "label": 0 or 1}`, or `"tokens": [ids]` for `"text"`, and where to look: `"position"`, the index of a
token (negative: from the end), `"last"` or `"mean"` over the tokens that count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from interp.errors import ProbeError, unknown
from interp.parts.texts import encode
from interp.whole_numbers import count, is_whole

KEYS: Final = ("text", "tokens", "label", "position", "group")
POOLS: Final = ("last", "mean")
#: Fewer different texts with a label than this have no halves to speak of.
LEAST: Final = 10
#: Bytes of a file of labels.
MOST_BYTES: Final = 256 * 2**20


@dataclass(frozen=True)
class Labelled:
    """One text as token ids, its label, and where the probe looks: a position, `last`, or `mean`."""

    ids: tuple[int, ...]
    label: int
    position: int | str = "last"
    group: str = ""


def read_labels(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file. Raises: ProbeError where it cannot be read or a line is no object."""
    try:
        if (size := Path(path).stat().st_size) > MOST_BYTES:
            raise ProbeError(f"labels {str(path)!r}: {size:,} bytes; expected at most {MOST_BYTES:,}. Use fewer lines.")
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(f"labels {str(path)!r} cannot be read: {error}.") from error
    found = []
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except ValueError as error:
            raise ProbeError(f"{path}, line {i}: no JSON ({error}); expected one object per line.") from error
        if not isinstance(one, dict):
            raise ProbeError(f"{path}, line {i}: {line[:60]!r}; expected an object with text and label.")
        found.append(one)
    return found


def labelled(
    model: Any, given: Iterable[Mapping[str, Any]], position: int | str = "last", n_labels: int = 2, least: int = LEAST
) -> list[Labelled]:
    """The examples as tokens. position: where to look in those that do not say.

    Raises: ProbeError for unknown or missing keys, labels other than 0 and 1, a position outside the text, the same
    text with both labels, or too few of a label. n_labels: labels are 0 to one less; least: different texts that each must have.
    """
    found = [_one(model, one, position, n_labels, f"example {i}") for i, one in enumerate(given)]
    labels: dict[tuple[tuple[int, ...], int | str], int] = {}
    for one in found:
        if labels.setdefault((one.ids, one.position), one.label) != one.label:
            raise ProbeError(
                f"the same tokens have label {min(labels[one.ids, one.position], one.label)} and label {max(labels[one.ids, one.position], one.label)}: {list(one.ids)[:20]}; expected one label per text and position."
            )
    for label in range(n_labels):
        n = sum(known == label for known in labels.values())
        if n < least:
            raise ProbeError(
                f"{n} different examples with label {label}; a probe needs at least {least} of each label, half to fit and half to test."
            )
    return found


def _one(model: Any, given: Mapping[str, Any], position: int | str, n_labels: int, where: str) -> Labelled:
    if extra := [key for key in given if key not in KEYS]:
        raise ProbeError(f"{where}: {unknown('key', extra[0], KEYS)}")
    label: Any = given.get("label")
    if not is_whole(label) or not 0 <= label < n_labels:
        raise ProbeError(f"{where}: label {label!r}; expected 0 {'or' if n_labels == 2 else 'to'} {n_labels - 1}.")
    if ("text" in given) == ("tokens" in given):
        raise ProbeError(f"{where}: expected either 'text' or 'tokens', given {' and '.join(given)}.")
    ids = _ids(model, given, where)
    at = given.get("position", position)
    if isinstance(at, str) and at not in POOLS:
        raise ProbeError(f"{where}: {unknown('position', at, POOLS)} A number is the index of a token.")
    if not isinstance(at, str) and not is_whole(at):
        raise ProbeError(f"{where}: position {at!r}; expected the index of a token, 'last' or 'mean'.")
    if not isinstance(at, str):
        at = int(at)
        if not -len(ids) <= at < len(ids):
            raise ProbeError(f"{where}: position {at} of {len(ids)} tokens; expected {-len(ids)} to {len(ids) - 1}.")
        at %= len(ids)
    return Labelled(ids, int(label), len(ids) - 1 if at == "last" else at, str(given.get("group", "")))


def _ids(model: Any, given: Mapping[str, Any], where: str) -> tuple[int, ...]:
    if "text" in given:
        if not isinstance(given["text"], str) or not given["text"]:
            raise ProbeError(f"{where}: text {given['text']!r}; expected text.")
        return tuple(encode(model.tokenizer, given["text"]))
    ids = given["tokens"]
    if not isinstance(ids, Sequence) or not ids or not all(map(is_whole, ids)):
        raise ProbeError(f"{where}: tokens {str(ids)[:60]}; expected a list of token ids.")
    return tuple(map(int, ids))


def halves(found: Sequence[Labelled], seed: int, by: str = "example") -> tuple[np.ndarray, np.ndarray]:
    """Indices of the half to fit on and of the half to test on, each with half of the different texts of each label; what is
    there twice goes to one side. by: `group` keeps all texts of a group on one side. Raises: ProbeError for too few groups of a label."""
    rng = np.random.default_rng(count(seed, "seed", least=0))
    keys: list[Any] = [one.group if by == "group" else (one.ids, one.position) for one in found]
    side: dict[Any, bool] = {}
    for label in sorted({one.label for one in found}):
        own = list(dict.fromkeys(key for key, one in zip(keys, found, strict=True) if one.label == label))
        if by == "group" and len(own) < LEAST:
            raise ProbeError(
                f"labels: {len(own)} different groups with label {label}; by='group' needs at least {LEAST} of each label."
            )
        fresh = [key for key in own if key not in side]
        want = len(own) // 2 - sum(side[key] for key in own if key in side)
        chosen = {fresh[i] for i in rng.permutation(len(fresh))[: max(0, want)]}
        side |= {key: key in chosen for key in fresh}
    train = np.array([side[key] for key in keys])
    return train.nonzero()[0], (~train).nonzero()[0]
