"""How values of models, tasks and lenses show themselves in a notebook and in print."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest
import torch

from interp.attribution.request import attribute_all
from interp.lenses.lens import logit_lens
from interp.model.coverage.coverage import Coverage
from interp.model.coverage.treatments import Row
from interp.model.nets.net import Net
from interp.parts.tokens import as_tokens
from interp.rules.lrp import EPSILON, EPSILON_PLUS
from interp.rules.rules import GIM, GRADIENT, PRESETS, RELP, Rules, preset
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.display.displayed import read, small
from tests.interp.model.nets.made import Residual, settled
from tests.interp.tasks.toy import toy_task


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
    words = read(preset(name)._repr_html_()).text
    assert any(f"preset {name}" in word for word in words)
    plain = {"norm": preset(name).norm == "gradient", "activation": preset(name).act == "gradient"}
    for part, is_plain in plain.items():
        assert (words[words.index(part) + 1] == "plain gradient") == is_plain


def test_a_net_and_its_rules_show_themselves() -> None:
    model = Net(settled(Residual()), name="<b>mine</b>")
    text = " ".join(read(model._repr_html_()).text)
    assert "<b>mine</b>" in text and "module:norm" in text and "[2, 8, 8]" in text and "called 2 times" in text
    words = " ".join(read(EPSILON_PLUS._repr_html_()).text)
    assert "preset epsilon-plus" in words and "conv alpha-beta (alpha 1, beta 0), dense epsilon" in words
    assert "conv epsilon" in " ".join(read(model.coverage(EPSILON)._repr_html_()).text)


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
