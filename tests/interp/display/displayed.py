"""Values of models and lenses that show themselves, made with any text for their names, and a reader of the tags of a page."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any, Final

import numpy as np

from interp.attribution.path_effects import PathEffect, PathEffects
from interp.attribution.tokens.token_values import TokenAttribution
from interp.dictionaries.evaluation.probing import ProbeResult, ProbeRow
from interp.evaluation.token_evaluation import Curve, Judgement, TokenEvaluation
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.lens import LogitLens, logit_lens
from interp.parts.nodes import Node
from interp.parts.tokens import Texts
from interp.probes.classifier import Interval, Quality
from interp.scores.resampling import Estimate
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked

VOID: Final = {"br", "hr", "img", "input", "meta", "link"}
HOSTILE: Final = (
    "<img/src=x/onerror=alert(1)>", "</script><script>alert(1)</script>", "\"'><svg/onload=alert(1)>", "\u202e\u2066abc", "\x00\x07\x1b[31m",
    "&lt;b&gt;", "javascript:alert(1)", "\u2028\u2029\ufeff", "a\u0301\u0301\u0301", "]]>{{7*7}}${7*7}", "\ud800", "</td></table>" + "y" * 10_000,
)  # fmt: skip
LARGEST: Final = 60_000


class Tags(HTMLParser):
    """The tags of a page in order, each closed where it must be."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: set[str] = set()
        self.source = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.source += "".join(value or "" for name, value in attrs if name == "srcdoc")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    return tags


def provenance(name: str) -> dict[str, Any]:
    return {"task": name, "model": name, "unit": name, "method": name, "metric": name}


def dictionary_of(name: str) -> Any:
    return replace(made("resid_post.0", 8, n=12), name=name, details={name: name, "tokens": 3})


@cache
def small(name: str) -> Any:
    return hooked(name)


def model_of(name: str) -> Any:
    model = small("gpt_neo")
    model.name = name
    return model


def tokens_of(name: str) -> TokenAttribution:
    return TokenAttribution(
        ((name, "b"),), ((1.0, -2.0),), (0.5,), None, name, name, name, "zero", None, name, name, name
    )


def judged_of(name: str) -> TokenEvaluation:
    some, none = Estimate(0.5, 0.25, 0.75), Estimate(None, None, None)
    rows = (
        Judgement(name, name, "lower", name, some, some, (0.25, 0.75)),
        Judgement(name, "AUROC", "higher", name, none, None, (None, None)),
    )
    heights = (0.0, 0.5, 1.0)
    curves = tuple(
        Curve(method, kind, heights, heights, heights, heights)
        for method in (name, "random")
        for kind in ("deletion", "insertion")
    )  # type: ignore[arg-type]
    return TokenEvaluation(rows, curves, 2, 3.5, name, name, "zero", name, False, 5, 32, 0, name, name)


def lens_of(name: str) -> LogitLens:
    found = logit_lens(small("gpt2"), [3, 4, 5])
    return replace(found, decode=lambda token: name)


def effects_of(name: str) -> DirectEffects:
    ids, by = np.array([[1, 2], [2, 1]]), np.array([[0.5, 0.25], [0.125, 0.0]])
    return DirectEffects(
        (Node(name, 1, 2), Node("head", 0, 3)), np.array([[1.0, -2.0]]), ids, by, ids[::-1], -by, np.array([-1.0]),
        Texts((1,), (name,)), name, name,
    )  # fmt: skip


def probe_of(name: str) -> ProbeResult:
    quality = Quality(Interval(0.8, 0.7, 0.9), Interval(0.75, 0.65, 0.85), Interval(0.9, 0.8, 0.95))
    rows = [ProbeRow(what, k, (4, 5, 6, 7, 8)[:k], quality) for what in ("features", "dimensions") for k in (1, 5)]
    return ProbeResult(name, name, 60, 61, 0.5, 0, (*rows, ProbeRow(name, 0, (), quality)))


def paths_of(name: str) -> PathEffects:
    ends = (Node(name, 1, 2),), (Node("q", 1, 0),)
    found = [
        PathEffect(*ends, np.array(x), 0.5, name, name, name, name, name, name, True, False)
        for x in ([0.25, 1.0], [-2.0, 1.0])
    ]
    return PathEffects(tuple(found))
