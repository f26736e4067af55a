"""Ctrl-C at any line of a run: the model is as it was, without anyone using it again."""

from __future__ import annotations

import contextlib
import copy
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import interp.model
from interp.errors import EditError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.model.modules import attention
from interp.model.modules.lock import reserved
from interp.rules.rules import preset
from tests.interp.model.plain import state, unpadded
from tests.interp.model.tiny import hooked, tiny

_OWN = str(Path(interp.model.__file__).parent)
_TOO = {contextlib.__file__}


class Interrupter:
    """Raises KeyboardInterrupt before line `at` of those that are looked at, counted from 1; counts them all with 0."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.count = at, 0

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        wanted = name.startswith(_OWN) or name in _TOO or frame.f_code.co_name == "set_attn_implementation"
        # Python hands no exception on from what it calls when an object goes.
        called_by = frame.f_back.f_code.co_name if frame.f_back else ""
        return self._line if wanted and "__del__" not in (frame.f_code.co_name, called_by) else None

    def _line(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self._line

    def during(self, call: Callable[[], object]) -> bool:
        """Whether the call was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def _found(model: HookedModel) -> list[Any]:
    config = model.hf.config
    learning = [p.requires_grad for p in model.hf.parameters()]
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    return [state(model.hf), learning, config._attn_implementation, attention.active(), modes]


def _run(model: HookedModel) -> torch.Tensor:
    edits = [Edit("mlp_out.1", lambda x: x * 2)]
    return model.run(unpadded(), reads=["z", "pattern", "embed"], edits=edits, rules=preset("relp-ah")).logits.detach()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_interrupt_at_any_line_leaves_nothing(name: str) -> None:
    model = HookedModel(tiny(name))
    wanted, before = _run(model), _found(model)
    (counted := Interrupter()).during(lambda: _run(model))
    assert counted.count > 200
    step = max(1, counted.count // 61)
    for at in range(1, counted.count + 1, step):
        assert Interrupter(at).during(lambda: _run(model)), at
        assert _found(model) == before, at
    assert torch.equal(_run(model), wanted)


def test_an_interrupt_whose_traceback_is_kept_is_undone_at_the_next_use() -> None:
    """As in a notebook, which keeps the last one: nothing that the call held is gone."""
    model = HookedModel(tiny("llama"))
    wanted, before = _run(model), _found(model)
    (counted := Interrupter()).during(lambda: _run(model))
    # A run after an interrupted one has a few lines less than the one that was counted: the last step is left out.
    step = counted.count // 17
    for at in range(5, counted.count - step, step):
        with pytest.raises(KeyboardInterrupt) as kept:
            _raised(Interrupter(at), model)
        assert torch.equal(_run(model), wanted), at
        del kept
        gc.collect()
        assert _found(model) == before, at


def _raised(interrupter: Interrupter, model: HookedModel) -> None:
    sys.settrace(interrupter)
    try:
        _run(model)
    finally:
        sys.settrace(None)


def test_a_run_inside_an_edit_is_still_refused_and_one_after_it_is_not() -> None:
    model = hooked("llama")

    def inside(x: torch.Tensor) -> torch.Tensor:
        model.run(unpadded())
        return x

    with pytest.raises(EditError, match="inside an edit"):
        model.run(unpadded(), edits=[Edit("mlp_out.0", inside)])
    assert torch.isfinite(model.run(unpadded()).logits).all()


def test_configurations_of_parts_keep_their_own_implementation() -> None:
    """Those of one model may differ; what comes back is what each had."""
    model = tiny("llama")
    model.model.config = copy.deepcopy(model.config)
    model.config._attn_implementation_internal = "sdpa"
    with attention.selected(model, None):
        assert model.config._attn_implementation == model.model.config._attn_implementation == attention.NAME
    assert (model.config._attn_implementation, model.model.config._attn_implementation) == ("sdpa", "eager")


def test_hooks_of_others_stay_after_an_interrupt() -> None:
    model = tiny("llama")
    seen: list[int] = []
    hook = model.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(KeyboardInterrupt), reserved(model):
        raise KeyboardInterrupt
    model(unpadded().ids)
    assert seen == [1]
    hook.remove()
