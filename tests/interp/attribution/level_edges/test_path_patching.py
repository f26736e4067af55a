"""Path patching against single edges, the twin, the three runs of the paper made by hand, and what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import MethodError
from interp.model.model import HookedModel
from interp.parts.graph import Graph
from tests.interp.attribution.edges.edge_checks import BOTH, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

EVERY = tuple(name for name in ARCHITECTURES if name not in OWN_ATTENTION)
#: Three layers, so that a receiver can come after another one, and an MLP between a sender and a receiver.
DEEP = {"gpt2": {"n_layer": 3}, "llama": {"num_hidden_layers": 3}}


def expanded(graph: Graph, receivers: Sequence[str]) -> list[str]:
    """Readers by name, each once; a head's three, with the K/V head of its group."""
    found = []
    for name in receivers:
        if not name.startswith("a") or "<" in name:
            found.append(name)
            continue
        layer, head = name.split(".h")
        unit = f"kv{int(head) // graph.group}" if graph.kv == "shared" and graph.group > 1 else f"h{head}"
        found += [f"{layer}.h{head}<q>", f"{layer}.{unit}<k>", f"{layer}.{unit}<v>"]
    return list(dict.fromkeys(found))


def close(found: np.ndarray, expected: Tensor | np.ndarray) -> None:
    expected = np.asarray(expected)
    assert np.abs(expected).max() > 1e-6
    assert np.abs(found - expected).max() <= 1e-9 * max(1, np.abs(expected).max())


# ---------------------------------------------------------------- edges


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize(
    "options",
    [{}, {"direction": "noise"}, {"ablation": "zero"}, {"ablation": "mean", "metric": "log_prob"}],
    ids=["denoise", "noise", "zero", "mean"],
)
def test_each_alone_is_the_exact_score_of_its_edge(name: str, kv: Any, options: dict[str, Any]) -> None:
    senders = ["embed", "a0.h1", "a0.h3", "m0"]
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(2)
        exact = interp.attribute(model, task, method="exact", level="edges", kv=kv, **options)
        table = interp.path_patch(model, task, senders, ["a1.h2", "m1", "logits"], each=True, kv=kv, **options)
        readers = expanded(Graph.of(model.layout, kv=kv), ["a1.h2", "m1", "logits"])
        assert [(str(e.senders[0]), str(e.receivers[0])) for e in table] == [(u, v) for u in senders for v in readers]
        names = [part.name for part in exact.parts]
        columns = [names.index(f"{u}->{v}") for u in senders for v in readers]
        close(np.stack([e.per_example for e in table], 1), exact.per_example[:, columns])
        assert table["m0", "logits"].base_metric == pytest.approx(exact.provenance.base_metric, rel=1e-12)


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_a_set_that_is_not_pinned_is_its_set_of_edges(name: str, kv: Any) -> None:
    """Also where one receiver comes before another, and a sender after a receiver."""
    senders, receivers = ["embed", "a0.h0", "a0.h2"], ["a1.h1", "a1.h3", "m1", "logits"]
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(3), kv=kv)
        readers = expanded(Graph.of(model.layout, kv=kv), receivers)
        cut = {(u, v): 1.0 for u in senders for v in readers}
        with torch.no_grad():
            logits = prompts.twin(cut=cut, sources=prompts.values(prompts.source))(prompts.base)
            expected = prompts.measure(logits) - prompts.measure(prompts.twin()(prompts.base))
        found = interp.path_patch(model, toy_task(3), senders, receivers, kv=kv, pinned=False)
        close(found.per_example, expected)
        pinned = interp.path_patch(model, toy_task(3), senders, receivers, kv=kv)
        assert np.abs(pinned.per_example - found.per_example).max() > 1e-4


# ---------------------------------------------------------------- the paper's runs, by hand


def by_hand(model: HookedModel, senders: Sequence[str], readers: Sequence[str], through_mlps: bool) -> np.ndarray:
    """Wang et al., appendix B, with reads and patches of nodes: base and source, the frozen run, the run with receivers put in."""
    pairs = toy_task(3).tokenize(None, model.layout.d_vocab)
    base, source = (torch.tensor([getattr(p, side) for p in pairs]) for side in ("corrupt", "clean"))
    with torch.no_grad():
        was, new = (model.run(ids, reads=["embed", "z", "mlp_out", "logits"]) for ids in (base, source))
        edits = [interp.patch("embed", (new if "embed" in senders else was)["embed"])]
        for layer in range(model.layout.n_layers):
            z = was[f"z.{layer}"].clone()
            for head in range(model.layout.n_heads):
                if f"a{layer}.h{head}" in senders:
                    z[:, :, head] = new[f"z.{layer}"][:, :, head]
            edits.append(interp.patch(f"z.{layer}", z))
            if f"m{layer}" in senders or not through_mlps:
                run = new if f"m{layer}" in senders else was
                edits.append(interp.patch(f"mlp_out.{layer}", run[f"mlp_out.{layer}"]))
        frozen = model.run(base, reads=["q", "k", "v", "mlp_in", "resid_final"], edits=edits)
        puts = []
        for reader in readers:
            if reader.startswith("a"):
                layer, unit = reader[1:-3].split(".")
                site, head = f"{reader[-2]}.{layer}", int(unit.removeprefix("kv").removeprefix("h"))
                puts.append(interp.patch(site, frozen[site][:, :, [head]], heads=[head]))
            else:
                site = "resid_final" if reader == "logits" else f"mlp_in.{reader[1:]}"
                puts.append(interp.patch(site, frozen[site]))
        logits = model.run(base, edits=puts).logits[:, -1] - was.logits[:, -1]
    return np.array([float(row[p.answers[0]] - row[p.wrong[0]]) for row, p in zip(logits, pairs, strict=True)])


@pytest.mark.broad
@pytest.mark.parametrize("through_mlps", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("senders", "receivers"),
    [
        (["a0.h1"], ["a2.h1"]),
        (["a0.h1", "a1.h0"], ["a2.h3", "a2.h2"]),
        (["embed", "a0.h0"], ["a1.h0", "a2.h2"]),
        (["embed", "m0", "a0.h3"], ["a1.h2", "m1", "a2.h1", "m2", "logits"]),
    ],
    ids=["one", "one layer", "two layers", "all kinds"],
)
def test_it_is_what_the_paper_describes(
    name: str, senders: list[str], receivers: list[str], through_mlps: bool
) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64, **DEEP[name])
        readers = expanded(Graph.of(model.layout), receivers)
        expected = by_hand(model, senders, readers, through_mlps)
        found = interp.path_patch(model, toy_task(3), senders, receivers, through_mlps=through_mlps)
        assert [r.name for r in found.receivers] == readers
        close(found.per_example, expected)


@pytest.mark.broad
@pytest.mark.parametrize("through_mlps", [False, True])
@pytest.mark.parametrize("name", ["gemma2", "olmo2", "gpt_neox"])
def test_frozen_writers_of_the_twin(name: str, through_mlps: bool) -> None:
    """Under post-norms what is frozen is what a head adds, which patches of z cannot say; beside it the parallel block."""
    senders = ["embed", "a0.h1", "a0.h2"]
    with true_float64():
        model, weights = ready(name, num_hidden_layers=3)
        readers = expanded(Graph.of(model.layout), ["a1.h3", "a2.h0", "m2", "logits"])
        prompts = Prompts.of(weights, toy_task(3))
        with torch.no_grad():
            base, source = prompts.values(prompts.base), prompts.values(prompts.source)
            free = {u for u in base if through_mlps and u.startswith("m")}
            frozen = prompts.twin(written={u: (source if u in senders else base)[u] for u in base if u not in free})
            frozen(prompts.base)
            cut = {(u, v): 1.0 for v in readers for u in frozen.seen[v]}
            logits = prompts.twin(cut=cut, sources=frozen.values)(prompts.base)
            expected = prompts.measure(logits) - prompts.measure(prompts.twin()(prompts.base))
        receivers = ["a1.h3", "a2.h0", "m2", "logits"]
        found = interp.path_patch(model, toy_task(3), senders, receivers, through_mlps=through_mlps)
        close(found.per_example, expected)


# ---------------------------------------------------------------- what must come out


@pytest.mark.broad
@pytest.mark.parametrize("name", EVERY)
def test_all_writers_to_the_logits_are_the_source_run(name: str) -> None:
    """And with paths through MLPs, all writers but the MLPs are."""
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(2)
        pairs = task.tokenize(None, model.layout.d_vocab)
        writers = Graph.of(model.layout).writers
        with torch.no_grad():
            new, was = (
                model.hf(input_ids=torch.tensor([getattr(p, side) for p in pairs]), use_cache=False).logits[:, -1]
                for side in ("clean", "corrupt")
            )
        change = new - was
        expected = np.array([float(r[p.answers[0]] - r[p.wrong[0]]) for r, p in zip(change, pairs, strict=True)])
        close(interp.path_patch(model, task, writers, "logits").per_example, expected)
        heads = [u for u in writers if u.kind != "mlp"]
        close(interp.path_patch(model, task, heads, "logits", through_mlps=True).per_example, expected)


def test_each_alone_is_a_call_of_its_own() -> None:
    with true_float64():
        model, task = hooked("gpt2", dtype=torch.float64, n_layer=3), toy_task(5, lengths=(5, 7))
        senders, receivers = ["embed", "a0.h1", "m0"], ["a2.h1<v>", "m2", "logits"]
        table = interp.path_patch(model, task, senders, receivers, each=True, through_mlps=True, batch_size=2)
        ends = [(u, v) for u in senders for v in receivers]
        alone = [interp.path_patch(model, task, u, v, through_mlps=True).per_example for u, v in ends]
        close(np.stack([table[u, v].per_example for u, v in ends]), np.stack(alone))


def test_positions_are_a_writer_of_their_own_where_split() -> None:
    with true_float64():
        model, weights = ready("gpt2")
        prompts = Prompts.of(weights, toy_task(2), "noise", split_positions=True)
        values = prompts.values(prompts.base)
        zeros = {u: torch.zeros_like(a) for u, a in values.items()}
        cut = {("pos_embed", v): 1.0 for v in ("a1.h0<q>", "a1.h0<k>", "a1.h0<v>")}
        with torch.no_grad():
            runs = [prompts.twin(cut=c, sources=zeros)(prompts.base) for c in (cut, {})]
        found = interp.path_patch(model, toy_task(2), "pos_embed", "a1.h0", ablation="zero", split_positions=True)
        close(found.per_example, prompts.measure(runs[0]) - prompts.measure(runs[1]))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_normalised_metric_is_0_at_corrupt_and_1_at_clean(direction: str) -> None:
    model, task = hooked("gpt2"), toy_task(3)
    writers = Graph.of(model.layout).writers
    found = interp.path_patch(
        model, task, writers, "logits", metric="normalized_logit_diff", direction=direction, batch_size=2
    )
    ends = (0, 1) if direction == "denoise" else (1, 0)
    assert (found.base_metric, found.patched_metric) == pytest.approx(ends, abs=1e-4)


def test_nothing_stays_on_the_model() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    before = model.run(torch.arange(3, 9)[None]).logits
    interp.path_patch(model, task, "embed", ["a0.h1", "m1"], through_mlps=True)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())
    assert torch.equal(model.run(torch.arange(3, 9)[None]).logits, before)


# ---------------------------------------------------------------- values and errors


def test_values_print_and_become_tables() -> None:
    model, task = hooked("llama"), toy_task(3)
    one = interp.path_patch(model, task, ["a0.h1", "m0"], "a1.h2<q>")
    assert one.stderr == pytest.approx(np.std(one.per_example, ddof=1) / np.sqrt(3))
    assert str(one).startswith(f"PathEffect(a0.h1 + m0 -> a1.h2<q>: {one.mean:+.4g} ± ") and "denoise" in str(one)
    table = interp.path_patch(model, task, ["a0.h1", "m0"], ["a1.h2", "logits"], each=True)
    frame = table.to_pandas()
    assert list(frame.receiver[:4]) == ["a1.h2<q>", "a1.kv1<k>", "a1.kv1<v>", "logits"] and len(table) == 8
    assert frame.effect[3] == table["a0.h1", "logits"].mean
    largest = max(table, key=lambda e: abs(e.mean))
    assert largest.name in str(table).splitlines()[1]
    with pytest.raises(MethodError, match=r"unknown pair 'a0.h2->logits'. Did you mean a0.h1->logits"):
        table["a0.h2", "logits"]


@pytest.mark.parametrize(
    ("senders", "receivers", "options", "message"),
    [
        ("a0.h9", "logits", {}, "unknown sender 'a0.h9'. Did you mean"),
        ("logits", "m1", {}, "unknown sender 'logits'"),
        ("embed", "a1.h2<z>", {}, "unknown receiver 'a1.h2<z>'. Did you mean"),
        ("embed", ["m1", "embed"], {}, "unknown receiver 'embed'"),
        ([], "logits", {}, "senders: none were given"),
        ("embed", [], {}, "receivers: none were given"),
        (["embed", "a1.h0"], ["m1", "a1.h2"], {}, "receiver a1.h2<q> does not see sender a1.h0"),
        ("m1", "m1", {}, "receiver m1 does not see sender m1"),
        ("embed", "m1", {"positions": "each"}, "unknown option of path_patch 'positions'"),
        ("embed", "m1", {"ablation": "zero", "direction": "denoise"}, "Use 'noise'"),
        ("embed", "m1", {"through_mlps": True, "pinned": False}, "give through_mlps=False"),
    ],
)
def test_what_cannot_be_is_refused_in_words(senders: Any, receivers: Any, options: Any, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        interp.path_patch(hooked("gpt2"), toy_task(2), senders, receivers, **options)
