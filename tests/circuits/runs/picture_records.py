"""Records of runs on images: prompts, patterns and a map over two by two patches behind `CLS`."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np

from circuits.anatomy.anatomy import Anatomy, Example, Pattern
from circuits.anatomy.prompts import Prompt
from circuits.runs.record import Record
from interp.parts.nodes import Node
from interp.pictures.input_picture import Picture
from tests.circuits.runs.records import a_record
from tests.interp.formatting.tags import Text, same
from tests.interp.scores.random_scores import some_scores

NAMES = ("CLS", "r0c0", "r0c1", "r1c0", "r1c1")
PLACES = ((), (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5))
VALUES = (5.0, 1.0, -0.5, 0.25, 0.0)


def a_picture(name: str, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, 6 * 6 * 3, dtype=np.uint8)
    return Picture(name, "image", 6, 6, 3, base64.b64encode(pixels.tobytes()).decode("ascii"), PLACES)


def picture_record(text: Text = same) -> Record:
    """A run on images; every string from outside goes through `text`."""
    names = tuple(map(text, NAMES))
    prompt = Prompt(
        names, names, (text("cat"),), (text("dog"),), 2.0, -1.0, {text("relp"): VALUES},
        clean_picture=a_picture(text("a.png"), 1), corrupt_picture=a_picture(text("b.png"), 2),
    )  # fmt: skip
    rows = ((200,) * 5,) * 5
    patterns = (
        Pattern("a0.h1", rows, (0.5, 0.25, 0.125, 0.125, 0.0)),
        Pattern("a1.h0", (), (0.0, 0.0, 0.0, 0.25, 0.75)),
    )
    example = Example(
        names, (text("cat"),), (text("dog"),), 0, patterns, (), (), "one", text("CLS"), a_picture(text("a.png"), 1)
    )
    stream = [Node("resid_pre", layer, position=p) for layer in range(2) for p in range(len(NAMES))]
    scores = some_scores(tuple(stream), 0, method="atp", level="resid", positions="each")
    return replace(
        a_record(text),
        prompts=(prompt,),
        anatomy=Anatomy(examples=(example,)),
        position_map=scores,
        position_labels=names,
    )
