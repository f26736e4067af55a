"""How scores, circuits and evaluations of runs show themselves in a notebook and in print."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuits.circuit.selection import discover
from circuits.evaluation.assessment import Assessment, assess
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.smallest import find_smallest
from interp.attribution.request import attribute_all
from interp.lenses.direct import LogitAttribution
from interp.scores.agreement import agreement
from tests.circuits.display.displayed_runs import circuit_of, record
from tests.interp.display.displayed import read, small, tokens_of
from tests.interp.tasks.toy import toy_task


def test_scores_show_the_first_with_conventions_and_what_is_left_out() -> None:
    scores = record().scores[0]
    text = " ".join(read(scores._repr_html_()).text)
    for name, value in scores.top(12):
        assert name in text and f"{abs(value):.2f}"[:4] in text
    assert scores.top(13)[-1][0] not in text
    assert f"Not shown: {len(scores.parts) - 12} of {len(scores.parts)} edges." in text
    p = scores.provenance
    assert (
        p.task in text
        and p.model in text
        and p.unit in text
        and "estimated" in text
        and "A positive score means important." in text
    )
    other = replace(scores, provenance=replace(p, importance_sign=-1, direction="noise"))
    assert "A negative score means important." in "".join(read(other._repr_html_()).text)


def test_scores_tell_exact_from_estimated() -> None:
    scores = record().scores[0]
    exact = np.arange(len(scores.parts)) % 2 == 0
    mixed = replace(scores, exact=exact, error=np.where(exact, 0.0, 0.1))
    words = [w for w in read(mixed._repr_html_()).text if w in ("exact", "estimated")]
    assert words == ["exact" if exact[i] else "estimated" for i in mixed.rank()[:12]]


def test_a_circuit_is_a_sandboxed_frame_and_a_list() -> None:
    circuit = circuit_of("t")
    found = read(circuit._repr_html_())
    assert 'sandbox="allow-scripts"' in circuit._repr_html_() and "loading=" not in circuit._repr_html_()
    assert {part.name for part in circuit.parts} <= set(found.text)
    assert found.source.lower().startswith("<!doctype html") and "default-src 'none'" in found.source


def test_measured_values_show_what_was_measured() -> None:
    model, task = small("gpt2"), toy_task(8)
    scores = attribute_all(model, task, methods=["atp"], level="heads")["atp"]
    circuit = discover(scores, n=3)
    found = evaluate(model, task, circuit, scores=scores, n_random=3)
    text = "".join(read(found._repr_html_()).text)
    assert f"{found.size} of {found.n_nodes} nodes" in text and "The same pairs gave the scores." in text
    value = found.faithfulness.value
    assert found.reason in text if value is None else f"{100 * value:.0f}".replace("-", "\u2212") in text
    searched = find_smallest(model, task, scores)
    assert "Search" in "".join(read(searched._repr_html_()).text) and repr(searched) == str(searched)
    whole = assess(model, task, circuit, scores, n_random=2, n_tests=4)
    assert isinstance(whole, Assessment) and repr(whole) == str(whole)
    page = read(whole._repr_html_())
    assert str(whole.sufficient).splitlines()[0] in page.text and page.found.count("svg") <= 2


def test_printed_scores_line_up_and_say_how_many_there_are() -> None:
    scores = record().scores[0]
    lines = str(scores).splitlines()
    values = [line.rindex(" ") for line in lines[1:11]]
    assert len(set(values)) == 1
    assert lines[-1] == f"  and {len(scores.parts) - 10} more"
    many = replace(circuit_of("t"), parts=scores.parts[:120])
    assert str(many).endswith("and 70 more") and repr(many) == str(many)


def test_agreement_and_attributions_print_what_they_hold() -> None:
    run = record()
    assert run.exact is not None
    found = agreement(run.scores[0], run.exact)
    assert repr(found) == str(found) and "all" in str(found)
    parts = LogitAttribution(("embed", "m0"), np.array([[0.5, -2.0]]), np.array([-1.5]), "m")
    assert str(parts).splitlines()[1:] == ["  m0    -2.0000", "  embed +0.5000"]
    tokens = tokens_of("a")
    assert "a +1.000 b -2.000" in str(tokens)
    text = read(tokens._repr_html_()).text
    assert "+1.0" in text and "\u22122.0" in text
