"""The tokeniser of a GGUF file: transformers builds it of the keys, and it is held to what they say, as far as that can be seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from interp.errors import LoadError, some
from interp.model.loading.gguf_header import GgufHeader
from interp.model.loading.pretrained import failing

#: How a byte-level vocabulary cuts text before its merges, by llama.cpp's name for it. Transformers knows some; of the others it
#: takes GPT-2's without a word, which these have, or these have after each digit was set apart.
_LIKE_GPT2: Final = ("gpt-2", "phi-2")
_DIGITS_APART: Final = ("smollm", "starcoder", "refact")
#: Those whose models compose characters first (NFC), as their own classes in transformers do; no key says it.
_COMPOSED: Final = ("qwen2", "qwen35")
#: Types of tokens: one that stands for something else than its text, and one that is never cut.
_CONTROL: Final = 3
_WHOLE: Final = 4
#: Tokens with a meaning of their own: our name, and the file's.
_SPECIAL: Final = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_SPACE: Final = "\u2581"
_PREFIX: Final = "tokenizer.ggml."
_INSTEAD: Final = "Pass tokenizer= with the one that the model was published with."


def gguf_tokenizer(header: GgufHeader) -> Any:
    """The tokeniser; None where the file has none. Raises: LoadError where it cannot be built, or does something else than the
    file says."""
    kind = header.keys.get(f"{_PREFIX}model", "none")
    if kind in ("none", "no_vocab"):
        return None
    where = f"the tokeniser of model {str(header.path)!r}"
    split = header.keys.get(f"{_PREFIX}pre")
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer, get_gguf_tokenizer

    if kind == "gpt2" and split not in (known := _splits()):
        raise LoadError(f"{where} cuts text as {split!r}, which is none of {', '.join(known)}. {_INSTEAD}")
    with failing(f"{where} cannot be built"):
        architecture, parts, settings = get_gguf_tokenizer(str(header.path))
        backend, more = convert_gguf_tokenizer(architecture, parts)
        if kind == "gpt2":
            _as_published(backend, split)
        found = PreTrainedTokenizerFast(tokenizer_object=_own(backend, len(parts["tokens"])), **settings, **more)
        doubts = list(_doubts(header, found))
    if doubts:
        raise LoadError(
            f"{where}, as transformers builds it, does not do what the file says: {'; '.join(doubts)}. {_INSTEAD}"
        )
    return found


def _splits() -> tuple[str, ...]:
    """The ways to cut text that are known to be built right."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return (*_LIKE_GPT2, *_DIGITS_APART, *GGUF_PRE_TOKENIZER_SPLITS)


def _own(backend: Any, n: int) -> Any:
    """Without the tokens that a class of transformers has added behind the file's `n`: they have no row in the embedding."""
    from tokenizers import Tokenizer

    if backend.get_vocab_size() <= n:
        return backend
    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < n]
    return Tokenizer.from_str(json.dumps(state))


def _as_published(backend: Any, split: Any) -> None:
    """Set what the way to cut text stands for, and transformers leaves out."""
    from tokenizers import normalizers, pre_tokenizers

    if split in _COMPOSED:
        backend.normalizer = normalizers.NFC()
    if split in _DIGITS_APART:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _doubts(header: GgufHeader, tokenizer: Any) -> Iterator[str]:
    """What the tokeniser does otherwise than the file says, each as part of a sentence."""

    def key(name: str, default: Any = None) -> Any:
        return header.keys.get(f"{_PREFIX}{name}", default)

    tokens, kinds, spm = key("tokens", []), key("token_type") or [], key("model") == "llama"
    if odd := _others(tokens, tokenizer.convert_ids_to_tokens(range(len(tokens)))):
        yield f"it has others in the place of {len(odd)} tokens ({some(map(repr, odd))})"
    rows = header.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in header.tensors else len(tokens)
    if len(tokenizer) > rows:
        yield f"it has {len(tokenizer):,} tokens, the embedding {rows:,} rows"
    for ours, theirs in _SPECIAL.items():
        said, used = key(f"{theirs}_token_id"), getattr(tokenizer, f"{ours}_token_id")
        if said is not None and said != used:
            yield f"its {ours} token is {used}, by the file {said}"
    plain, ids = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    front, end = ids != plain and ids[-len(plain) :] == plain, ids != plain and ids[: len(plain)] == plain
    for name, has, usual in (("bos", front, spm), ("eos", end, False)):
        if has != key(f"add_{name}_token", usual):
            yield f"it puts {'a' if has else 'no'} {name} token {'in front of' if name == 'bos' else 'behind'} a text"
    spaced = tokenizer.convert_ids_to_tokens(plain[0]).startswith((_SPACE, "\u0120"))
    if spaced != key("add_space_prefix", spm):
        yield f"it puts {'a' if spaced else 'no'} space in front of the first word"
    whole = [t for t, kind in zip(tokens, kinds, strict=False) if kind in (_CONTROL, _WHOLE)]
    read = tokenizer(whole, add_special_tokens=False)["input_ids"] if whole else []
    if cut := [t for t, ids in zip(whole, read, strict=True) if len(ids) != 1]:
        yield f"it cuts {len(cut)} tokens that are whole ({some(map(repr, cut))})"


def _others(tokens: Sequence[str], found: Sequence[str | None]) -> list[str]:
    """The tokens in whose place another stands: not the same, nor the same in bytes or with another sign for the space."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    spelling = bytes_to_unicode()
    differ = [
        (token, own) for token, own in zip(tokens, found, strict=True) if own not in (token, token.replace(" ", _SPACE))
    ]
    return [token for token, own in differ if own != "".join(spelling[byte] for byte in token.encode("utf-8"))]
