"""Logit lens and direct logit attribution: the last layer is the model, and the parts sum to the logit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import InterpError, SiteError, TaskError
from interp.lenses.lens import direct_logit_attribution, logit_lens
from interp.model.model import HookedModel
from interp.parts.texts import TokenWarning
from interp.parts.tokens import pad
from tests.interp.model.tiny import ARCHITECTURES, VARIANTS, hooked, ids, parts
from tests.interp.parts.tokenisers import pieces, words
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

ALL = (*ARCHITECTURES, *VARIANTS)
RAGGED = [[5, 9, 21, 40], [7, 8, 33, 12, 50, 11, 3], [4, 60]]


@pytest.fixture(scope="module")
def stories(assets: Path) -> Any:
    return interp.load(assets / "models" / "stories260K")


# ---------------------------------------------------------------- logit lens


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_the_last_layer_is_the_models_own_logits(name: str) -> None:
    model = hooked(name)
    tokens = pad(RAGGED)
    lens = logit_lens(model, tokens)
    real = model.run(tokens).logits
    assert lens.logits.shape == (2, 3, 7, 64)
    assert torch.allclose(lens.logits[-1][tokens.mask], real[tokens.mask], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(lens.logits[0][tokens.mask], real[tokens.mask], rtol=1e-2, atol=1e-2)


def test_an_early_layer_is_that_residual_stream_moved_to_the_end() -> None:
    model = hooked("gemma2")
    x = model.run(ids(), reads=["resid_post.0"])["resid_post.0"].detach()
    moved = model.run(ids(), edits=[interp.patch("resid_final", x)]).logits
    assert torch.allclose(logit_lens(model, ids()).logits[0], moved, atol=1e-5)


def test_sites_are_chosen_and_only_those_of_the_residual_stream() -> None:
    model = hooked("gpt2")
    lens = logit_lens(model, ids(), sites=["embed", "resid_mid", "blocks.1.hook_resid_post", "resid_final"])
    assert list(map(str, lens.sites)) == ["embed", "resid_mid.0", "resid_mid.1", "resid_post.1", "resid_final"]
    assert torch.equal(lens.logits[-1], lens.logits[-2])
    with pytest.raises(SiteError, match="expected places of the residual stream"):
        logit_lens(model, ids(), sites="mlp_out")
    with pytest.raises(SiteError, match="at least one"):
        logit_lens(model, ids(), sites=[])


def test_the_table_and_the_plot_show_the_top_tokens_of_real_positions(stories: Any) -> None:
    lens = logit_lens(stories, ["Once upon a time", "Lily and Tim went to the"])
    table = lens.to_pandas(k=2)
    n_real = int(lens.tokens.mask.sum())
    assert lens.tokens.padded and len(table) == 5 * n_real * 2
    row = table[(table.example == 0) & (table.site == "resid_post.4") & (table["rank"] == 0)].iloc[-1]
    logits = stories.run("Once upon a time").logits[0, -1]
    assert row.id == int(logits.argmax()) and row.token == stories.tokenizer.decode([row.id])
    assert row.probability == pytest.approx(float(logits.softmax(-1).max()), rel=1e-4)
    assert row.position == len(stories.tokenizer.encode("Once upon a time")) - 1 and row.layer == 4
    heat = lens.plot(example=0).data[0]
    assert np.array(heat.z).shape == (5, row.position + 1)
    assert heat.z[-1][-1] == pytest.approx(row.probability) and "&lt;s&gt;" in heat.x[0]
    assert heat.text[-1][-1] == row.token


# ---------------------------------------------------------------- direct logit attribution


def _wanted(model: Any, tokens: Tensor) -> np.ndarray:
    """The logit difference from the model's own logits, its soft cap undone."""
    logits = model.run(tokens).logits[:, -1].double()
    if (cap := model.hf.config.to_dict().get("final_logit_softcapping")) is not None:
        logits = cap * torch.atanh(logits / cap)
    return (logits[range(3), [5, 6, 7]] - logits[:, 9]).detach().numpy()


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_the_parts_sum_to_the_models_logit_difference(name: str) -> None:
    model = hooked(name)
    found = direct_logit_attribution(model, ids(3), answers=[5, 6, 7], wrong=9)
    wanted = _wanted(model, ids(3))
    size = np.abs(found.per_example).max()
    assert np.abs(found.per_example.sum(1) - wanted).max() <= 1e-4 * max(size, np.abs(wanted).max())
    heads = [f"a{layer}.h{head}" for layer in range(2) for head in range(4)]
    assert {"embed", "m0", "m1", *heads} == {n for n in found.nodes if not n.startswith("bias.")}
    assert {n for n in found.nodes if n.startswith("bias.")} == _biases(model)
    assert all(np.abs(found.per_example[:, i]).max() > 1e-6 for i in range(len(found.nodes)))


def _biases(model: Any) -> set[str]:
    attention = {f"bias.attn.{i}" for i in range(2) if parts(model.name, model.hf, i).o.bias is not None}
    modules = dict(model.hf.named_modules())
    final = modules[model.layout.ln_final]
    rows = {"bias.final_norm"} if getattr(final, "bias", None) is not None else set()
    return attention | rows | ({"bias.unembed"} if model.hf.get_output_embeddings().bias is not None else set())


@pytest.mark.broad
@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "granite", "cohere", "phi", "olmo2", "mixtral"))
def test_the_parts_sum_exactly_in_float64(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        found = direct_logit_attribution(model, ids(3), answers=[5, 6, 7], wrong=9)
        wanted = _wanted(model, ids(3))
    assert np.abs(found.per_example.sum(1) - wanted).max() <= 1e-9
    assert found.largest_gap <= 1e-9


@pytest.mark.broad
@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "gemma3_text", "granite", "cohere", "phi", "olmo2"))
def test_a_head_is_its_own_write_through_the_scales_of_this_run(name: str) -> None:
    """Slow twin: what norm and post-norm multiply by is read off their input and output in the run."""
    model = hooked(name, dtype=torch.float64)
    found = direct_logit_attribution(model, ids(3), answers=5)
    modules, o = dict(model.hf.named_modules()), parts(name, model.hf, 1).o
    final, unembed = modules[model.layout.ln_final], modules[model.layout.unembed]
    run = model.run(ids(3), reads=["z.1", "attn_out.1", "resid_final"])
    z, added, x = (run[s][:, -1].detach() for s in ("z.1", "attn_out.1", "resid_final"))
    bias = 0 if o.bias is None else o.bias.detach()
    centre = bool(name in ("gpt2", "phi", "cohere"))
    for head in range(4):
        only = torch.zeros_like(z)
        only[:, head] = z[:, head]
        write = (o(only.flatten(1)) - bias) * (added / o(z.flatten(1)))
        shift = getattr(final, "bias", None)
        ratio = (final(x) - (0 if shift is None else shift)) / (x - x.mean(-1, keepdim=True) if centre else x)
        y = (write - write.mean(-1, keepdim=True) if centre else write) * ratio
        twin = model.layout.logits_scale * (y * unembed.weight[5]).sum(-1).detach().numpy()
        assert np.allclose(found.per_example[:, found.nodes.index(f"a1.h{head}")], twin, rtol=1e-4, atol=1e-6)


def test_batches_and_padding_do_not_matter() -> None:
    model = hooked("gpt2")
    whole = direct_logit_attribution(model, pad(RAGGED), answers=11)
    alone = [direct_logit_attribution(model, row, answers=11).per_example[0] for row in RAGGED]
    assert np.allclose(whole.per_example, np.stack(alone), atol=1e-5)
    right = direct_logit_attribution(model, pad(RAGGED, side="right"), answers=11, batch_size=1)
    assert np.allclose(whole.per_example, right.per_example, atol=1e-5)


def test_a_task_brings_its_answers_and_its_metric_is_the_total(stories: Any, assets: Path) -> None:
    task = interp.load_task(assets / "models" / "stories260K" / "tasks" / "gender_pronoun.json").limit(6)
    scores = interp.attribute(stories, task, method="atp", level="blocks", direction="noise")
    clean = direct_logit_attribution(stories, task)
    assert clean.total.mean() == pytest.approx(scores.provenance.base_metric, rel=1e-4)
    corrupt = direct_logit_attribution(stories, task, prompts="corrupt")
    assert corrupt.total.mean() == pytest.approx(scores.provenance.source_metric, rel=1e-4)
    table = clean.to_pandas().set_index("node")
    assert table.contribution.sum() == pytest.approx(clean.total.mean(), rel=1e-4)
    assert table.stderr["m4"] == pytest.approx(clean.per_example[:, clean.nodes.index("m4")].std(ddof=1) / 6**0.5)
    heat = clean.plot().data[0]
    assert heat.z[3][2] == pytest.approx(clean["a3.h2"]) and heat.z[4][8] == pytest.approx(clean["m4"])
    assert list(heat.x) == [f"h{i}" for i in range(8)] + ["mlp"]


def test_without_answers_it_is_the_models_first_choice() -> None:
    model = hooked("granite")
    found = direct_logit_attribution(model, ids(3))
    assert np.allclose(found.total, model.run(ids(3)).logits[:, -1].max(-1).values.detach(), rtol=1e-4)


def test_wrong_inputs_are_named(stories: Any) -> None:
    model = hooked("llama")
    with pytest.raises(TaskError, match="2 tokens for 3 prompts"):
        direct_logit_attribution(model, ids(3), answers=[5, 6])
    with pytest.raises(TaskError, match="without answers"):
        direct_logit_attribution(model, ids(3), wrong=5)
    with pytest.raises(TaskError, match="expected one token"):
        direct_logit_attribution(model, ids(3), answers=64)
    with pytest.raises(TaskError, match="a task brings its own"):
        direct_logit_attribution(model, toy_task(), answers=5)
    with pytest.raises(TaskError, match="expected one token"):
        direct_logit_attribution(stories, "Once upon a time", answers=" extraordinary")
    with pytest.raises(InterpError, match="unknown node"):
        direct_logit_attribution(model, ids(3))["a9.h9"]


def test_texts_of_answers_are_the_tokens_that_follow_the_prompt() -> None:
    tokenizer = pieces(['_"', '"', "_Mary", "Mary", "_John", "John", "_said"])
    model = HookedModel(hooked("llama").hf, tokenizer)
    with pytest.warns(TokenWarning, match="the token 'Mary' behind the prompt"):
        found = direct_logit_attribution(model, ['Mary said "', "Mary said"], answers=["Mary", " Mary"], wrong=" John")
    known = [tokenizer.convert_tokens_to_ids(name) for name in ("Mary", "\u2581Mary", "\u2581John")]
    expected = direct_logit_attribution(model, ['Mary said "', "Mary said"], answers=known[:2], wrong=known[2])
    assert np.array_equal(found.per_example, expected.per_example)
    with pytest.raises(TaskError, match=r"'Zoe' is not in the tokeniser's vocabulary|expected one token"):
        direct_logit_attribution(model, "Mary said", answers="Zoe")


@pytest.mark.parametrize("one", [np.int64(5), np.array([5]), [np.int64(5)], torch.tensor(5), torch.tensor([5])])
def test_answers_are_ids_of_every_kind_of_whole_number(one: Any) -> None:
    model, prompt = hooked("llama"), ids(1)
    expected = direct_logit_attribution(model, prompt, answers=5)
    assert np.array_equal(direct_logit_attribution(model, prompt, answers=one).per_example, expected.per_example)


def test_a_lens_shows_ids_without_a_token_by_their_number() -> None:
    lens = logit_lens(HookedModel(hooked("llama").hf, words()), "Mary gave")
    assert [lens.decode(i) for i in (10, 30, 45)] == ["Mary", "<30>", "<45>"]
