"""The embedded model's tokeniser: byte-level BPE in which every word of the training text is one token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from interp.demo import corpus
from interp.tasks import word_lists as w

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
#: GPT-2's pattern, but numbers fall apart into at most two digits: ` 1732` is ` 17` and `32`.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def task_pieces() -> list[str]:
    """Every word, ending and century of the tasks, as it stands in a prompt."""
    nouns = [form for noun in w.NOUNS for form in noun]
    facts = [name for fact in w.CAPITALS for name in fact]
    verbs = [form for forms in w.VERBS.values() for form in forms]
    lists = (w.GIRLS, w.BOYS, nouns, w.PLACES, w.GIFTS, w.EVENTS, facts, verbs, w.PREPOSITIONS, w.CENTURIES)
    return [*(w.spaced(word) for words in (*lists, ("she", "he")) for word in words), *w.ENDINGS]


def train(sentences: Iterable[str]) -> PreTrainedTokenizerFast:
    """The smallest BPE that has each piece of the sentences and of the tasks as one token."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    pieces = {piece for sentence in sentences for piece, _ in split.pre_tokenize_str(sentence)}
    trainer = trainers.BpeTrainer(
        # Merging goes on until every piece is whole, so the size is what the pieces need and no more.
        vocab_size=100_000,
        min_frequency=1,
        show_progress=False,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(sorted({*pieces, *task_pieces()}), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    wrap: Any = PreTrainedTokenizerFast  # its initialiser has no type hints
    wrapped: PreTrainedTokenizerFast = wrap(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=64
    )
    return wrapped


def split_pieces(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Task pieces that are not one token; none in a good tokeniser."""
    return [piece for piece in task_pieces() if len(tokenizer(piece, add_special_tokens=False)["input_ids"]) != 1]


def sample(seed: int, count: int = 20_000) -> list[str]:
    """Sentences enough to meet every word of the training text."""
    writer = corpus.Writer(seed)
    return [writer.sentence() for _ in range(count)]
