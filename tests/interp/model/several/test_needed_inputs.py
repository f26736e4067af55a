"""What the forward of a model that takes texts and images cannot do without."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from interp.model.modules.calling import needed_inputs


class _Both(nn.Module):
    """Takes both, as two towers do, and models of text that may be shown an image too."""

    main_input_name = "input_ids"

    def __init__(self, *, scores: bool = False, continues: bool = False):
        super().__init__()
        self.scores, self.continues = scores, continues

    def forward(self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None) -> Any: ...

    def get_output_embeddings(self) -> nn.Module | None:
        return nn.Linear(2, 3) if self.scores else None

    def can_generate(self) -> bool:
        return self.continues


@pytest.mark.parametrize(("scores", "continues"), [(True, False), (False, True), (True, True)])
def test_what_gives_scores_of_tokens_runs_on_text_alone(scores: bool, continues: bool) -> None:
    assert needed_inputs(_Both(scores=scores, continues=continues)) == ("input_ids",)


def test_what_compares_needs_both() -> None:
    assert needed_inputs(_Both()) == ("input_ids", "pixel_values")
