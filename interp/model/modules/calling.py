"""With which keyword arguments a model's forward is called: what it takes, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.parts.named_inputs import DECODER, MAIN, TEXT

#: Asks a mixture of experts for what its routers gave, from which a loss for training is made.
ROUTED: Final = "output_router_logits"


def takes(hf: nn.Module, name: str) -> bool:
    """Whether the forward of a model has a keyword argument of this name, or any."""
    parameters = inspect.signature(hf.forward).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def n_token_types(hf: nn.Module) -> int:
    """How many types of tokens a model tells apart, of segments of a text; 0 where its forward takes none."""
    named = "token_type_ids" in inspect.signature(hf.forward).parameters
    return int(getattr(getattr(hf, "config", None), "type_vocab_size", None) or 0) if named else 0


def main_input(hf: nn.Module) -> str:
    """The name of what a model reads first: `input_ids`, `pixel_values`, ...: what its class says, where forward has that; else the first
    of the usual ones that forward has; of a module that is no model of transformers else the first argument of forward."""
    parameters = inspect.signature(hf.forward).parameters
    first = next((name for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL), TEXT)
    said = str(getattr(hf, "main_input_name", next((name for name in MAIN if name in parameters), first)))
    return said if said in parameters else next((name for name in MAIN if name in parameters), said)


def needed_inputs(hf: nn.Module) -> tuple[str, ...]:
    """The names of what a forward cannot do without: the main input, of an encoder-decoder the ids of its decoder too, and of a model that
    compares texts with something else both (one that continues texts, or gives scores of tokens for them, runs on text alone)."""
    main, parameters = main_input(hf), inspect.signature(hf.forward).parameters
    if getattr(getattr(hf, "config", None), "is_encoder_decoder", False) and DECODER in parameters:
        return main, DECODER
    beside = [name for name in MAIN if name in parameters]
    scores = getattr(hf, "get_output_embeddings", lambda: None)()
    speaks = getattr(hf, "can_generate", lambda: False)() or scores is not None
    both = len(beside) > 1 and TEXT in beside and not speaks
    return (main, *[name for name in beside if name != main][:1]) if both else (main,)


def stack_input(hf: nn.Module, stack: str) -> str:
    """The name of the input that a stack reads: of an encoder-decoder the decoder's ids, and the main input for its encoder; of two towers
    the text for `text`, and the other input for the other."""
    needed = needed_inputs(hf)
    if DECODER in needed:
        return needed[0] if stack else DECODER
    return next((name for name in needed if (name == TEXT) == (stack == "text")), needed[0])


def on_inputs(hf: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a plain call on inputs by name, without a cache, which towers have not, and without the load loss of experts, whose
    functions no logit depends on; a single truth value is a switch."""
    found: dict[str, Any] = {k: bool(x) if x.dtype == torch.bool and x.ndim == 0 else x for k, x in inputs.items()}
    towers = len(needed := needed_inputs(hf)) > 1 and DECODER not in needed
    if ROUTED in inspect.signature(hf.forward).parameters:
        found[ROUTED] = False
    return found | {"use_cache": False} if takes(hf, "use_cache") and not towers else found


def on_ids(hf: nn.Module, ids: Tensor) -> dict[str, Any]:
    """The arguments of a plain call on token ids [batch pos], without a cache."""
    return on_inputs(hf, {TEXT: ids})


def only_records(hook: Any) -> bool:
    """Whether a hook is one of those by which transformers keeps what modules give, and changes nothing."""
    return str(getattr(hook, "__module__", "")).startswith("transformers.utils.output_capturing")
