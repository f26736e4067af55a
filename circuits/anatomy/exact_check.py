"""Exact patching of a run's nodes or edges: of all of them where they are few, else of a stated sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from circuits.evaluation.faithfulness import counted
from circuits.settings.prepared import Prepared, Say, Settings, begin
from interp.attribution.asking.planning import plan
from interp.parts.graph import Part
from interp.parts.nodes import FEATURES
from interp.scores.agreement import Agreement, agreement
from interp.scores.scores import Scores

EXACT_LIMIT: Final = 400
SAMPLE: Final = 40
EDGE_SAMPLE: Final = 200


def check_exactly(job: Prepared, scores: Sequence[Scores], say: Say) -> tuple[Scores, tuple[Agreement, ...]]:
    """Exact scores, and how every approximation agrees with them."""
    exact, sampled = exact_scores(job, scores, say)
    seed = job.settings.seed
    approximations = (s for s in scores if not s.provenance.exact)
    return exact, tuple(agreement(s, exact, seed=seed, sampled=sampled) for s in approximations)


def checked_by_search(job: Prepared, scores: Sequence[Scores]) -> tuple[Scores, tuple[Agreement, ...]] | None:
    """The same for a run of method `auto`: what it scored exactly, and how the estimates that it tried agree with that."""
    if scores[0].search is None:
        return None
    exact, certificate = scores[0].known(), scores[0].search.certificate
    what = _scored(job.settings.level)
    sampled = f"all {what}"
    if certificate.outside:
        sampled = (
            f"{len(exact.parts)} of {len(scores[0].parts)} {what}, chosen by auto: the top of each ranking, a random sample "
            f"of each kind and depth, what seemed near the top, and {certificate.drawn} at random, seed {job.settings.seed}"
        )
    return exact, tuple(agreement(s, exact, seed=job.settings.seed, sampled=sampled) for s in scores[1:])


def exact_scores(job: Prepared, scores: Sequence[Scores], say: Say) -> tuple[Scores, str]:
    """Exact patching of all nodes or edges where they are few, else of a stated sample; and how it was drawn."""
    for known in scores:
        if known.provenance.exact:
            return known, f"all {_scored(job.settings.level)}"
    parts, sampled = None, "all of them"
    if len(scores[0].parts) > EXACT_LIMIT:
        parts, sampled = _sample(scores, job.settings)
    begin(say, "checking", f"checking against exact patching ({sampled})")
    if (searched := _of_search(scores, parts)) is not None:
        say("all of them were patched by auto")
        return searched, sampled
    asked = job.settings.also("exact", parts=parts)
    exact = plan(job.model, job.scoring, asked, job.learned).score()["exact"]
    return exact, sampled


def _of_search(scores: Sequence[Scores], parts: Sequence[str] | None) -> Scores | None:
    """The exact scores of these parts (None: of all) by a search for the top that patched them all, if there was one."""
    for own in scores:
        if own.search is not None and own.exact is not None:
            asked = own if parts is None else own.select_components(set(parts))
            if asked.exact is not None and asked.exact.all():
                return asked.known()
    return None


def sample_size(methods: int, kinds: int | None) -> int:
    """The most parts that a sample has, by so many methods: of nodes of so many kinds, or (None) of edges."""
    return methods * SAMPLE + (EDGE_SAMPLE if kinds is None else kinds * SAMPLE)


def _sample(scores: Sequence[Scores], settings: Settings) -> tuple[list[str], str]:
    """The top of every ranking and random parts, and the same in words."""
    parts = [replace(part, position=None) for part in scores[0].parts]
    drawn, how = (_of_all if settings.level == "edges" else _of_each_kind)(parts, random.Random(settings.seed))
    chosen = drawn | {parts[i].name for s in scores for i in s.rank()[:SAMPLE]}
    total, what = len(set(parts)), _scored(settings.level)
    said = f"{len(chosen)} of {total} {what}: the top {SAMPLE} of each ranking and {how}, seed {settings.seed}"
    return sorted(chosen), said


def _of_each_kind(parts: Sequence[Part], rng: random.Random) -> tuple[set[str], str]:
    drawn: set[str] = set()
    for kind in dict.fromkeys(part.kind for part in parts):
        members = sorted({part.name for part in parts if part.kind == kind})
        drawn |= set(rng.sample(members, min(SAMPLE, len(members))))
    return drawn, f"{SAMPLE} random ones of each kind"


def _of_all(parts: Sequence[Part], rng: random.Random) -> tuple[set[str], str]:
    """Edges have up to 20 kinds, most of them of no effect: as many of each would be a long wait for little."""
    names = sorted({part.name for part in parts})
    size = min(EDGE_SAMPLE, len(names))
    return set(rng.sample(names, size)), f"{size} random ones"


def _scored(level: str) -> str:
    """What is scored at a level, in words; of features more than circuits count."""
    return "features and errors" if level == FEATURES else counted(level)
