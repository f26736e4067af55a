"""How inputs that are no text show themselves in notebooks, with numbers over their positions; and the lens of a classifier."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from interp.formatting import showing
from interp.formatting.html import block, caption, element, joined, left_out, shaded, table, text
from interp.formatting.numbers import count, decimals, number, percent, score, several, share_digits
from interp.lenses.class_lens import ClassLens
from interp.pictures.heat import heat
from interp.pictures.picturing import DrawnInput

#: Pixels of the longer side of an image; positions without a place and sites that are listed.
LONG: Final = 240.0
MOST_ELSEWHERE: Final = 8
MOST_SITES: Final = 16


@showing.card.register
def drawn_card(found: DrawnInput) -> Markup:
    """The picture, and beside it what stands nowhere in it."""
    picture, values = found.picture, found.values
    said = joined(text(picture.name), text(found.what) if found.what else "")
    if values is None or len(values) != len(picture.places):
        return block("DrawnInput", said, heat(picture, long=LONG, spoken=picture.name))
    digits = decimals([max(map(abs, values), default=0.0)], 3)
    said_at = [f"{name}: {score(v, digits)} {found.unit}" for name, v in zip(found.positions, values, strict=True)]
    beside = [own for own, box in zip(said_at, picture.places, strict=True) if not box]
    most = max((abs(v) for v, box in zip(values, picture.places, strict=True) if box), default=0.0)
    scale = f"Strongest tint: {number(most, digits)}. Orange is positive, blue negative."
    left = left_out(len(beside), MOST_ELSEWHERE, "positions that stand nowhere in it")
    elsewhere = joined(*map(text, beside[:MOST_ELSEWHERE]), by=", ")
    drawn = heat(picture, values, said=said_at, long=LONG, spoken=picture.name)
    return block("DrawnInput", said, drawn, caption(scale, elsewhere, left))


@showing.card.register
def class_lens_card(found: ClassLens) -> Markup:
    """The three most probable classes at each site, of the first example where its answer is read."""
    at, n = found.read if found.read is not None else 0, len(found.sites)
    sites = range(max(0, n - MOST_SITES), n)
    shares = found.probabilities[:, 0, at]
    best = {s: shares[s].topk(min(3, len(found.names))) for s in sites}
    digits = share_digits(p for s in sites for p in best[s].values.tolist())
    rows = [
        (
            text(found.sites[s]),
            *(
                shaded(joined(text(found.names[i]), percent(p, digits), by=" "), p, 1.0)
                for i, p in zip(best[s].indices.tolist(), best[s].values.tolist(), strict=True)
            ),
        )
        for s in sites
    ]
    columns = ("site", "first", "second", "third")[: 1 + min(3, len(found.names))]
    where = Markup("at {}, where its answer is read").format(text(found.positions[0][at]))
    if found.read is None:
        where = Markup("at {}; its answer is read elsewhere, or at several positions").format(
            text(found.positions[0][at])
        )
    note = Markup("The most probable classes if the head read each site alone, of the first example {}.").format(where)
    said = joined(several(n, "site"), several(len(found.positions), "example"), f"{count(len(found.names))} classes")
    left = left_out(n, len(sites), "sites at the start")
    return block("ClassLens", said, table(columns, rows, left=left), _pictures(found), caption(note))


def _pictures(found: ClassLens) -> Markup:
    """The class that the model answers, layer by layer over the first example, where it can be drawn."""
    if not found.drawn or not found.drawn[0].placed or len(found.drawn[0].places) != len(found.positions[0]):
        return Markup("")
    sites = found.sites[-MOST_SITES:]
    shown = [(site, found.image(site)) for site in sites]
    drawn = [
        element(
            "div", caption(str(site)), heat(own.picture, own.values, long=90.0), style="display: inline-block; margin-right: 10px"
        )
        for site, own in shown
    ]  # fmt: skip
    what = Markup("Logit of {} above the mean of all classes, over the first example:").format(
        text(found.names[int(found.output[0].argmax())])
    )
    return caption(what) + Markup("").join(drawn)
