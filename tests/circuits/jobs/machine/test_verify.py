"""The checks of `verify` on reference transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

import interp
from circuits.jobs.machine.verify import verify
from interp.model.model import HookedModel
from tests.interp.model.discovery.written import Config
from tests.interp.model.encoders.models import hooked
from tests.interp.model.encoders.test_padding import Unmasked
from tests.interp.model.loading.test_reference_model import PROGRAMS, random_model
from tests.interp.model.several import made as several


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_it_is_a_model_like_any_other(direction: str) -> None:
    model = random_model(attention_dir=direction)
    assert not model.missing_sites() and model.layout.pos_embed == "pos_embed"
    assert [str(check) for check in verify(model) if check.passed is False] == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_vocabulary_may_be_of_any_size(size: int) -> None:
    model = random_model(d_vocab=size, d_vocab_out=size)
    assert [str(check) for check in verify(model) if check.passed is False] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled_programs_pass_the_checks(assets: Path, program: str) -> None:
    model = interp.load(assets / "truth" / program)
    assert not model.missing_sites()
    assert [str(check) for check in verify(model) if check.passed is False] == []


@pytest.mark.parametrize("name", ["modadd59", "periodic8_shortcut"])
def test_trained_checkpoints_pass_the_checks(assets: Path, name: str) -> None:
    model = interp.load(assets / "models" / name)
    assert not model.missing_sites() and model.layout.pos_embed == "pos_embed"
    assert [str(check) for check in verify(model) if check.passed is False] == []


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "gpt2-classes"])
def test_encoders_and_classifiers_hold(name: str) -> None:
    assert [str(check) for check in verify(hooked(name)) if check.passed is False] == []


def test_padding_that_a_model_looks_at_is_told() -> None:
    """It gives wrong numbers to nobody: runs on padded prompts are refused."""
    checks = {check.name: check for check in verify(HookedModel(Unmasked(Config()).eval()))}
    assert checks["padding"].passed is None and "refused: prompts of several lengths" in checks["padding"].detail
    assert [str(check) for check in checks.values() if check.passed is False] == []


@pytest.mark.parametrize("name", ["T5", "Whisper", "CLIP"])
def test_models_of_several_inputs_are_checked_on_all_of_them(name: str) -> None:
    found = next(own for own in several.NAMES if name.lower() in own.lower())
    checks = {check.name: check for check in verify(several.known(found))}
    assert [str(check) for check in checks.values() if check.passed is False] == []
    assert checks["parity"].passed and checks["rules relp"].passed and checks["failed run"].passed
