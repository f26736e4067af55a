"""A model as transformers reads it, of the class that its configuration names; whatever fails is a LoadError."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from interp.errors import InterpError, LoadError
from interp.model.loading.classes import class_of
from interp.model.loading.fit import fitted
from interp.model.loading.source import check_source, file, json_object

#: How Python writes a class.
_CLASS: Final = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_LONGEST: Final = 400


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
    """The first line of an error, with the next where it only begins a sentence, and its type where that says more; without the
    modules of classes, and cut where it becomes a list."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [""]
    strict = type(error).__name__.startswith(
        "StrictDataclass"
    )  # of a configuration: the last line says it, behind a type
    said = lines[-1].partition(": ")[2] if strict else " ".join(lines[: 1 + lines[0].endswith(":")])
    first = _CLASS.sub(r"\1", said)
    first = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."
    plain = strict or isinstance(error, (OSError, ValueError, RuntimeError))
    return first if first and plain else f"{type(error).__name__}: {first}"


def read_pretrained(source: str, local: bool, dtype: str | None) -> tuple[Any, tuple[str, ...]]:
    """The `PreTrainedModel` of a folder or hub id, in evaluation mode, and the weights of the files that its class does not have.

    Raises: LoadError for files that are not safe or not those of the model, and for a class that is not known; of the libraries
    below, what they raise.
    """
    check_source(source, local)
    _check_type(source, json_object(source, local, "config.json"))
    from transformers import AutoConfig, PreTrainedModel

    said = {"dtype": dtype} if dtype else {}
    config = AutoConfig.from_pretrained(source, local_files_only=local, trust_remote_code=False, **said)
    cls, config = class_of(source, config)
    with no_report():
        # The way of all classes: a few have their own, which opens pickles or fetches parts.
        model, report = PreTrainedModel.from_pretrained.__func__(
            cls,
            source,
            config=config,
            dtype=dtype or "auto",
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return model, fitted(source, local, model, report)


def _check_type(source: str, settings: Mapping[str, Any]) -> None:
    """Raises: LoadError for a type of model that is not known here, saying whether its code lies beside the weights."""
    import transformers

    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind in transformers.CONFIG_MAPPING:
        return
    todo = (
        "Its code lies beside the weights (auto_map), and code of others is never run here: load it yourself where you trust it, and "
        "give that model in place of the folder."
        if settings.get("auto_map")
        else "A newer transformers may have it."
    )
    raise LoadError(
        f"config.json of model {source!r}: model_type {kind!r} is none of transformers {transformers.__version__}. {todo}"
    )


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
