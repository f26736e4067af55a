"""How much of an embedding each token makes: its share of the way from a reference to the text.

    u_i = integral_0^1 de/dx_i (r + t (x - r)) (x_i - r_i) dt        sum_i u_i = e(x) - e(r)

Each u_i is one directional derivative, so a text of n tokens takes n of them at a point, however wide the embedding is.
Axis words: `batch pos d_model d_embedding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import forward_ad

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import LayoutError, TaskError, unknown
from interp.model.edits import patch
from interp.model.inputs.similarity import POOLINGS
from interp.parts.named_inputs import Example
from interp.parts.sites import Site
from interp.rules.secants import gauss_legendre
from interp.tasks.pairs.token_pairs import Prompt, run_of

REFERENCES: Final = ("pad", "mask", "zero")
#: Outputs that are an embedding of the whole prompt, and the one that is to be pooled.
_WHOLE: Final = ("image_embeds", "text_embeds")
_EACH: Final = "last_hidden_state"
#: Special tokens that stay where they are in a reference.
_KEPT: Final = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")


@dataclass(frozen=True)
class Path:
    """The way of one text: u [pos d_embedding], and the embeddings of text and reference [d_embedding], all in float64."""

    parts: Tensor
    own: Tensor
    reference: Tensor


@dataclass(frozen=True)
class Embedder:
    """A model whose output is an embedding, seen from the stream before `layer`. pooling: of hidden states; without a part where the model
    gives one embedding for the prompt."""

    model: Any
    layer: int
    pooling: str

    def check(self) -> None:
        """Raises: LayoutError for a model that gives no embedding, has several stacks or reads more than one stream, TaskError for a pooling that there is none of, SiteError for the layer."""
        self.model.layout.check_single("attribute_pairs")
        self.model.layout.check_alone("attribute_pairs")
        output = self.model.layout.output.name
        if output not in (*_WHOLE, _EACH):
            raise LayoutError(
                f"attribute_pairs: {type(self.model.hf).__name__} gives {output}; expected an encoder that gives hidden states or embeddings "
                "(BertModel, CLIPTextModelWithProjection), loaded without output=."
            )
        if self.pooling not in POOLINGS:
            raise TaskError(unknown("pooling", self.pooling, POOLINGS))
        self.model.resolve(self.site)

    @property
    def site(self) -> Site:
        """Where the way is."""
        return Site("resid_pre", self.layer)

    def path(self, prompt: Prompt, reference: str, steps: int) -> Path:
        """The way of one text from its reference, by Gauss-Legendre points."""
        x = self._stream(prompt)
        r = torch.zeros_like(x) if reference == "zero" else self._stream(self._reference(prompt, reference))
        ats, weights = zip(*gauss_legendre(steps), strict=True)
        points = torch.stack([torch.lerp(r, x, at) for at in ats])
        parts = torch.einsum("s,sie->ie", torch.tensor(weights, dtype=torch.float64), self.moved(prompt, points, x - r))
        own, other = (self.embedded(prompt, point[None])[0].double().cpu() for point in (x, r))
        return Path(parts, own, other)

    def embedded(self, prompt: Prompt, stream: Tensor) -> Tensor:
        """The embeddings [batch d_embedding] of a text whose stream is put in [batch pos d_model]."""
        # A read of attention lets all of it go through the one function, which has derivatives in both directions.
        reads = [Site("pattern", 0)] if self.model.layout.pattern else []
        found = self.model.run(run_of([prompt] * len(stream)), reads=reads, edits=[patch(self.site, stream)]).logits
        if self.model.layout.output.name in _WHOLE:
            return found[:, 0]  # type: ignore[no-any-return]
        return found[:, 0] if self.pooling == "first" else found.mean(1)  # type: ignore[no-any-return]

    def moved(self, prompt: Prompt, points: Tensor, by: Tensor) -> Tensor:
        """What the embedding gains at points of the way [step pos d_model] as each token alone moves on [step pos d_embedding], in float64."""
        n, length, _ = points.shape
        try:
            found = self._chunked(n * length, length, lambda rows: self._forward(prompt, points, by, rows))
            return found.view(n, length, -1)
        except NotImplementedError:  # an operation that torch has no forward derivative for
            width = self.embedded(prompt, points[:1]).shape[-1]
            found = self._chunked(n * width, length, lambda rows: self._backward(prompt, points, by, rows, width))
            return found.view(n, width, length).transpose(1, 2)

    def _chunked(self, n: int, length: int, f: Callable[[Tensor], Tensor]) -> Tensor:
        """f of 0 to n - 1, as many at a time as fit."""
        size = default_batch_size(self.model, length)
        return torch.cat([f(rows).double().cpu() for rows in torch.split(torch.arange(n), size)])

    def _forward(self, prompt: Prompt, points: Tensor, by: Tensor, rows: Tensor) -> Tensor:
        """The derivatives along the way of some tokens, counted point by point [row d_embedding]."""
        at, position = rows // points.shape[1], rows % points.shape[1]
        stream = points[at]
        alone = torch.zeros_like(stream)
        alone[torch.arange(len(rows)), position] = by[position]
        with torch.no_grad(), forward_ad.dual_level():
            dual = forward_ad.make_dual(stream, alone)  # type: ignore[no-untyped-call]
            _, tangent = forward_ad.unpack_dual(self.embedded(prompt, dual))  # type: ignore[no-untyped-call]
        return tangent  # type: ignore[no-any-return]

    def _backward(self, prompt: Prompt, points: Tensor, by: Tensor, rows: Tensor, width: int) -> Tensor:
        """The derivatives of some dimensions of the embedding, counted point by point, along the way of every token [row pos]."""
        with torch.enable_grad():
            stream = points[rows // width].requires_grad_()
            found = self.embedded(prompt, stream)
            (gradient,) = torch.autograd.grad(found[torch.arange(len(rows)), rows % width].sum(), stream)
        return (gradient * by).sum(-1)

    def _stream(self, prompt: Prompt) -> Tensor:
        """What enters the layer [pos d_model]."""
        with torch.no_grad():
            run = self.model.run(run_of([prompt]), reads=[self.site])
        return run[self.site][0].detach()  # type: ignore[no-any-return]

    def _reference(self, prompt: Prompt, name: str) -> Prompt:
        """A text of the same length that says nothing: every token but the special ones is padding, or the mask."""
        tokenizer = self.model.tokenizer
        filling = getattr(tokenizer, f"{name}_token_id", None)
        if isinstance(prompt, Example) or filling is None:
            what = "an image or a sound" if isinstance(prompt, Example) else f"a tokeniser without a {name} token"
            raise TaskError(f"reference={name!r} with {what}; expected reference='zero', the zero vector.")
        kept = {getattr(tokenizer, one, None) for one in _KEPT}
        return tuple(i if i in kept else int(filling) for i in prompt)


def check_reference(name: str) -> None:
    """Raises: TaskError for one that there is not."""
    if name not in REFERENCES:
        raise TaskError(unknown("reference", name, REFERENCES))


def unique_paths(embedder: Embedder, prompts: Sequence[Prompt], reference: str, steps: int) -> list[Path]:
    """The way of every prompt, made once for each different one."""
    made = {prompt: embedder.path(prompt, reference, steps) for prompt in dict.fromkeys(prompts)}
    return [made[prompt] for prompt in prompts]
