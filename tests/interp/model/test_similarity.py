"""What a sentence encoder is measured by, against pooling written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

import interp
from interp.errors import LayoutError, TaskError
from interp.model.model import HookedModel
from interp.parts.outputs import Classes
from tests.interp.model.plain import close
from tests.interp.model.tiny import randomise, tiny

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "dog", "sat", "ran", "on", "mat", "house", "big", "small"]
TEXTS = ("the cat sat on the mat", "the big dog ran")


def tokenizer() -> Any:
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def bert() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    hf = transformers.BertModel(transformers.BertConfig(intermediate_size=48, **sizes))
    randomise(hf)
    return hf.eval()


def embedded(hf: Any, text: str, pooling: str) -> Tensor:
    """By hand: the mean over all tokens, or the first."""
    ids = torch.tensor([tokenizer()(text)["input_ids"]])
    hidden: Tensor = hf(input_ids=ids).last_hidden_state[0]
    return hidden.mean(0) if pooling == "mean" else hidden[0]


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("cosine", [True, False])
@torch.no_grad()
def test_it_is_the_product_of_pooled_states(pooling: str, cosine: bool) -> None:
    hf = bert()
    model = HookedModel(hf, tokenizer(), output=interp.similarity(*TEXTS, pooling=pooling, cosine=cosine))
    assert model.outputs == Classes(TEXTS) and model.layout.readout == ("mean" if pooling == "mean" else "first")
    given = ["the small cat ran", "the dog", *TEXTS]
    found = model.run(given).logits  # of several lengths, padded: padding has no part
    assert found.shape == (4, 1, 2)
    a, b = (torch.stack([embedded(hf, text, pooling) for text in texts]) for texts in (given, TEXTS))
    if cosine:
        a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
        assert torch.allclose(found[2:, 0].diagonal(), torch.ones(2), atol=1e-5)
    close(found[:, 0], a @ b.T, 1e-5)


def test_its_gradient_is_that_of_the_whole() -> None:
    hf = bert()
    model = HookedModel(hf, tokenizer(), output=interp.similarity(TEXTS[0]))
    run = model.run("the small cat ran", reads=["resid_post.1"])
    (found,) = torch.autograd.grad(run.logits.sum(), [run["resid_post.1"]])
    x = run["resid_post.1"].detach().requires_grad_()
    with torch.no_grad():
        reference = embedded(hf, TEXTS[0], "mean")
    expected = torch.autograd.grad(torch.nn.functional.cosine_similarity(x[0].mean(0), reference, dim=0), x)[0]
    close(found, expected, 1e-5)


def test_what_cannot_be_compared_says_so() -> None:
    with pytest.raises(TaskError, match="one text or more"):
        interp.similarity()
    with pytest.raises(TaskError, match="each once"):
        interp.similarity("a", "a")
    with pytest.raises(TaskError, match="mean"):
        interp.similarity("a", pooling="meen")
    with pytest.raises(LayoutError, match="without last_hidden_state"):
        HookedModel(tiny("gpt2", vocab_size=len(WORDS)), tokenizer(), output=interp.similarity(TEXTS[0]))
    with pytest.raises(TaskError, match="tokeniser"):
        HookedModel(bert(), output=interp.similarity(TEXTS[0]))
