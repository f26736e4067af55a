"""What makes a model's inputs, as it lies beside the weights: a tokeniser for text, a processor for images and sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from interp.errors import LoadError
from interp.model.loading.pretrained import failing
from interp.model.loading.source import json_object

_TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
#: Settings of a processor: of one that has a tokeniser too, and of one alone.
_BOTH: Final = "processor_config.json"
_ALONE: Final = "preprocessor_config.json"


@dataclass(frozen=True)
class Beside:
    """What goes with a model: what makes inputs of text, and of images or sound, what of a forward is read, and an example of inputs that are no text;
    None where there is none."""

    tokenizer: Any = None
    processor: Any = None
    output: Any = None
    inputs: Any = None

    def completed(self, source: str, local: bool) -> Beside:
        """These, or where they are None those beside the model."""
        tokenizer = self.tokenizer or read_tokenizer(source, local)
        processor = self.processor
        processor = read_processor(source, local, tokenizer is not None) if processor is None else processor
        return Beside(tokenizer, processor, self.output, self.inputs)


def read_tokenizer(source: str, local: bool) -> Any:
    """The tokeniser beside the model; None where there is none, or where it needs a package or code that is not here.

    Raises: LoadError for one whose files are damaged.
    """
    from transformers import AutoTokenizer

    there = [name for name in _TOKENIZER if local and (Path(source) / name).is_file()]
    try:
        with failing(f"the tokeniser of model {source!r} ({', '.join(there)}) cannot be read"):
            found = AutoTokenizer.from_pretrained(source, local_files_only=local, trust_remote_code=False)
    except LoadError as error:
        reason = error.__cause__
        usual = local or isinstance(reason, (OSError, ValueError, KeyError))
        if _not_here(reason) or (usual and not there):
            return None
        raise LoadError(f"{str(error).rstrip(' .,;:')}. Mend the files, or pass tokenizer=.") from reason
    return None if local and not there and not _has_vocabulary(found, Path(source)) else found


def _has_vocabulary(tokenizer: Any, folder: Path) -> bool:
    """Whether a tokeniser that was made without the usual files has words: from a file of its own, or it needs none."""
    named = tokenizer.vocab_files_names.values()
    return len(tokenizer) > len(tokenizer.all_special_ids) and (
        not named or any((folder / name).is_file() for name in named)
    )


def read_processor(source: str, local: bool, has_tokenizer: bool) -> Any:
    """The processor of images or sound beside the model; None where there is none, or where it needs a package or code that is
    not here.

    One that has the tokeniser in it, of a model of text and images, comes back whole where there is a tokeniser.
    Raises: LoadError for one whose files are damaged.
    """
    from transformers import PreTrainedTokenizerBase

    for reader, name in _readers(source, local, has_tokenizer):
        try:
            with failing(f"the processor of model {source!r} ({name}) cannot be read"):
                found = reader.from_pretrained(source, local_files_only=local, trust_remote_code=False)
        except LoadError as error:
            if not _not_here(error.__cause__):
                raise LoadError(
                    f"{str(error).rstrip(' .,;:')}. Mend the file, or pass processor=."
                ) from error.__cause__
        else:
            if not isinstance(found, PreTrainedTokenizerBase):  # what is found where no processor is
                return found
    return None


def _readers(source: str, local: bool, has_tokenizer: bool) -> Iterator[tuple[Any, str]]:
    """What reads the settings that are there, the widest first, and the file that says so."""
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor

    both, alone = json_object(source, local, _BOTH), json_object(source, local, _ALONE)
    if has_tokenizer and (both or alone.get("processor_class")):
        yield AutoProcessor, _BOTH if both else _ALONE
    parts = (
        {"image_processor", "image_processor_type"},
        {"feature_extractor", "feature_extractor_type", "sampling_rate"},
    )
    for reader, keys in zip((AutoImageProcessor, AutoFeatureExtractor), parts, strict=True):
        for name, settings in ((_ALONE, alone), (_BOTH, both)):
            if keys & settings.keys():
                yield reader, name
                break


def _not_here(reason: BaseException | None) -> bool:
    return isinstance(reason, ImportError) or "trust_remote_code" in str(reason)
