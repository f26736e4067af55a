"""Laws of the engine on a real pretrained model, where one is: what holds on models of a few neurons holds on it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.model.edits import Edit

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm2(real_model: Callable[[str], Path]) -> Any:
    return interp.load(str(real_model("smollm2")))


@pytest.fixture(scope="module")
def pair(smollm2: Any) -> Any:
    return interp.task("ioi", smollm2, n=1).tokenize(smollm2.tokenizer, smollm2.layout.d_vocab)[0]


def test_reading_changes_nothing(smollm2: Any, pair: Any) -> None:
    ids = torch.tensor([pair.clean])
    with torch.no_grad():
        plain = smollm2.hf(ids, use_cache=False).logits
        seen = smollm2.run(ids, reads=["resid_pre", "mlp_post", "attn_out"]).logits
    assert torch.equal(plain, seen)


def test_the_stream_of_another_run_gives_the_other_run(smollm2: Any, pair: Any) -> None:
    clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
    with torch.no_grad():
        other = smollm2.run(corrupt, reads=["resid_mid.17"])
        value = other["resid_mid.17"]
        patched = smollm2.run(clean, edits=[Edit("resid_mid.17", lambda x: value)]).logits
    assert torch.equal(patched, other.logits)
    assert not torch.equal(patched, smollm2.run(clean).logits)


def test_replayed_patches_equal_whole_runs(smollm2: Any) -> None:
    task = interp.task("ioi", smollm2, n=2)
    found = interp.attribute(smollm2, task, method="exact", level="blocks", show_progress=False)
    assert "replay" in found.provenance.engine
    part = next(i for i, p in enumerate(found.parts) if str(p) == "m12")
    for row, pair in enumerate(task.tokenize(smollm2.tokenizer, smollm2.layout.d_vocab)):
        clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
        with torch.no_grad():
            value = smollm2.run(clean, reads=["mlp_out.12"])["mlp_out.12"]
            logits = [
                smollm2.run(corrupt, edits=edits).logits[0, -1]
                for edits in ([], [Edit("mlp_out.12", lambda x, value=value: value)])
            ]
        base, patched = (float(x[pair.answers[0]] - x[pair.wrong[0]]) for x in logits)
        assert found.per_example[row, part] == pytest.approx(patched - base, abs=2e-4)
