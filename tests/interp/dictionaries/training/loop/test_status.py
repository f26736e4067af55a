"""What a training says while it runs."""

from __future__ import annotations

import pytest

from interp.dictionaries.training.loop import status


def test_lines_come_after_their_time_with_what_was_measured_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], list[str]()
    monkeypatch.setattr(status.time, "monotonic", lambda: now[0])
    with status.training_bar(1000, 0, False, said.append) as at:
        for step in range(1, 1001):
            now[0] += 1.0
            at(step, {"loss": float(step)} if step % 20 == 0 else {})
    assert said[0] == "step 30 of 1,000: loss 20 (at step 20)" and said[1] == "step 60 of 1,000: loss 60"
    assert len(said) == 33
