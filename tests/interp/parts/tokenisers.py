"""Small tokenisers of the kinds that are in use: words, pieces behind a mark for the space, bytes, letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

KNOWN = [
    *("<s>", "</s>", "<unk>", "the", "cat", "dog", "mary", "john", "tom", "anna", "Mary", "John", "Tom", "Anna"),
    *("gave", "book", "to", "and", "sky", "blue"),
]
SPACE = "\u2581"


def words(*, behind: str = "", lower: bool = False, bos: bool = True, named: bool = True) -> Any:
    """Words between spaces; unknown ones are `<unk>`. behind: what stands after every text. named: whether the tokeniser says
    which of its tokens is the unknown one."""
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(KNOWN)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if lower:
        inner.normalizer = normalizers.Lowercase()
    single = " ".join(part for part in ("<s>" if bos else "", "$A", behind) if part)
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    special = {"bos_token": "<s>", "eos_token": "</s>"} | ({"unk_token": "<unk>"} if named else {})
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def pieces(names: Sequence[str]) -> Any:
    """A space, written `_` in the names, before what is encoded alone, as sentencepiece does it; one BOS in front."""
    listed = [("<unk>", 0.0), ("<s>", 0.0), *((name.replace("_", SPACE), -1.0) for name in names)]
    inner = Tokenizer(models.Unigram(listed, unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    inner.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


def merged(merges: Sequence[str]) -> Any:
    """Letters and what the merges make of them, without a mark for the space and without special tokens, as GPT-2 does it."""
    letters = sorted(
        {letter for merge in merges for letter in merge if letter != "|"}
        | set('abcdefghijklmnopqrstuvwxyz "0123456789')
    )
    vocabulary = [*letters, *(merge.replace("|", "") for merge in merges)]
    rules = [(a, b) for a, b in (merge.split("|") for merge in merges)]
    inner = Tokenizer(models.BPE({name: i for i, name in enumerate(vocabulary)}, rules))
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner)
