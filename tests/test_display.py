"""How values show themselves in a notebook and in print: what they hold, short, and harmless whatever text they carry."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from circuits.circuit.selection import discover
from circuits.evaluation.assessment import Assessment, assess
from circuits.evaluation.faithfulness import evaluate, find_smallest
from interp.attribution.request import attribute_all
from interp.lenses.direct import LogitAttribution
from interp.lenses.lens import logit_lens
from interp.model.coverage import Coverage, Row
from interp.parts.tokens import as_tokens
from interp.rules.rules import GIM, GRADIENT, PRESETS, RELP, Rules
from interp.scores.agreement import agreement
from interp.tasks.task import Pair, Task, TokenPair

from .displayed import HOSTILE, LARGEST, MAKERS, circuit_of, read, record, small, tokens_of
from .tiny import toy_task


@pytest.fixture(scope="module")
def formatter() -> DisplayFormatter:
    return DisplayFormatter()


@pytest.mark.parametrize("kind", MAKERS)
def test_hostile_text_is_text(kind: str, formatter: DisplayFormatter) -> None:
    plain = read(shown(MAKERS[kind]("plain"), formatter))
    for name in HOSTILE:
        found = read(shown(MAKERS[kind](name), formatter))
        assert found.found == plain.found, name
        assert found.attributes == plain.attributes
        assert not [c for c in "".join(found.text) if c in "\x00\x07\x1b\u202e\u2066\u2028\u2029\ufeff\ud800"]
        inner = read(found.source)
        assert inner.found == read(plain.source).found


def shown(value: Any, formatter: DisplayFormatter) -> str:
    """What a notebook is given of a value."""
    data, _ = formatter.format(value)
    assert set(data) == {"text/plain", "text/html"}
    page = data["text/html"]
    page.encode()
    assert type(page) is str  # a string that escapes what it is put together with would spoil the page around it
    assert page == value._repr_html_() and data["text/plain"] == repr(value)
    assert data["text/plain"].replace("\n", "").isprintable()
    return str(page)


@pytest.mark.parametrize("kind", MAKERS)
def test_values_are_short(kind: str) -> None:
    value = MAKERS[kind]("plain")
    page, printed = value._repr_html_(), repr(value)
    assert len(page) < (2_000_000 if kind == "circuit" else LARGEST)
    assert len(printed) < 3000 and len(str(value)) < 3000
    assert "array(" not in printed and "tensor(" not in printed


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


def test_bars_are_as_long_as_the_scores_and_lie_on_the_side_of_their_sign() -> None:
    from interp.formatting.html import bar

    def style(value: float) -> dict[str, str]:
        inner = str(bar(value, 2.0)).split('style="')[2].split('"')[0]
        return dict(part.strip().split(": ", 1) for part in inner.split(";"))

    full, half, less = style(2.0), style(1.0), style(-1.0)
    width = [int(s["width"].removesuffix("px")) for s in (full, half, less)]
    assert width[0] == 2 * width[1] == 2 * width[2]
    middle = int(full["left"].removesuffix("px"))
    assert int(half["left"].removesuffix("px")) == middle
    assert int(less["left"].removesuffix("px")) + width[2] == middle
    assert full["background"] == half["background"] != less["background"]


def test_joined_pieces_are_escaped_once() -> None:
    from interp.formatting.html import joined, text

    assert joined("the model's", "", text("<b>"), "a & b", by=" < ") == (
        "the model&#39;s &lt; <bdi>&lt;b&gt;</bdi> &lt; a &amp; b"
    )


def test_a_task_marks_the_words_that_differ() -> None:
    pairs = (
        Pair("When Mary and John", "When Mary and Tom", (" a",), (" b",)),
        Pair("one two three", "one 2 2 three", ("x",), ("y",)),
    )
    page = Task("t", pairs)._repr_html_()
    bold = [html.unescape(part.split("</bdi>")[0].partition("<bdi>")[2]) for part in page.split("<b style")[1:]]
    assert bold == ["John", "Tom", "two", "2 2"]
    text = "".join(read(page).text)
    assert "·a" in text and "·b" in text
    long = Task("t", (Pair("w " * 200 + "here", "w " * 200 + "there", ("x",), ("y",)),))
    assert "here" in "".join(read(long._repr_html_()).text) and len(long._repr_html_()) < 5000


def test_a_model_names_the_sites_that_it_lacks_with_the_reason() -> None:
    model = small("gpt_neo")
    text = " ".join(read(model._repr_html_()).text)
    assert model.missing_sites()
    for name, why in model.missing_sites().items():
        assert name in text and why in text
    assert f"d_model {model.layout.d_model}" in text


@pytest.mark.parametrize("name", PRESETS)
def test_rules_are_named_and_their_plain_parts_come_last(name: str) -> None:
    words = read(PRESETS[name]._repr_html_()).text
    assert any(f"preset {name}" in word for word in words)
    plain = {"norm": PRESETS[name].norm == "gradient", "activation": PRESETS[name].act == "gradient"}
    for part, is_plain in plain.items():
        assert (words[words.index(part) + 1] == "plain gradient") == is_plain


def test_rules_and_coverage_say_what_is_not_plain() -> None:
    text = " ".join(read(GIM._repr_html_()).text)
    assert "temperature 2" in text and "0.25" in text and "0.5" in text
    assert "preset" not in "".join(read(Rules(norm="frozen")._repr_html_()).text)
    rows = (*(Row(f"m{i}", "linear", "plain gradient") for i in range(9)), Row("odd.path", "Strange", "unsupported"))
    found = Coverage(RELP, rows)
    words = read(found._repr_html_()).text
    assert words.index("⚠ unsupported") < words.index("plain gradient") and "odd.path" in words
    assert "1 of 10 operations unsupported" in "".join(words) and "and 6 more" in "".join(words)
    assert repr(found) == "Coverage(norm=frozen, act=identity, gate=0.5: 1 unsupported, 0 rule, 9 plain gradient)"
    assert "covered" in "".join(read(small("gpt2").coverage(GRADIENT)._repr_html_()).text)


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


def test_a_run_shows_every_read() -> None:
    run = small("gpt2").run(torch.tensor([[3, 4, 5]]), reads=["z", "resid_post.1"])
    text = read(run._repr_html_()).text
    assert {str(site) for site in run.reads} | {"logits"} <= set(text)
    assert {f"[{', '.join(map(str, x.shape))}]" for x in run.reads.values()} <= set(text)


def test_the_lens_shows_the_most_probable_tokens_of_the_last_position() -> None:
    found = logit_lens(small("gpt2"), [3, 4, 5])
    _, ids = found.top(3)
    text = "".join(read(found._repr_html_()).text)
    assert all(str(i) in text for row in ids[:, 0, -1].tolist() for i in row)
    padded = replace(found, tokens=as_tokens([[3, 4], [3, 4, 5]], None), logits=torch.zeros(len(found.sites), 2, 3, 8))
    assert padded._repr_html_() and "2 prompts" in repr(padded)


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


def test_pairs_layout_and_scores_by_method_print_in_a_line() -> None:
    pair = Pair("a b", "a c", (" x", " y", " z", " u"), (" v",))
    assert repr(pair) == "Pair('a b' -> ' x', ' y', ' z' and 1 more / 'a c' -> ' v')"
    ids = TokenPair((1, 2, 3), (1, 5, 3), (7,), (8,))
    assert repr(ids) == "TokenPair(3 tokens, differ at 1, answers 7, wrong 8)"
    model, task = small("gpt2"), toy_task(8)
    told = repr(model.layout)
    assert "\n" not in told and len(told) < 120 and f"{model.layout.n_layers} layers" in told
    found = attribute_all(model, task, methods=["relp", "atp"], level="heads")
    assert isinstance(found, dict) and len(repr(found).splitlines()) == 3 and "Scores(atp, " in repr(found)
    assert found._repr_html_().count("<b>Scores</b>") == 2  # type: ignore[attr-defined]
