"""Small tokenisers with a mask: WordPiece as BERT has it, bytes as RoBERTa has them."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "good", "bad", "film", "play", "##s", "##ing", ".", "was")
PIECES = {
    w: i
    for i, w in enumerate(
        ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *WORDS, *"bcdefgh", *(f"##{x}" for x in "bcdefgh"))
    )
}


def wordpiece() -> Any:
    """Lower-cased words and their pieces: [CLS] text [SEP], of pairs [CLS] one [SEP] other [SEP] with token types."""
    inner = Tokenizer(models.WordPiece(PIECES, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", PIECES["[CLS]"]), ("[SEP]", PIECES["[SEP]"])],
    )
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, mask_token="[MASK]", **special)


_SPACE = "\u0120"
_MERGES = (
    *("c a", "ca t", f"{_SPACE} cat", "d o", "do g", f"{_SPACE} dog", "s a", "sa t", f"{_SPACE} sat", "T h", "Th e"),
    *(f"{_SPACE} t", f"{_SPACE}t h", f"{_SPACE}th e", "r a", "ra n", f"{_SPACE} ran"),
)


def bytes_with_mask() -> Any:
    """Bytes and what merges make of them: <s> text </s>. The mask takes the space before it, as RoBERTa's does."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    letters = sorted({*"TheacdogrnstSuy.", _SPACE})
    merges = [tuple(merge.split(" ")) for merge in _MERGES]
    names = dict.fromkeys((*special, *letters, *(a + b for a, b in merges)))
    inner = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        **{"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "unk_token": "<unk>"},
    )
