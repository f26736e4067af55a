"""A dictionary checks itself."""

from __future__ import annotations

import pytest
import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from tests.interp.dictionaries.random_dictionaries import made


def test_a_dictionary_checks_itself() -> None:
    good = made("resid_post.1", 8, n=5)
    fields = {k: getattr(good, k) for k in ("site", "target", "activation", "W_enc", "b_enc", "W_dec", "b_dec")}
    with pytest.raises(DictionaryError, match="b_enc of shape"):
        Dictionary(**{**fields, "b_enc": torch.zeros(4)})
    with pytest.raises(DictionaryError, match="not finite"):
        Dictionary(**{**fields, "W_dec": good.W_dec * float("nan")})
    with pytest.raises(DictionaryError, match="expected one dtype"):
        Dictionary(**{**fields, "b_dec": good.b_dec.double()})
    with pytest.raises(DictionaryError, match="normalises or skips"):
        made("resid_post.1", 8, normalize="layer_norm").decode(torch.zeros(3, 24))
