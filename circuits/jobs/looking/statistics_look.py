"""`statistics`: what is true of activations over a corpus, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from circuits.console.phases import Telling
from circuits.jobs.looking.given_prompts import corpus_of
from circuits.jobs.looking.look import Found, look
from circuits.runs.looked import Line, Lines, Looked, Number, Rows, Section
from circuits.settings.looking_options import StatisticsLook
from interp.activations.summarise import summarise
from interp.activations.summary import Summary
from interp.dictionaries.training.data.documents import Documents
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter
from interp.errors import InterpError, unknown
from interp.formatting.numbers import several
from interp.model.model import HookedModel
from interp.parts.sites import Site, order
from interp.statistics.accumulator import STATISTICS
from interp.whole_numbers import count

#: Of each statistic the number whose course over the layers is drawn, and what it is.
_DRAWN: Final = {
    "sparsity": (("hoyer", "Hoyer's measure: 0 all units alike, 1 one alone"), ("positive", "share of units above 0")),
    "positions": (("share_pos", "share of variance that is position"), ("share_ctx", "share of variance that is context")),
}  # fmt: skip
_MOMENTS: Final = ("mean", "sd", "kurtosis", "least", "largest")


def run(asked: StatisticsLook) -> None:
    """From options to a run directory. Raises: InterpError for bad input, with nothing written."""
    names = _names(asked.what)
    count(asked.tokens, "--tokens")
    if "positions" in names and asked.window is None:
        raise InterpError("--what positions compares rows of one length; give --window, the tokens of each.")
    if asked.window is not None:
        count(asked.window, "--window", least=3)
    data = corpus_of(asked.data, asked.model)
    look(asked, "statistics", lambda model, say: _work(asked, data, names, model, say))


def _names(what: str) -> list[str]:
    """The statistics that `--what` names. Raises: InterpError for one that is none."""
    names = [name.strip() for name in what.split(",")]
    if odd := [name for name in names if not STATISTICS.has(name)]:
        raise InterpError(f"--what {what!r:.60}: {unknown('statistic', odd[0], STATISTICS.names())}")
    return list(dict.fromkeys(names))


def _work(asked: StatisticsLook, data: str, names: list[str], model: HookedModel, say: Telling) -> Found:
    cutter = Cutter.of(model, asked.window, asked.keep_bos)
    rows = list(_rows(open_documents(data, asked.seed), cutter, asked.tokens, asked.window))
    if not rows:
        raise InterpError(
            f"--data {data!r:.60}: no row of {asked.window or 'any'} tokens in it; expected longer texts."
        )
    found = summarise(
        model,
        rows,
        asked.sites.split(","),
        names,
        window=asked.window,
        keep_bos=asked.keep_bos,
        max_memory=asked.max_memory,
    )
    said = f"{several(found.n_tokens, 'token')} of {several(found.n_prompts, 'row')} of {data!r:.60}, {several(len(found), 'site')}."
    looked = Looked(f"Statistics of {model.name}", (said,), tuple(_sections(found, names)), _numbers(found))
    return Found(looked, {}, [len(row) for row in rows], {"summary.safetensors": found.save})


def _rows(documents: Documents, cutter: Cutter, tokens: int, window: int | None) -> Iterator[list[int]]:
    """The first rows of a corpus, of one length where windows are asked for, until there are so many tokens."""
    n = 0
    for row in cutter.every_row(documents):
        if window is None or len(row) == window:
            n += len(row)
            yield row
        if n >= tokens:
            return


# ---------------------------------------------------------------- what is said


@dataclass(frozen=True)
class _Row:
    """What one statistic says of one site."""

    site: Site
    numbers: dict[str, float]


def _of(found: Summary, name: str) -> list[_Row]:
    """What a statistic says of each site in single numbers; of moments the means over units."""
    rows = []
    for site in found:
        result: dict[str, Any] = found[site][name]
        numbers = {key: x.item() for key, x in result.items() if x.ndim == 0}
        if name == "moments":
            numbers = {key: float(result[key].mean()) for key in _MOMENTS[:3]}
            numbers |= {"least": float(result["least"].min()), "largest": float(result["largest"].max())}
        rows.append(_Row(_site(site), {key: value for key, value in numbers.items() if math.isfinite(value)}))
    return rows


def _site(name: str) -> Site:
    kind, _, layer = name.rpartition(":")[2].partition(".")
    return Site(kind, int(layer) if layer else None, stack=name.rpartition(":")[0])


def _sections(found: Summary, names: list[str]) -> Iterator[Section]:
    for name in names:
        rows = [row for row in _of(found, name) if row.numbers]
        columns = tuple(dict.fromkeys(key for row in rows for key in row.numbers))
        lines = tuple((str(row.site), *(row.numbers.get(key) for key in columns)) for row in rows)
        shown = (
            Rows(columns=("site", *(key.replace("_", " ") for key in columns)), lines=lines, n=len(lines))
            if lines
            else None
        )
        about = STATISTICS[name].about
        said = (
            f"{about.sentence[0].upper()}{about.sentence[1:]}.",
            *((f"Source: {about.source}.",) if about.source else ()),
        )
        what = "" if shown else " Of this the run keeps a file, and a program reads it: interp.Summary.load."
        yield Section(name.capitalize(), (*said, *((what.strip(),) if what else ())), shown, _figure(rows, name))


def _figure(rows: list[_Row], name: str) -> Lines | None:
    """The course over the layers of what a statistic has for that, a line for each kind of site."""
    lines: list[Line] = []
    layers = sorted({row.site.layer for row in rows if row.site.layer is not None})
    for key, told in _DRAWN.get(name, ()):
        for kind in sorted(
            {row.site.kind for row in rows}, key=lambda k: order(Site(k, 0)) if k != "embed" else (False,)
        ):
            own = {row.site.layer: row.numbers.get(key) for row in rows if row.site.kind == kind}
            lines += [Line(f"{kind}: {told}", tuple(own.get(layer) for layer in layers))]
    if not lines or len(layers) < 2:
        return None
    return Lines(x=tuple(map(float, layers)), lines=tuple(lines), x_title="layer", y_title=name)


def _numbers(found: Summary) -> tuple[Number, ...]:
    named = (
        Number(f"{name}_{key}_{row.site}", value)
        for name in next(iter(found.accumulators.values()))
        for row in _of(found, name)
        for key, value in row.numbers.items()
    )
    return (Number("tokens", found.n_tokens), *islice(named, 2000))
