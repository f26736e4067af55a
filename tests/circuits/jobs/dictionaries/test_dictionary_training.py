"""What a training of dictionaries warns of."""

from __future__ import annotations

import pytest

from circuits.jobs.dictionaries.dictionary_training import _warn_of_l0


@pytest.mark.parametrize(("l0", "said"), [(12.1, "more tokens"), (11.9, ""), (5.4, ""), (5.2, "dead")])
def test_active_features_far_from_k_are_warned_of(l0: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    _warn_of_l0("mine", {"architecture": "batchtopk", "options": {"k": 8}}, {"held_out_l0": l0})
    _warn_of_l0("mine", {"architecture": "standard", "options": {}}, {"held_out_l0": l0})
    err = capsys.readouterr().err
    assert err.count("WARNING") == bool(said) and said in err
