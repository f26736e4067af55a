"""What the parts of a circuit do: patterns, writes, neurons and lens against the plain model and the methods they come from."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from circuits.anatomy import closeups_examples
from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.closeups import look_closely, scoring_method
from circuits.anatomy.closeups_examples import heads_of, patterns_of
from circuits.circuit.circuit import Circuit
from circuits.circuit.selection import discover
from circuits.settings.prepared import Prepared, Settings, prepare_run
from interp.heads.patterns import attention_patterns
from interp.model.model import HookedModel
from interp.parts.graph import Edge
from interp.parts.nodes import Node
from tests.interp.model.tiny import hooked, tiny
from tests.interp.tasks.toy import toy_task

HEADS = [f"a{layer}.h{head}" for layer in range(2) for head in range(4)]
ALL = [Node("embed"), *(Node("head", i, h) for i in range(2) for h in range(4)), Node("mlp", 0), Node("mlp", 1)]


@cache
def _looked(
    name: str, level: str = "heads", n: int = 5, length: int = 6, method: str = "relp", direction: str | None = None
) -> tuple[Prepared, Circuit, Anatomy, Any]:
    settings = Settings(methods=(method,), level=level, n=n, n_random=1, direction=direction)
    job = prepare_run(hooked(name), toy_task(n=8, lengths=(length,)), settings)
    scores = job.request.score()[method]
    circuit = discover(scores, n=n)
    return job, circuit, *look_closely(job, scores, circuit, lambda message: None)


def _pairs(job: Prepared) -> list[Any]:
    return job.evaluation.tokenize(None, 64)


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2"))
def test_patterns_are_those_of_a_plain_eager_run(name: str) -> None:
    job, circuit, found, _ = _looked(name, n=10)
    plain = tiny(name, attn="eager")
    assert len(found.examples) == 3 and [p.head for p in found.examples[0].patterns] == [
        node.name for node in circuit.nodes if node.kind == "head"
    ]
    for example, pair in zip(found.examples, _pairs(job), strict=False):
        assert example.tokens == tuple(f"<{i}>" for i in pair.clean) and example.skipped == 0
        with torch.no_grad():
            attentions = plain(torch.tensor([pair.clean]), output_attentions=True).attentions
        for pattern in example.patterns:
            layer, head = map(int, re.findall(r"\d+", pattern.head))
            wanted = 1000 * attentions[layer][0, head].double().numpy()
            rows = np.array(pattern.rows)
            assert np.abs(rows - wanted).max() <= 0.501
            assert np.abs(rows.sum(1) - 1000).max() <= rows.shape[1] / 2


def test_long_prompts_show_their_last_tokens_and_say_how_many_were_left() -> None:
    job, _, found, _ = _looked("gpt2", length=55)
    example, pair = found.examples[0], _pairs(job)[0]
    assert example.skipped == 7 and example.tokens == tuple(f"<{i}>" for i in pair.clean[-48:])
    rows, name = np.array(example.patterns[0].rows), example.patterns[0].head
    whole = attention_patterns(job.model, list(pair.clean))[name]
    assert rows.shape == (48, 48) and np.abs(rows - 1000 * whole[7:, 7:]).max() <= 0.501


def test_patterns_of_a_long_prompt_are_read_a_few_layers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    job, circuit, found, _ = _looked("gpt2", n=10)
    heads = heads_of(circuit, job.model.layout)
    asked: list[list[int]] = []

    def counted(model: Any, prompt: Any, layers: list[int], cross: bool) -> Any:
        asked.append(layers)
        return attention_patterns(model, prompt, layers=layers, cross=cross)

    monkeypatch.setattr(closeups_examples, "attention_patterns", counted)
    assert patterns_of(job, found, heads) == found and asked == [[0, 1]] * 3
    monkeypatch.setattr(closeups_examples, "PATTERN_BYTES", 1)
    assert patterns_of(job, found, heads) == found and asked[3:] == [[0], [1]] * 3


# ---------------------------------------------------------------- writes


@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "gpt_neo"))
def test_what_nodes_write_adds_up_to_the_logit_difference(name: str) -> None:
    """With every node in the circuit; biases belong to none."""
    job, _, found, _ = _looked(name, n=10)
    whole = interp.direct_logit_attribution(job.model, job.evaluation)
    direct = {w.node: w.direct for w in found.writes}
    assert set(direct) == {node.name for node in ALL}
    assert all(direct[node] == pytest.approx(whole[node], abs=1e-6) for node in direct)
    biases = sum(whole[node] for node in whole.nodes if node.startswith("bias."))
    pairs = _pairs(job)
    with torch.no_grad():
        logits = tiny(name)(torch.tensor([p.clean for p in pairs])).logits[:, -1].double()
    if name == "gemma2":
        logits = 5 * torch.atanh(logits / 5)
    plain = np.mean([float(row[p.answers[0]] - row[p.wrong[0]]) for row, p in zip(logits, pairs, strict=True)])
    assert sum(direct.values()) + biases == pytest.approx(plain, abs=1e-3)
    assert found.total == pytest.approx(plain, abs=1e-3) and found.pairs == len(pairs) and not found.writes_left


# ---------------------------------------------------------------- neurons


@pytest.mark.parametrize("name", ("gpt2", "llama"))
def test_top_neurons_are_the_top_of_a_run_of_level_neurons(name: str) -> None:
    job, circuit, found, _ = _looked(name, n=8)
    scores = interp.attribute(job.model, job.scoring, method="relp", level="neurons")
    assert found.method == "relp" and len(found.neurons) == sum(node.kind == "mlp" for node in circuit.nodes) > 0
    for top in found.neurons:
        own = {p.name: m for p, m in zip(scores.parts, scores.mean, strict=True) if p.name.startswith(f"{top.mlp}.")}
        wanted = sorted(own, key=lambda neuron: -abs(own[neuron]))[:8]
        assert top.total == len(own) and [n.name for n in top.neurons] == wanted
        assert all(n.score == pytest.approx(own[n.name]) for n in top.neurons)


# ---------------------------------------------------------------- lens


@pytest.mark.parametrize("name", ("gpt2", "gemma2"))
def test_the_lens_ends_at_the_models_own_answer(name: str) -> None:
    job, _, found, _ = _looked(name, n=10)
    for example, pair in zip(found.examples, _pairs(job), strict=False):
        assert [row.site for row in example.lens] == ["embed", "resid_post.0", "resid_post.1"]
        with torch.no_grad():
            logits = tiny(name)(torch.tensor([pair.clean])).logits[0, -1].double()
        last, p = example.lens[-1], logits.softmax(-1)
        order = logits.argsort(descending=True).tolist()
        assert last.tokens == tuple(f"<{i}>" for i in order[:5])
        assert last.probabilities == pytest.approx(p[order[:5]].tolist(), rel=1e-3)
        assert last.metric == pytest.approx(float(logits[pair.answers[0]] - logits[pair.wrong[0]]), abs=1e-3)
        assert (last.answer_rank, last.wrong_rank) == (1 + order.index(pair.answers[0]), 1 + order.index(pair.wrong[0]))
        assert last.answer_probability == pytest.approx(float(p[pair.answers[0]]), rel=1e-3)


# ---------------------------------------------------------------- what is not there says why


def test_a_model_whose_attention_does_not_route_says_why() -> None:
    _, circuit, found, edges = _looked("gpt_neo", n=10)
    assert edges is None and found.reason("edges") and "pattern" in found.reason("patterns")
    assert all(not e.patterns and e.lens and e.writes for e in found.examples) and len(found.writes) == len(circuit) + 1
    assert found.neurons and not found.reason("neurons") and not found.reason("writes")


def test_experts_have_no_neurons_and_the_rest_is_there() -> None:
    _, _, found, edges = _looked("mixtral", n=10, method="exact")
    assert found.method == "relp" and edges.provenance.method == "relp"
    assert "mlp_post" in found.reason("neurons") and not found.neurons
    assert found.examples[0].patterns and found.writes and edges is not None


def test_where_relp_has_no_rule_plain_gradients_score() -> None:
    hf, settings = tiny("llama"), Settings(methods=("exact",), n=4, n_random=1)
    hf.model.layers[1].mlp.act_fn = torch.nn.Mish()
    assert scoring_method(prepare_run(HookedModel(hf), toy_task(n=8, lengths=(6,)), settings)) == "atp"
    assert scoring_method(prepare_run(hooked("llama"), toy_task(n=8, lengths=(6,)), settings)) == "relp"


@pytest.mark.parametrize(
    ("level", "n", "views"),
    (("blocks", 3, {"edges"}), ("neurons", 6, {"patterns", "edges"}), ("edges", 6, {"edges"})),
)
def test_other_levels_say_which_views_they_do_not_have(level: str, n: int, views: set[str]) -> None:
    _, circuit, found, edges = _looked("gpt2", level, n)
    assert {m.view for m in found.missing} == views and all(m.reason.endswith(".") for m in found.missing)
    assert edges is None
    if level == "edges":
        ends = {e.sender.name for e in circuit.parts if isinstance(e, Edge)}
        assert ends <= {w.node for w in found.writes}
    if level == "neurons":
        names = [n.name for top in found.neurons for n in top.neurons]
        assert circuit.parts[0].name in names and {w.node for w in found.writes} == {p.name for p in circuit.parts}


def test_looking_twice_finds_the_same_and_files_keep_it(tmp_path: Path) -> None:
    job, circuit, found, _ = _looked("gpt2")
    again, _ = look_closely(job, job.request.score()["relp"], circuit, lambda message: None)
    assert again == found
    found.save(tmp_path / "anatomy.json")
    assert Anatomy.load(tmp_path / "anatomy.json") == found
