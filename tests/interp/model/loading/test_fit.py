"""What was read is what the files hold, number by number: what transformers puts in another place is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from interp.errors import LoadError
from interp.model.loading.fit import check_numbers
from interp.model.loading.pretrained import read_pretrained
from tests.interp.model.loading.folders import change_weights, saved
from tests.interp.model.loading.others import other
from tests.interp.model.tiny import randomise, tiny


def pixio() -> Any:
    """A backbone of which transformers saves a norm under the name that it reads another one at."""
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    model = transformers.PixioBackbone(transformers.PixioConfig(**sizes)).eval()
    randomise(model)
    return model


def test_two_norms_that_change_places(tmp_path: Path) -> None:
    """That they do is seen with transformers alone; where it no longer is, the folder has to load."""
    model = pixio()
    model.save_pretrained(tmp_path)
    plain = transformers.PixioBackbone.from_pretrained(tmp_path).state_dict()
    moved = [name for name, x in model.state_dict().items() if not torch.equal(plain[name], x)]
    assert moved == [f"{norm}.{part}" for norm in ("pixio.layernorm", "layernorm") for part in ("weight", "bias")]
    with pytest.raises(
        LoadError,
        match=r"PixioBackbone has them \(4\): encoder\.layernorm\.bias, encoder\.layernorm\.weight, layernorm\.",
    ):
        read_pretrained(str(tmp_path), True, None)


def check(folder: Path, model: Any) -> None:
    check_numbers(str(folder), True, model, {"missing_keys": (), "unexpected_keys": ()})


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_one_number_that_is_another(name: str, tmp_path: Path) -> None:
    """Of a weight that keeps its name; the experts of Mixtral are put together at loading."""
    folder = saved(tmp_path, name)
    model, _ = read_pretrained(str(folder), True, None)
    check(folder, model)
    for at, weight in [*model.named_parameters()][1::7]:
        before = weight.detach().clone()
        with torch.no_grad():
            weight.view(-1)[-1] += 1e-3
        with pytest.raises(LoadError, match=r"\(1\)" if "experts" not in at else "experts"):
            check(folder, model)
        with torch.no_grad():
            weight.copy_(before)
    check(folder, model)


def test_names_of_older_files(tmp_path: Path) -> None:
    """Norms once had gamma and beta."""
    whole = other("BertModel")
    whole.save_pretrained(tmp_path)
    norms = {name: x for name, x in whole.state_dict().items() if "LayerNorm" in name}
    old = {re.sub("weight$", "gamma", re.sub("bias$", "beta", name)): x for name, x in norms.items()}
    change_weights(tmp_path, drop=("LayerNorm",), **old)
    model, _ = read_pretrained(str(tmp_path), True, None)
    assert all(torch.equal(model.state_dict()[name], x) for name, x in norms.items())
    with torch.no_grad():
        model.embeddings.LayerNorm.weight[0] += 1e-3
    with pytest.raises(LoadError, match=r"\(1\): embeddings\.LayerNorm\.gamma\."):
        check(tmp_path, model)


def test_names_that_do_not_meet(tmp_path: Path) -> None:
    """Files of a model without its head have no name of the model inside: every tensor of both needs one of the same numbers."""
    tiny("gpt2").transformer.save_pretrained(tmp_path)
    model, _ = read_pretrained(str(tmp_path), True, None)
    assert type(model).__name__ == "GPT2LMHeadModel"
    check(tmp_path, model)
    with torch.no_grad():
        model.transformer.ln_f.weight[0] += 1e-3
    with pytest.raises(LoadError, match=r"\(2\): ln_f\.weight, transformer\.ln_f\.weight\."):
        check(tmp_path, model)


def test_tied_weights_count_once(tmp_path: Path) -> None:
    folder = saved(tmp_path, "llama", tie_word_embeddings=True)
    change_weights(
        folder,
        drop=("embed_tokens",),
        **{"lm_head.weight": tiny("llama", tie_word_embeddings=True).lm_head.weight.detach().clone()},
    )
    model, _ = read_pretrained(str(folder), True, None)
    check(folder, model)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_in_the_dtype_of_the_model(tmp_path: Path) -> None:
    model, _ = read_pretrained(str(saved(tmp_path)), True, "bfloat16")
    assert model.dtype is torch.bfloat16
