"""A few prompts of a run looked at closely: where the heads of the circuit look, and the logit lens over the layers.

Axis words: `head q_pos k_pos d_vocab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from circuits.anatomy.anatomy import Anatomy, Example, LensRow, Pattern
from circuits.anatomy.overview import answers_in_words, pictures_of, shown_metric
from circuits.circuit.circuit import Circuit
from circuits.settings.prepared import Prepared
from interp.heads.patterns import AttentionPatterns, attention_patterns
from interp.lenses.lens import logit_lens, stream_logits
from interp.model.inputs.answering import answers_at
from interp.model.inputs.taking import taken
from interp.parts.layout import Layout
from interp.parts.nodes import Node
from interp.parts.outputs import Classes, NextToken
from interp.parts.sites import Site
from interp.pictures.input_picture import Picture
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import at_answers, make_targets, positions_read
from interp.tasks.task import Task

EXAMPLES: Final = 3
#: Tokens of a prompt that are shown: the last so many.
LONGEST: Final = 48
LENS_TOKENS: Final = 5
#: Patterns of all heads that are held at once.
PATTERN_BYTES: Final = 64 << 20
#: The heads of attention outputs.
_OUTPUTS: Final[dict[str, str]] = {"attn_out": "head", "cross_out": "cross_head"}


def tasks_of(job: Prepared) -> list[Task]:
    """The first pairs of the evaluation whose clean prompts differ, each as a task of its own."""
    pairs = job.tokens(job.evaluation)
    first = {pair.prompts[0]: i for i, pair in reversed(list(enumerate(pairs)))}
    return [replace(job.evaluation, pairs=(job.evaluation.pairs[i],)) for i in sorted(first.values())[:EXAMPLES]]


def pairs_of(job: Prepared) -> list[TokenPair]:
    """The same as token ids."""
    return [job.tokens(task)[0] for task in tasks_of(job)]


def examples_of(job: Prepared) -> tuple[Example, ...]:
    """The prompts alone."""
    found = zip(tasks_of(job), pairs_of(job), strict=True)
    return tuple(_example(job.model, pair, task.pairs[0]) for task, pair in found)


def _example(model: Any, pair: TokenPair, named: Pair) -> Example:
    """One clean prompt; of text its last tokens, of anything else all positions."""
    given, names = taken(model, run_of([pair.clean])), model.positions(pair.clean)
    at, skipped = answers_at(model, given), max(0, pair.length - LONGEST)
    whole = not model.takes_text
    return Example(
        tokens=names if whole else names[-LONGEST:],
        answers=answers_in_words(pair, model.output_text),
        wrong=tuple(map(model.output_text, pair.wrong)),
        skipped=0 if whole else skipped,
        patterns=(),
        lens=(),
        reads="all" if at is None else "last" if at == len(names) - 1 else "one",
        reader="" if at is None else names[at],
        picture=_picture(model, pair, named, model.layout.name),
        next_token=isinstance(model.outputs, NextToken),
        **_source(model, pair, named),
    )


def _picture(model: Any, pair: TokenPair, named: Pair, stack: str) -> Picture | None:
    """How the clean input looks, where the positions of this stream stand in it."""
    found = pictures_of(model, pair, named).get("clean_picture")
    return found if found is not None and found.stack == stack else None


def _source(model: Any, pair: TokenPair, named: Pair) -> dict[str, Any]:
    """`source` and `source_picture` of a model whose last stream attends to another one; nothing of others."""
    if not model.layout.crosses:
        return {}
    stack = model.layout.others[0].name
    return {
        "source": model.positions(pair.clean, stack),
        "source_picture": _picture(model, pair, named, stack),
    }


# ---------------------------------------------------------------- patterns


def heads_of(circuit: Circuit, layout: Layout) -> tuple[Node, ...]:
    """The heads of a circuit in the order of its nodes: also all that read by shared keys and values in it, and all of an
    attention output. Those of the stack that is read last, whose positions an example has; they may attend to another one."""
    found = list[Node]()
    for node in (node for node in circuit.nodes if node.stack == layout.name):
        if node.kind in ("head", "cross_head"):
            found.append(node)
        elif (own := _OUTPUTS.get(node.kind)) is not None:
            found += [Node(own, node.layer, unit) for unit in range(layout.n_heads)]
        elif node.kind in ("k", "v") and node.grouped and node.unit is not None:
            attn = layout.blocks[node.layer or 0].attn
            group = layout.n_heads // max(1, attn.n_kv_heads if attn else 1)
            found += [Node("head", node.layer, node.unit * group + i) for i in range(group)]
    return tuple(dict.fromkeys(found))


def patterns_of(job: Prepared, found: Anatomy, heads: Sequence[Node]) -> Anatomy:
    """The anatomy with the patterns of these heads on its examples. Raises: SiteError for a model whose patterns cannot be read."""
    if not heads:
        return found
    examples = []
    for example, pair in zip(found.examples, pairs_of(job), strict=True):
        seen = _patterns(job, pair, heads)
        examples.append(replace(example, patterns=tuple(seen[head.name] for head in heads)))
    return replace(found, examples=tuple(examples))


def _patterns(job: Prepared, pair: TokenPair, heads: Sequence[Node]) -> dict[str, Pattern]:
    """The pattern of each head on one clean prompt; of a long prompt a few layers at a time, each time with another forward."""
    at_once = max(1, PATTERN_BYTES // (4 * max(1, job.model.layout.n_heads) * pair.length * pair.longest))
    found: dict[str, Pattern] = {}
    for cross in (False, True):
        own = [head for head in heads if (head.kind == "cross_head") == cross]
        layers = sorted({head.layer for head in own if head.layer is not None})
        for start in range(0, len(layers), at_once):
            some = layers[start : start + at_once]
            weights = attention_patterns(job.model, pair.clean, layers=some, cross=cross)
            whole = not job.model.takes_text
            found |= {head.name: _pattern(weights, head.name, whole) for head in own if head.layer in some}
    return found


def _pattern(found: AttentionPatterns, head: str, whole: bool) -> Pattern:
    """The last rows and columns of a pattern, all columns of another stream. whole: of a long input no rows, and all columns of where it looks."""
    weights, looks = found[head], found.looks(head)
    if not whole:
        weights = weights[-LONGEST:]
    if not whole and not found.sources:
        weights, looks = weights[:, -LONGEST:], looks[-LONGEST:]
    rows = [] if max(weights.shape) > LONGEST else np.rint(1000 * weights.astype(np.float64)).astype(int).tolist()
    told = tuple(looks.astype(np.float64).round(5).tolist())
    return Pattern(head, tuple(map(tuple, rows)), told, across=bool(found.sources))


# ---------------------------------------------------------------- logit lens


def lens_of(job: Prepared, found: Anatomy) -> Anatomy:
    """The anatomy with the logit lens at the last position of its examples."""
    rows = (_lens(job, pair) for pair in pairs_of(job))
    examples = (replace(example, lens=lens) for example, lens in zip(found.examples, rows, strict=True))
    return replace(found, examples=tuple(examples))


def _lens(job: Prepared, pair: TokenPair) -> tuple[LensRow, ...]:
    """A row for the embedding and one behind every layer."""
    model = job.model
    if isinstance(model.outputs, Classes) and model.layout.readout != "each":
        return _class_lens(job, pair)
    model.check_next("logit lens")
    sites = [Site("embed"), *(Site("resid_post", layer) for layer in range(model.layout.n_layers))]
    with torch.no_grad():
        run, n = model.run(run_of([pair.clean]), reads=sites, logits_to_keep=1), positions_read([pair])
        return tuple(_row(job, site, stream_logits(model, run[site][:, -n:]), pair) for site in sites)


def _class_lens(job: Prepared, pair: TokenPair) -> tuple[LensRow, ...]:
    """The same of a classifier, where its answer is read; the mean where that is at all positions."""
    sites = ["embed", "resid_post"]
    at = answers_at(job.model, taken(job.model, run_of([pair.clean])))
    found = logit_lens(job.model, run_of([pair.clean]), sites=sites, positions=at)
    return tuple(
        _row(job, site, logits.mean(1, keepdim=True), pair)
        for site, logits in zip(found.sites, found.logits, strict=True)
    )


def _row(job: Prepared, site: Site, logits: Tensor, pair: TokenPair) -> LensRow:
    """logits: [1 pos d_vocab], of the positions that give the answer."""
    metric, probabilities = shown_metric(job.settings.metric, job.task), torch.softmax(logits[0, -1].double(), dim=-1)
    targets = make_targets([pair], logits.shape[-1], logits.device)
    best = probabilities.topk(min(LENS_TOKENS, len(probabilities)))
    answer, wrong = (_best(probabilities, tokens) for tokens in (pair.answers, pair.wrong))
    return LensRow(
        site=str(site),
        tokens=tuple(job.model.output_text(i) for i in best.indices.tolist()),
        probabilities=tuple(best.values.tolist()),
        metric=float(metric(at_answers(logits, [pair]), targets)[0]),
        answer_rank=answer[0],
        wrong_rank=wrong[0],
        answer_probability=answer[1],
        wrong_probability=wrong[1],
    )


def _best(probabilities: Tensor, tokens: Sequence[int]) -> tuple[int, float]:
    """The rank, from 1, and the probability of the most probable of some tokens; 0 and 0 of none."""
    if not tokens:
        return 0, 0.0
    highest = probabilities[list(tokens)].max()
    return int((probabilities > highest).sum()) + 1, float(highest)
