"""A model and its tokeniser as transformers reads them, every weight from the files; whatever fails is a LoadError."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError, LoadError, some
from interp.model.loading.source import check_source, file

#: Buffers that older checkpoints hold and that newer classes make themselves; and the state of a training library.
_HARMLESS: Final = re.compile(
    r"(^|\.)(inv_freq|(cos|sin)_cached|masked_bias|causal_mask|position_ids|_extra_state|(attn|attention|self_attn)\.(bias|mask|embed_positions))$"
)
_TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip


@contextmanager
def failing(what: str, where: Callable[[], str] = str) -> Iterator[None]:
    """Whatever a library raises becomes a LoadError that begins with `what` and where it lies; the toolkit's errors, the end
    of memory and Ctrl-C stay as they are."""
    try:
        yield
    except (InterpError, MemoryError):
        raise
    except Exception as error:
        raise LoadError(f"{what}: {where()}{cause(error)}") from error
    except BaseException as error:  # a panic in a library written in Rust is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise LoadError(f"{what}: {where()}{cause(error)}") from error


def cause(error: BaseException) -> str:
    """The first line of an error, with the next where it only begins a sentence, and its type where that says more."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [""]
    first = " ".join(lines[: 1 + lines[0].endswith(":")])
    return (
        first
        if first and isinstance(error, (OSError, ValueError, RuntimeError))
        else f"{type(error).__name__}: {first}"
    )


def read_pretrained(source: str, local: bool, dtype: str | None) -> Any:
    """The `PreTrainedModel` of a folder or hub id, in evaluation mode.

    Raises: LoadError for files that are not safe or not those of the model; of the libraries below, what they raise.
    """
    check_source(source, local)
    from transformers import AutoModelForCausalLM

    with no_report():
        model, report = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype or "auto",
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    check_report(source, model, report)
    return model


@contextmanager
def no_report() -> Iterator[None]:
    """Without transformers' table of what did not fit: it is refused here, in a sentence."""
    logger = logging.getLogger("transformers.modeling_utils")

    def other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def check_report(source: str, model: Any, report: dict[str, Any]) -> None:
    """Raises: LoadError where a weight was drawn at random because the files lack it or hold another shape, or where the
    files hold weights that the model has no place for."""
    name = type(model).__name__
    if wrong := sorted(report["mismatched_keys"]):
        said = [f"{key} is {list(found)}, by the configuration {list(expected)}" for key, found, expected in wrong]
        raise LoadError(
            f"model {source!r}: its configuration and its weights disagree about shapes ({len(wrong)}): {some(said)}."
        )
    if missing := sorted(report["missing_keys"]):
        raise LoadError(
            f"model {source!r}: its files lack {len(missing)} of the weights of a {name}: {some(missing)}. They would be random "
            "numbers. Was it saved without its head, or in part? Save the whole model, with its head."
        )
    if extra := sorted(key for key in report["unexpected_keys"] if not _HARMLESS.search(key)):
        raise LoadError(
            f"model {source!r}: its files hold weights ({len(extra)}) that a {name} of its config.json has no place for: "
            f"{some(extra)}. So they are another model's. Where they may be left out, load it with transformers and give that "
            "model in place of the folder."
        )


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
        usual = isinstance(reason, (OSError, ValueError, KeyError, ImportError))
        if isinstance(reason, ImportError) or "trust_remote_code" in str(reason) or (usual and not there):
            return None
        raise LoadError(f"{str(error).rstrip(' .,;:')}. Mend the files, or pass tokenizer=.") from reason
    return None if local and not there and len(found) <= len(found.all_special_ids) else found


def blamed(source: str, local: bool) -> str:
    """The file that a model cannot be read for, where that file alone cannot be read either; '' otherwise."""
    from transformers import AutoConfig, GenerationConfig

    for name, read in (("config.json", AutoConfig), ("generation_config.json", GenerationConfig)):
        try:
            if file(source, local, name) is not None:
                read.from_pretrained(source, local_files_only=local, trust_remote_code=False)
        except Exception:
            return f"{name}: "
    return ""
