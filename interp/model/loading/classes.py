"""Which class of transformers a configuration names; no other one is put in its place."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import torch

from interp.errors import LoadError

#: Tables of transformers, from the type of a model to the class without a head, or to a part of a model of several.
_BARE: Final = ("MODEL_MAPPING_NAMES", "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES", "MODEL_FOR_IMAGE_MAPPING_NAMES")


def class_of(source: str, config: Any) -> tuple[type[Any], Any]:
    """The class that `architectures` of a configuration names first, and the configuration that it takes.

    Two kinds of configuration keep the causal class of their type, though they name another, since its weights are all in their
    files: of a decoder without its head, where the head is the embedding (`GPT2Model`, `BloomModel`); and of a decoder
    in a multimodal wrapper, where transformers reads the decoder alone and says so in its class (Qwen 3.5).
    Without `architectures`: the causal class of the type, else the only class with a head, else the only class.

    Raises: LoadError for a name that is no model of transformers or belongs to another type, and where several classes could be meant.
    """
    named = config.architectures
    if not named:
        found = causal_class(config) or _only_class(source, config)
    elif isinstance(named, (list, tuple)) and isinstance(named[0], str):
        found = _named_class(source, config, named[0])
    else:
        raise LoadError(
            f"config.json of model {source!r}: architectures is {named!r:.80}; expected a list with the name of a class."
        )
    causal = causal_class(config)
    if (
        causal is not None
        and found is not causal
        and (_only_lacks_a_tied_head(found, causal, config) or _wraps(found, causal, config))
    ):
        found = causal
    return found, _own_config(found, config)


def causal_class(config: Any) -> type[Any] | None:
    """The class of a type of model that goes on with a text; None where it has none."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as TABLE

    found: type[Any] | None = TABLE.get(type(config), None)
    return found


def classes_of(config: Any) -> list[type[Any]]:
    """Every class that transformers' tables have for the type of a model, those without a head last."""
    names = [*_names(config, bare=False), *_names(config, bare=True)]
    return [cls for name in dict.fromkeys(names) if (cls := _model_class(name)) is not None]


def weight_names(cls: type[Any], config: Any) -> set[str]:
    """The names that the weights of a class have under a configuration; none where it cannot be made of it."""
    empty = _empty(cls, config)
    return set() if empty is None else set(empty.state_dict())


def _named_class(source: str, config: Any, name: str) -> type[Any]:
    found = _model_class(name)
    if found is None:
        _refuse_name(source, config, name)
    needed: Any = found.config_class
    mine = isinstance(_own_config(found, config), needed)
    if not mine and found not in classes_of(config):
        raise LoadError(
            f"config.json of model {source!r} names {name}, which is no class of its model_type {config.model_type!r}; classes of that "
            f"type: {_listed(config)}. Mend the configuration."
        )
    return found


def _refuse_name(source: str, config: Any, name: str) -> NoReturn:
    import transformers

    if getattr(config, "auto_map", None):
        raise LoadError(
            f"config.json of model {source!r} names {name}, whose code lies beside the weights (auto_map); code of others is never run here. "
            "Load it yourself where you trust it, and give that model in place of the folder."
        )
    raise LoadError(
        f"config.json of model {source!r} names {name}, which is no model of transformers {transformers.__version__}; classes of its "
        f"model_type {config.model_type!r}: {_listed(config)}. Mend the configuration where one of them is meant, else load the model "
        "yourself and give it in place of the folder."
    )


def _only_class(source: str, config: Any) -> type[Any]:
    """Where nothing is named: the only class with a head of this type, or the only one. Raises: LoadError where there are several."""
    bare = {_model_class(name) for name in _names(config, bare=True)}
    known = classes_of(config)
    choice = [cls for cls in known if cls not in bare] or known
    if len(choice) == 1:
        return choice[0]
    raise LoadError(
        f"config.json of model {source!r} does not say its class (architectures), and its model_type {config.model_type!r} has several: "
        f"{_listed(config)}. Write the one that it is into config.json, or load it with transformers and give that model in place of the folder."
    )


def _listed(config: Any) -> str:
    return ", ".join(cls.__name__ for cls in classes_of(config)) or "none"


def _names(config: Any, bare: bool) -> Iterator[str]:
    from transformers.models.auto import modeling_auto

    for table in sorted(vars(modeling_auto)):
        if table.startswith("MODEL_") and table.endswith("MAPPING_NAMES") and (table in _BARE) == bare:
            found = getattr(modeling_auto, table).get(config.model_type, ())
            yield from (found,) if isinstance(found, str) else found


def _model_class(name: str) -> type[Any] | None:
    """The class of transformers of this name; None where it is no model, or needs a package that is not here."""
    import transformers

    try:
        found = getattr(transformers, name, None)
    except (ImportError, RuntimeError):
        return None
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        return None
    known: Any = found
    return known if known.config_class is not None else None


def _own_config(cls: type[Any], config: Any) -> Any:
    """The configuration that a class takes: of a decoder in a wrapper, that of the text, as transformers has it too."""
    text = config.sub_configs.get("text_config")
    return config.get_text_config() if text is not None and cls.config_class is text else config


def _only_lacks_a_tied_head(bare: type[Any], causal: type[Any], config: Any) -> bool:
    """Whether a class is the causal one without its head, and the head is the embedding."""
    if bare not in {_model_class(name) for name in _names(config, bare=True)}:
        return False
    if (whole := _empty(causal, config)) is None:
        return False
    tied, body = set(getattr(whole, "all_tied_weights_keys", None) or {}), f"{whole.base_model_prefix}."
    names = set(whole.state_dict())
    inside = {name for name in names if name.startswith(body)}
    return names - inside <= tied and inside == {body + name for name in weight_names(bare, config)}


def _wraps(wrapper: type[Any], causal: type[Any], config: Any) -> bool:
    """Whether a class is the causal one inside a wrapper, whose other weights the causal class itself says to leave out."""
    apart = getattr(causal, "_keys_to_ignore_on_load_unexpected", None)
    if not apart or _own_config(causal, config) is config or _own_config(wrapper, config) is not config:
        return False
    others = re.compile("|".join(f"({pattern})" for pattern in apart))
    if (whole := _empty(causal, config)) is None:
        return False
    names, body = set(whole.state_dict()), f"{whole.base_model_prefix}."
    outer = weight_names(wrapper, config)
    kept = {name for name in outer if not others.search(name)}
    return len(kept) == len(names) < len(outer) and {name for name in names if not name.startswith(body)} <= kept


def _empty(cls: type[Any], config: Any) -> Any:
    """A model without numbers; made without a word, since it is not the one that is loaded. None where the class cannot be made of a
    configuration, which lacks settings of its own."""
    from transformers.utils import logging

    said = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with torch.device("meta"):
            return cls._from_config(copy.deepcopy(_own_config(cls, config)))
    except Exception:
        return None
    finally:
        logging.set_verbosity(said)
