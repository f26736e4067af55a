"""What edges sum to, information flow, and what must not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.edges import contraction
from interp.attribution.request import attribute
from tests.interp.attribution.edges.edge_checks import EACH, POST_NORM, RULES, TWINS, agree, ends, ready, sums_by_writer
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

# ---------------------------------------------------------------- sums


@pytest.mark.broad
@EACH
def test_edges_out_of_a_writer_sum_to_its_node(name: str) -> None:
    """To the node's score, and everywhere to d_u . (gradient at what the writer adds).

    Under a post-norm the node of a head is before the norm and its edges begin after it, so there only the second holds.
    """
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2))
        d = prompts.differences()
        for method in ("atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim", "atp-ig", "relp-ig"):
            edges = attribute(model, toy_task(2), method=method, level="edges")
            nodes = attribute(model, toy_task(2), method=method, level="heads")
            sums = sums_by_writer(edges, [part.name for part in nodes.parts])
            tolerance = 1e-6 * np.abs(nodes.per_example).max()
            same = [name not in POST_NORM or part.kind != "head" for part in nodes.parts]
            assert np.abs(sums - nodes.per_example)[:, same].max() <= tolerance
            assert (np.abs(sums - nodes.per_example).max() > tolerance) == (name in POST_NORM)
            if method in RULES:
                twin = prompts.gradients(RULES[method])
                total = torch.stack([(d[u.name] * twin.writes[u.name]).sum((1, 2)) for u in nodes.parts], dim=1)
                assert np.abs(sums - total.detach().numpy()).max() <= tolerance


@pytest.mark.broad
@pytest.mark.parametrize("name", [n for n in TWINS if n not in ("gpt2", "gpt_neox")])
def test_split_key_value_edges_sum_to_the_shared_one(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        group = weights.n_heads // weights.n_kv_heads
        for method in RULES:
            shared, split = (
                attribute(model, toy_task(2), method=method, level="edges", kv=kv) for kv in ("shared", "split")
            )
            index = {e: i for i, e in enumerate(ends(shared))}
            sums = np.zeros_like(shared.per_example)
            for i, (sender, receiver) in enumerate(ends(split)):
                if receiver[-2:] in ("k>", "v>"):
                    layer, unit = receiver.split(".")
                    receiver = f"{layer}.kv{int(unit[1:-3]) // group}{unit[-3:]}"
                sums[:, index[sender, receiver]] += split.per_example[:, i]
            assert len(split.parts) > len(shared.parts)
            assert np.abs(sums - shared.per_example).max() <= 1e-10 * np.abs(sums).max()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_edges_out_of_the_embedding_are_complete_as_steps_grow(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2))
        with torch.no_grad():
            change = [prompts.measure(model.hf(input_ids=x).logits) for x in (prompts.source, prompts.base)]
        gaps = []
        for steps in (4, 64):
            options: dict[str, Any] = {"steps": steps, "quadrature": "gauss-legendre"}
            scores = attribute(model, toy_task(2), method="eap-ig", level="edges", **options)
            gaps.append(np.abs(sums_by_writer(scores, ["embed"])[:, 0] - (change[0] - change[1]).numpy()).max())
        assert gaps[1] < 1e-3 < gaps[0]


# ---------------------------------------------------------------- flow, and what must not matter


@EACH
def test_information_flow_routes(name: str) -> None:
    """The share of max(0, |x|_1 - |x - a_u|_1) among all that a reader sees, on the clean prompt, per position."""
    with true_float64():
        model, weights = ready(name)
        scores = attribute(model, toy_task(2), method="ifr", level="edges")
        prompts = Prompts.of(weights, toy_task(2), "noise")
        twin = prompts.twin()
        twin(prompts.base)
        expected = {}
        for reader, x in twin.copies.items():
            near = {u: (x.abs().sum(-1) - (x - twin.values[u]).abs().sum(-1)).clamp_min(0) for u in twin.seen[reader]}
            total = sum(near.values())
            expected |= {(u, reader): (one / total).mean(1).detach() for u, one in near.items()}
        agree(scores, torch.stack(list(expected.values()), dim=1), list(expected), 1e-9)


@pytest.mark.broad
@pytest.mark.parametrize("method", ["eap", "relp", "eap-ig", "eap-ig-activations", "clean-corrupted", "ifr", "exact"])
def test_batches_and_order_do_not_matter(method: str) -> None:
    with true_float64():
        model, _ = ready("llama")
        task = toy_task(5, lengths=(5, 7))
        found = attribute(model, task, method=method, level="edges").per_example
        largest = np.abs(found).max()
        for size in (1, 2):
            again = attribute(model, task, method=method, level="edges", batch_size=size).per_example
            assert np.abs(again - found).max() <= 1e-12 * largest
        turned = type(task)(task.name, task.pairs[::-1])
        back = attribute(model, turned, method=method, level="edges").per_example[::-1]
        assert np.abs(back - found).max() <= 1e-12 * largest


@pytest.mark.parametrize("positions", ["all", "each"])
@pytest.mark.parametrize("method", ["eap", "eap-ig-activations"])
def test_what_waits_at_once_does_not_matter(method: str, positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One reader, or few, with one layer's writers, or few layers', at a time; each reader's product apart, or all in one."""
    with true_float64():
        model, _ = ready("llama")
        options: dict[str, Any] = {"method": method, "level": "edges", "positions": positions}
        found = attribute(model, toy_task(2), **options).per_example
        row = 8 * 2 * 6 * model.layout.d_model  # float64, two prompts of six tokens
        for readers, writers, nearly in ((1, 1, 1.0), (3, 7, 0.5), (100, 1, 0.0)):
            monkeypatch.setattr(contraction, "BUFFER_BYTES", readers * row)
            monkeypatch.setattr(contraction, "WRITER_BYTES", writers * row)
            monkeypatch.setattr(contraction, "NEARLY", nearly)
            again = attribute(model, toy_task(2), **options).per_example
            assert np.abs(again - found).max() <= 1e-12 * np.abs(found).max()
