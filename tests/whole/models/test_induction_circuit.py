"""An induction circuit wired by hand: its edges and the effect of each are known, and are what is found.

Two layers of two heads without norms. Prompts are S a b c a, and the answer is b. Head a0.h0 moves each token to the next
position (its scores compare positions); a1.h0 looks for the position that followed the current token and copies what is
there to the logits. The other heads and both MLPs read everything with random weights and write where nobody reads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import circuits
import interp
from circuits.evaluation.running.edge_runner import EdgeRunner
from interp.attribution.request import attribute
from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.model.loading.transformer_lens_model import ReferenceConfig, ReferenceTransformer
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.tasks.metrics import METRICS
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task

TOKENS, LENGTH, SHARP = 6, 5, 40.0
#: Parts of the residual stream: the token, the position, the token before, the answer, and what nobody reads.
TOKEN, POSITION, BEFORE, ANSWER, UNREAD = (range(0, 6), range(6, 11), range(11, 17), range(17, 23), range(23, 25))

#: What changes when one edge carries another prompt's value: S d e c d. The query (or key) matches nothing, so attention
#: spreads over five positions and b gets 1/5; or e is written, the wrong answer, and 1 - 0 becomes 0 - 1.
COUNTERFACTUAL = {
    ("embed", "a0.h0<v>"): -4 / 5,
    ("a0.h0", "a1.h0<k>"): -4 / 5,
    ("embed", "a1.h0<q>"): -4 / 5,
    ("embed", "a1.h0<v>"): -2.0,
    ("a1.h0", "logits"): -2.0,
}
#: Without positions a0.h0 writes the mean of the tokens so far: of a there is 0, 1/2, 1/3, 1/4, 2/5 at the five positions.
_MATCHES = np.exp(SHARP * np.array([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5]))
_LOST = float(_MATCHES[2] / _MATCHES.sum()) - 1
ZERO = {
    ("embed", "a0.h0<q>"): _LOST,
    ("embed", "a0.h0<k>"): _LOST,
    ("embed", "a0.h0<v>"): -4 / 5,
    ("a0.h0", "a1.h0<k>"): -4 / 5,
    ("embed", "a1.h0<q>"): -4 / 5,
    ("embed", "a1.h0<v>"): -1.0,
    ("a1.h0", "logits"): -1.0,
}


@cache
def induction() -> HookedModel:
    """The model, in float64."""
    config = ReferenceConfig(
        n_layers=2, n_heads=2, d_head=8, d_model=25, d_mlp=4, d_vocab=TOKENS, d_vocab_out=TOKENS, n_ctx=LENGTH
    )
    model = ReferenceTransformer(config).double().eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        _copy(model.embed.weight.T, range(TOKENS), TOKEN)
        _copy(model.pos_embed.weight.T, range(LENGTH), POSITION)
        for block in model.blocks:
            for W in (block.attn.W_Q, block.attn.W_K, block.attn.W_V, block.mlp.W_in):
                W.weight[-8:] = torch.randn(W.weight[-8:].shape, generator=draw)
            block.attn.W_O.weight[UNREAD, 8:] = torch.randn(2, 8, generator=draw).double()
            block.mlp.W_out.weight[UNREAD] = torch.randn(2, 4, generator=draw).double()
        one, two = model.blocks[0].attn, model.blocks[1].attn
        _copy(one.W_Q.weight, POSITION, range(LENGTH), SHARP)
        _copy(one.W_K.weight, POSITION[:-1], range(1, LENGTH))
        _copy(one.W_V.weight, TOKEN, range(TOKENS))
        _copy(one.W_O.weight, range(TOKENS), BEFORE)
        _copy(two.W_Q.weight, TOKEN, range(TOKENS), SHARP)
        _copy(two.W_K.weight, BEFORE, range(TOKENS))
        _copy(two.W_V.weight, TOKEN, range(TOKENS))
        _copy(two.W_O.weight, range(TOKENS), ANSWER)
        _copy(model.unembed.weight, ANSWER, range(TOKENS))
    return HookedModel(model, name="induction")


def _copy(W: Tensor, inputs: range, outputs: range, scale: float = 1.0) -> None:
    """W [out in]: every input entry goes to its output entry, times `scale`."""
    W[list(outputs), list(inputs)] = scale


def prompts() -> Task:
    """S a b c a against S d e c d, for several letters; the answer is b, the wrong one e."""
    pairs = []
    for a, b, c, d, e in ((1, 2, 3, 4, 5), (2, 5, 1, 3, 4), (5, 1, 4, 2, 3)):
        found = TokenPair((0, a, b, c, a), (0, d, e, c, d), (b,), (e,))
        pairs.append(Pair("", "", (), (), ids=found))
    return Task("induction", tuple(pairs))


def _split(effects: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """The same with positions as a writer of their own: a0.h0 looks by position alone."""
    renamed = {}
    for (sender, receiver), effect in effects.items():
        renamed["pos_embed" if receiver in ("a0.h0<q>", "a0.h0<k>") else sender, receiver] = effect
    return renamed


CASES = pytest.mark.parametrize(
    ("ablation", "split", "effects"),
    [
        ("counterfactual", False, COUNTERFACTUAL),
        ("counterfactual", True, COUNTERFACTUAL),
        ("zero", False, ZERO),
        ("zero", True, _split(ZERO)),
    ],
    ids=["counterfactual", "counterfactual-split", "zero", "zero-split"],
)


def test_the_model_does_the_task() -> None:
    for pair in prompts().tokenize(None, TOKENS):
        logits = induction().run(torch.tensor([pair.clean])).logits[0, -1].detach()
        assert logits[pair.answers[0]].item() == pytest.approx(1, abs=1e-6)
        assert torch.cat([logits[: pair.answers[0]], logits[pair.answers[0] + 1 :]]).abs().max() < 1e-6


@CASES
def test_exact_scores_are_those_worked_out(ablation: str, split: bool, effects: dict[Any, float]) -> None:
    scores = _scores("exact", ablation, split)
    for i, edge in enumerate(scores.edges):
        expected = effects.get((edge.sender.name, edge.receiver.name), 0.0)
        assert scores.per_example[:, i] == pytest.approx(expected, abs=1e-6), edge.name


@CASES
@pytest.mark.parametrize("method", ["exact", "acdc"])
def test_discovery_finds_its_edges_and_no_other(
    method: str, ablation: str, split: bool, effects: dict[Any, float]
) -> None:
    """By a threshold, and by their true number, in any order of taking them; ACDC by its own threshold."""
    options = {"tau": 0.1} if method == "acdc" else {}
    scores = _scores(method, ablation, split, **options)
    for algorithm in ("top", "greedy"):
        for size in ({"threshold": 0.1}, {"n": len(effects)}):
            circuit = circuits.discover(scores, **size, algorithm=algorithm)
            assert {(e.sender.name, e.receiver.name) for e in circuit.edges} == set(effects)


@CASES
def test_its_edges_are_sufficient_and_each_is_needed(ablation: str, split: bool, effects: dict[Any, float]) -> None:
    run = EdgeRunner(induction(), prompts(), ablation, METRICS["logit_diff"], 0, None, split_positions=split)  # type: ignore[arg-type]
    wanted = frozenset(e for e in run.graph.edges if (e.sender.name, e.receiver.name) in effects)
    found = run.metrics([wanted, *(wanted - {edge} for edge in wanted)], False)
    assert found[wanted] == pytest.approx(1, abs=1e-6)
    for edge in wanted:
        assert found[wanted - {edge}].max() < 0.3, edge.name


def test_gradients_do_not_see_through_saturated_attention() -> None:
    """Where the softmax is flat, EAP finds what goes by v and misses what goes by q and k; exact patching does not."""
    scores = _scores("eap", "counterfactual", False)
    for edge, effect in COUNTERFACTUAL.items():
        by_value = edge[1] in ("a1.h0<v>", "logits")
        assert scores["->".join(edge)] == pytest.approx(effect if by_value else 0.0, abs=1e-6)


def _scores(method: str, ablation: str, split: bool, **options: Any) -> Any:
    fixed = {"level": "edges", "direction": "noise", "ablation": ablation, "split_positions": split}
    return attribute(induction(), prompts(), method=method, **fixed, **options)  # type: ignore[arg-type]


def test_what_a_feature_of_the_copying_head_reads_comes_from_behind_the_earlier_copy() -> None:
    eye = torch.eye(16, dtype=torch.float64)
    zeros = torch.zeros(16, dtype=torch.float64)
    dictionary = Dictionary(Site("z", 1), Site("z", 1), Relu(), eye, zeros, eye, zeros)
    pairs = prompts().tokenize(None, TOKENS)
    ids = torch.tensor([pair.clean for pair in pairs])
    for i, pair in enumerate(pairs):
        found = interp.feature_sources(induction(), ids[i : i + 1], dictionary, pair.answers, at=-1)
        shares = found.per_example[0, 0] / found.per_example[0, 0].sum()
        assert shares[2] > 0.99 and found.families()["induction"][0] > 0.99 and found.largest_gap < 1e-9
        writers = interp.feature_sources(induction(), ids[i : i + 1], dictionary, pair.answers, at=-1, split="writers")
        assert writers.per_example[0, 0, writers.parts.index("embed")] == pytest.approx(1, abs=1e-6)
