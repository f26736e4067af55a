"""The decoder lens, against decoders that are called by hand on layers of their encoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from interp.errors import InterpError, LayoutError, SiteError
from interp.lenses.decoder_lens import decoder_lens
from interp.lenses.lens import logit_lens
from tests.interp.model.plain import close
from tests.interp.model.several import odd_stacks as odd
from tests.interp.model.several.made import BART, CLIP, T5, WHISPER, given, known, output
from tests.interp.model.several.own_stacks import Both
from tests.interp.model.several.speaking import speaking
from tests.interp.model.several.unheard import given_of, hooked_of, output_of

SOME = pytest.mark.parametrize("name", [T5, BART, WHISPER, "ViT-GPT2"])
#: The encoder's final norm, by its path; BART has none.
_NORMS = {T5: "encoder.final_layer_norm", WHISPER: "model.encoder.layer_norm", "ViT-GPT2": "encoder.layernorm"}


def _by_hand(model: Any, inputs: dict[str, Tensor], stream: Tensor) -> Tensor:
    """Logits behind what the decoder was given, when it attends to this."""
    with torch.no_grad():
        own = {"decoder_input_ids": inputs["decoder_input_ids"], "use_cache": False}
        logits: Tensor = model(encoder_outputs=BaseModelOutput(last_hidden_state=stream), **own).logits[:, -1]
    return logits


@SOME
@torch.no_grad()
def test_every_layer_is_the_decoder_on_that_layer(name: str) -> None:
    """Hidden states as transformers tells them, through the norm that is named here, raw without it."""
    model, inputs = known(name), given(name)
    encoder = model.hf.get_encoder()
    source = {key: x for key, x in inputs.items() if key != "decoder_input_ids"}
    run = model.run(inputs, reads=["encoder:resid_post"])
    streams = [run[f"encoder:resid_post.{layer}"] for layer in range(2)]
    close(streams[0], encoder(**source, output_hidden_states=True).hidden_states[1], 0)
    norm = model.hf.get_submodule(_NORMS[name]) if name in _NORMS else torch.nn.Identity()
    normed, raw = decoder_lens(model, inputs), decoder_lens(model, inputs, raw=True)
    assert (normed.layers, normed.normed) == ((0, 1), name in _NORMS)
    for layer, stream in enumerate(streams):  # in float32 all layers as one batch round otherwise than one layer
        close(normed.logits[layer], _by_hand(model.hf, inputs, norm(stream)))
        close(raw.logits[layer], _by_hand(model.hf, inputs, stream))
    close(normed.logits[-1], output(model.hf, inputs)[:, -1])
    assert float((normed.logits[0] - normed.logits[1]).abs().max()) > 1e-2
    assert bool(torch.equal(normed.logits, raw.logits)) == (name not in _NORMS)


@SOME
def test_layers_together_are_layers_alone(name: str) -> None:
    model, inputs = known(name), given(name, batch=3)
    whole = decoder_lens(model, inputs, max_new_tokens=3)
    for layer in (0, 1):
        for example in range(3):
            one = {key: x[example : example + 1] for key, x in inputs.items()}
            alone = decoder_lens(model, one, layers=[layer], max_new_tokens=3)
            close(alone.logits[0, 0], whole.logits[layer, example])
            assert alone.text(layer) == whole.text(layer, example)
    swapped = decoder_lens(model, inputs, layers=[1, 0])
    close(swapped.logits, whole.logits.flip(0))
    assert swapped.layers == (1, 0)


def test_what_is_said_of_the_logits() -> None:
    model, inputs = known(BART), given(BART, batch=3)
    lens = decoder_lens(model, inputs)
    best = lens.logits.argmax(-1)
    assert lens.agreement == (float((best[0] == best[1]).double().mean()), 1.0)
    torch.testing.assert_close(lens.probabilities.sum(-1), torch.ones(2, 3))
    expected = torch.log_softmax(lens.logits.double(), -1)[:, range(3), [3, 4, 5]]
    torch.testing.assert_close(lens.log_probability([3, 4, 5]).double(), expected)
    table = lens.to_pandas()
    assert list(table.layer) == [0] * 3 + [1] * 3 and list(table.agrees)[3:] == [True] * 3


def test_the_last_layer_writes_what_the_model_writes() -> None:
    """Greedy, by transformers' own loop."""
    model = speaking()
    for source in ("the cat is red", "the dog is blue red"):
        inputs = model.inputs(source)
        lens = decoder_lens(model, inputs, max_new_tokens=6)
        found = model.hf.generate(
            input_ids=inputs.tensors["input_ids"], do_sample=False, use_cache=False, max_new_tokens=6
        )
        ids = [i for i in found[0, 1:].tolist() if i != 1]
        assert lens.text(1) == model.tokenizer.decode(ids)


def test_a_padded_source_is_hidden() -> None:
    model = speaking()
    both = model.inputs(["the cat", "the dog is blue red"])
    assert both.tensors["attention_mask"].sum(1).tolist() == [3, 6]
    lens, alone = decoder_lens(model, both), decoder_lens(model, model.inputs("the cat"))
    close(lens.logits[:, 0], alone.logits[:, 0])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"layers": [2]}, SiteError),
        ({"layers": [-1]}, SiteError),
        ({"layers": []}, SiteError),
        ({"layers": [0.5]}, SiteError),
        ({"max_new_tokens": -1}, InterpError),
        ({"max_new_tokens": 1.5}, InterpError),
    ],
)
def test_what_is_not_there_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"given|expected"):
        decoder_lens(known(BART), given(BART), **options)


def test_models_without_an_encoder_behind_which_a_decoder_attends_are_refused() -> None:
    with pytest.raises(LayoutError, match="logit_lens"):
        decoder_lens(known(CLIP), given(CLIP))


def test_a_lens_of_wrong_sizes_is_none() -> None:
    lens = decoder_lens(known(BART), given(BART))
    with pytest.raises(InterpError):
        replace(lens, layers=(0,))
    with pytest.raises(SiteError, match="layer 7"):
        lens.text(7)


# ---------------------------------------------------------------- models of tomorrow


_OWN = (Both, odd.CrossAround, odd.Multiplied, odd.Lengthened, odd.Halved, odd.HeadOfBoth)


@pytest.mark.parametrize("kind", _OWN, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_the_last_layer_is_the_model_whatever_is_made_of_it(kind: type) -> None:
    model, inputs = hooked_of(kind), given_of(kind)
    close(decoder_lens(model, inputs).logits[-1], output_of(model.hf, inputs)[:, -1], 1e-6)


@pytest.mark.parametrize(("kind", "words"), [(odd.SharedNorm, "final norm"), (odd.Bare, "decoder of Bare")])
def test_decoders_that_cannot_say_what_a_layer_holds_are_refused(kind: type, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        decoder_lens(hooked_of(kind), given_of(kind))


@pytest.mark.parametrize("sites", ["resid_post", "encoder:resid_post"])
def test_the_logit_lens_is_refused(sites: str) -> None:
    with pytest.raises(LayoutError, match="several stacks"):
        logit_lens(known(T5), given(T5), sites=sites)
