"""`depth`: what each layer does to the stream of a text, and what is left of the model when some parts are left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Final

from circuits.console.phases import Telling
from circuits.jobs.looking.given_prompts import corpus_of
from circuits.jobs.looking.look import Found, look
from circuits.runs.looked import Line, Lines, Looked, Number, Section, rows_of_table
from circuits.settings.looking_options import DepthLook
from interp.depth.drop_layers import SEARCHES, DroppedLayers, drop_layers
from interp.depth.layer_scores import LAYER_SCORES
from interp.depth.layer_use import LayerUse, layer_use
from interp.depth.removal import UNITS
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter
from interp.errors import InterpError, unknown
from interp.formatting.numbers import number, several
from interp.formatting.text import visible
from interp.model.model import HookedModel
from interp.whole_numbers import count

#: A row of fewer tokens has next to nothing to predict.
_SHORTEST: Final = 8
#: The most tokens of a row where nobody says how many.
_USUAL: Final = 128


def run(asked: DepthLook) -> None:
    """From options to a run directory. Raises: InterpError for bad input, with nothing written."""
    for name, given, valid in (("unit", asked.unit, UNITS), ("search", asked.search, SEARCHES)):
        if given not in valid:
            raise InterpError(f"--{name}: {unknown(name, given, valid)}")
    LAYER_SCORES[asked.score].check(asked.unit, False, asked.search, asked.alpha)
    count(asked.drop, "--drop")
    count(asked.texts, "--texts", least=2)
    if asked.window is not None:
        count(asked.window, "--window", least=_SHORTEST)
    data = corpus_of(asked.data, asked.model)
    look(asked, "depth", lambda model, say: _work(asked, data, model, say))


def _work(asked: DepthLook, data: str, model: HookedModel, say: Telling) -> Found:
    """Half of the rows choose what is left out, the other half judges."""
    cutter = Cutter.of(model, asked.window, True)
    cutter = replace(cutter, context=min(cutter.context, asked.window or _USUAL))
    long = (row for row in cutter.every_row(open_documents(data, asked.seed)) if len(row) >= _SHORTEST)
    rows = list(islice(long, asked.texts))
    if len(rows) < 2:
        raise InterpError(
            f"--data {data!r:.60}: {several(len(rows), 'row')} of {_SHORTEST} tokens or more; expected two, one to choose and one to judge."
        )
    own, other = rows[::2], rows[1::2]
    use = layer_use(model, own)
    dropped = drop_layers(
        model,
        own,
        unit=asked.unit,  # type: ignore[arg-type]
        score=asked.score,
        n=asked.drop,
        search=asked.search,  # type: ignore[arg-type]
        judge=other,
        alpha=asked.alpha,
        seed=asked.seed,
    )
    return Found(_looked(model, use, dropped), {"layer_use": use, "dropped_layers": dropped}, [*map(len, rows)])


# ---------------------------------------------------------------- what is said


def _looked(model: HookedModel, use: LayerUse, dropped: DroppedLayers) -> Looked:
    full, end = float(dropped.cross_entropy[0]), float(dropped.cross_entropy[-1])
    said = (
        f"Without {', '.join(dropped.removed)} the cross-entropy of {model.name} is {number(end, 3)} nats, of the full model {number(full, 3)}, "
        f"on {several(dropped.n, 'text')} that did not choose them."
    )
    numbers = (
        Number("cross_entropy", full),
        *(Number(f"cross_entropy_without_{i + 1}", float(v)) for i, v in enumerate(dropped.cross_entropy[1:])),
    )
    return Looked(f"Depth of {visible(model.name, 80)}", (said,), (_used(use), _left(dropped)), numbers)


def _used(use: LayerUse) -> Section:
    """What each part does, and how much it turns the stream."""
    n = 1 + max(use.layers)
    lines = []
    for part in dict.fromkeys(use.parts):
        at = [layer for layer, own in zip(use.layers, use.parts, strict=True) if own == part]
        each = dict(zip(at, use.of(part, "influence").tolist(), strict=True))
        lines.append(Line(part, tuple(each.get(layer) for layer in range(n))))
    figure = Lines(x=tuple(map(float, range(n))), lines=tuple(lines), x_title="layer", y_title="influence")
    how = (
        "Of what a part reads of the stream, x, and adds, a, means over tokens without the first of each text: the length of x (norm_in) and of a (norm), "
        "how large a is beside x (relative), their cosine, and the influence, 1 - cosine of the stream in front of the part and behind it."
    )
    columns = ("layer", "part", *use.measures)
    return Section("Layers", (how,), rows_of_table(use, columns), figure)


def _left(dropped: DroppedLayers) -> Section:
    """What is left after each part that is left out."""
    steps = tuple(float(i) for i in range(len(dropped.removed) + 1))
    curve = tuple(dropped.cross_entropy.tolist())
    figure = Lines(
        x=steps,
        lines=(Line("left out one after the other", curve), Line("full model", (curve[0],) * len(curve))),
        x_title="parts left out",
        y_title="cross-entropy (nats)",
    )
    how = (
        f"Parts ({dropped.unit}) by {dropped.score}, {dropped.search}: chosen on one half of the texts, judged on the other. Which text it is decides "
        "what can go: on another the order is another."
    )
    columns = ("step", "removed", "cross_entropy", "low", "high", "kl", "accuracy")
    return Section("What is left", (how,), rows_of_table(dropped, columns), figure)
