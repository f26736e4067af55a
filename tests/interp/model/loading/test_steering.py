"""Generation with edits: greedy equals transformers' own, edits act at every step, and the end is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.errors import EditError, InterpError, TaskError
from interp.model.steering import generate
from tests.interp.dictionaries.random_dictionaries import made

PROMPT = "Once upon a time, there was a"


@pytest.fixture(scope="module")
def model(assets: Path) -> Any:
    return interp.load(assets / "models" / "stories260K")


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


def greedy(model: Any, prompt: str, n: int) -> list[int]:
    ids = torch.tensor([model.tokenizer.encode(prompt)])
    out = model.hf.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, pad_token_id=0)
    return out[0].tolist()


def test_greedy_equals_transformers(model: Any) -> None:
    text = model.generate(PROMPT, max_new_tokens=12)
    assert text == model.tokenizer.decode(greedy(model, PROMPT, 12), skip_special_tokens=True)
    assert text.startswith(PROMPT) and len(text) > len(PROMPT) + 5


def test_an_edit_acts_at_every_step_and_on_the_whole_text(model: Any) -> None:
    lengths = []

    def watch(x: torch.Tensor) -> torch.Tensor:
        lengths.append(x.shape[1])
        return x

    before = hooks(model)
    plain = generate(model, PROMPT, max_new_tokens=5)
    assert generate(model, PROMPT, edits=[interp.Edit("resid_post.2", watch)], max_new_tokens=5) == plain
    start = len(model.tokenizer.encode(PROMPT))
    assert lengths == [start + i for i in range(5)]
    assert hooks(model) == before


def test_a_steered_text_is_the_argmax_of_the_steered_runs(model: Any) -> None:
    wanted = model.tokenizer.encode(" cat", add_special_tokens=False)[0]
    direction = 30 * model.hf.lm_head.weight[wanted].detach()
    edit = interp.add("resid_final", direction)
    text = generate(model, PROMPT, edits=[edit], max_new_tokens=4)
    ids = model.tokenizer.encode(PROMPT)
    for _ in range(4):
        ids.append(int(model.run(ids, edits=[edit]).logits[0, -1].argmax()))
    assert text == model.tokenizer.decode(ids, skip_special_tokens=True)
    assert text != generate(model, PROMPT, max_new_tokens=4)


def test_sampling_is_seeded_and_cold_sampling_is_greedy(model: Any) -> None:
    hot = [generate(model, PROMPT, do_sample=True, temperature=1.5, seed=s, max_new_tokens=12) for s in (0, 0, 1)]
    assert hot[0] == hot[1] != hot[2]
    cold = generate(model, PROMPT, do_sample=True, temperature=1e-4, max_new_tokens=6)
    assert cold == generate(model, PROMPT, max_new_tokens=6)


def test_it_stops_at_the_end_token(model: Any) -> None:
    end = torch.full((model.layout.d_vocab,), -100.0)
    end[model.hf.generation_config.eos_token_id] = 100.0
    assert generate(model, PROMPT, edits=[interp.add("logits", end)], max_new_tokens=5) == PROMPT


def test_errors_say_what_to_do(model: Any) -> None:
    with pytest.raises(TaskError, match="no tokeniser"):
        generate(interp.HookedModel(model.hf), PROMPT)
    with pytest.raises(InterpError, match="max_new_tokens=0"):
        generate(model, PROMPT, max_new_tokens=0)
    with pytest.raises(InterpError, match="temperature"):
        generate(model, PROMPT, do_sample=True, temperature=0.0)
    with pytest.raises(InterpError, match="context is 512"):
        generate(model, PROMPT, max_new_tokens=600)
    with pytest.raises(EditError, match=r"resid_post\.1"):
        generate(model, PROMPT, edits=[interp.Edit("resid_post.1", lambda x: x[:, :4])], max_new_tokens=3)


def test_steering_by_a_feature_is_adding_its_direction() -> None:
    model = interp.load("demo")
    dictionary = made("resid_post.1", 128, n=64)
    given = {"resid_post.1": dictionary}
    up = interp.add("resid_post.1.features", 30.0, features=5)
    by_feature = model.generate("The cat sat on", edits=[up], dictionaries=given, max_new_tokens=6)
    by_vector = model.generate(
        "The cat sat on", edits=[interp.add("resid_post.1", 30.0 * dictionary.W_dec[5])], max_new_tokens=6
    )
    assert by_feature == by_vector != model.generate("The cat sat on", max_new_tokens=6)
