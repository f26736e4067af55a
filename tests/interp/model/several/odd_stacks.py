"""Encoder-decoders and towers that are no library's: those that a layout can state, and those that it cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from tests.interp.model.encoders.own_encoders import eager_attention_forward
from tests.interp.model.several.own_stacks import Above, Below, Both, Config, Feed, Looking, Upper, mask_of

__all__ = ["eager_attention_forward"]

# ---------------------------------------------------------------- blocks of the decoder


class _CrossFirst(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = x + self.across(self.two(x), source, hidden)
        x = self.own(x, mask)
        return x + self.feed(self.three(x))


class CrossFirst(Both):
    """Attention across comes before the block's own."""

    below = _CrossFirst


class _CrossBeside(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        y = self.two(x)
        return x + self.across(y, source, hidden) + self.feed(y)


class CrossBeside(Both):
    """Attention across and the MLP read one norm of the stream."""

    below = _CrossBeside


class _CrossBesideApart(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        return x + self.across(self.two(x), source, hidden) + self.feed(self.three(x))


class CrossBesideApart(Both):
    """The same with a norm for each."""

    below = _CrossBesideApart


class _CrossBesideOwn(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        y = self.one(x)
        x = x + self.look(y, y, mask) + self.across(self.two(x), source, hidden)
        return x + self.feed(self.three(x))


class CrossBesideOwn(Both):
    """Both attentions read what the block reads."""

    below = _CrossBesideOwn


class _CrossAlone(Below):
    """No attention of its own."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        del self.look, self.one

    def own(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x


class CrossAlone(Both):
    below = _CrossAlone


class _OwnPast(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        y = self.two(x)
        x = x + self.across(y, torch.cat([y[:, :1], y], 1), None)
        return x + self.feed(self.three(x))


class OwnPast(Both):
    """What looks like attention across reads the block's own stream, one position twice; the encoder is read by the head alone."""

    below = _OwnPast

    def read(self, x: Tensor, source: Tensor) -> Tensor:
        return self.head(self.last(x)) + self.head(source.mean(1, keepdim=True))  # type: ignore[no-any-return]


class Written(Looking):
    """Attention in code of its own: no call of transformers' attention function."""

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            matrix(of).unflatten(-1, (-1, self.fan)).transpose(1, 2).flatten(0, 1)
            for matrix, of in ((self.ask, x), (self.key, source), (self.value, source))
        )
        scores = torch.bmm(q * self.fan**-0.5, k.transpose(1, 2))
        if mask is not None:
            scores = (scores.unflatten(0, (len(x), -1)) + mask).flatten(0, 1)
        z = torch.bmm(torch.softmax(scores, dim=-1), v).unflatten(0, (len(x), -1))
        out: Tensor = self.merge(z.transpose(1, 2).flatten(2))
        return out


class BySoftmax(Both):
    def make(self, config: Any) -> None:
        for block in (*self.upper.floors, *self.steps):
            block.look = Written(config)
        for below in self.steps:
            below.across = Written(config)


class OwnPastBySoftmax(BySoftmax):
    """The same of what reads the block's own stream, one position twice."""

    below = _OwnPast
    read = OwnPast.read


class QueriesOfTheEncoder(BySoftmax):
    """The encoder asks and the decoder answers, turned back by the transpose of the scores."""

    class _Turned(Written):
        def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
            q, k, v = (
                matrix(of).unflatten(-1, (-1, self.fan)).transpose(1, 2)
                for matrix, of in ((self.ask, x), (self.key, source), (self.value, source))
            )
            z = torch.softmax((k @ q.mT).mT, dim=-1) @ v
            out: Tensor = self.merge(z.transpose(1, 2).flatten(2))
            return out

    def make(self, config: Any) -> None:
        super().make(config)
        for below in self.steps:
            below.across = self._Turned(config)


class _BothStreams(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        y = self.two(x)
        x = x + self.across(y, torch.cat([source, y[:, :1]], 1), None)
        return x + self.feed(self.three(x))


class BothStreams(Both):
    """Attention across reads the encoder and the first position of its own stream."""

    below = _BothStreams


class _Twice(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.again, self.four = Looking(c), nn.LayerNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        x = x + self.across(self.two(x), source, hidden)
        x = x + self.again(self.four(x), source, hidden)
        return x + self.feed(self.three(x))


class CrossTwice(Both):
    """Two attentions across in each block."""

    below = _Twice


class _Around(Below):
    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.one(x + self.look(x, x, mask))
        x = self.two(x + self.across(x, source, hidden))
        return self.three(x + self.feed(x))  # type: ignore[no-any-return]


class CrossAround(Both):
    """Norms act on the sums."""

    below = _Around


class _Behind(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.four = nn.LayerNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        x = x + self.four(self.across(self.two(x), source, hidden))
        return x + self.feed(self.three(x))


class CrossBehind(Both):
    """A norm of what attention across makes is added."""

    below = _Behind


class _Gained(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        x = x + self.gain * self.across(self.two(x), source, hidden)
        return x + self.feed(self.three(x))


class CrossGained(Both):
    """What attention across adds is times a parameter."""

    below = _Gained


class _Summary(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.told = nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        return super().forward(x, mask, source, hidden) + self.told(source.mean(1, keepdim=True))  # type: ignore[no-any-return]


class Summary(Both):
    """Blocks add the mean of the encoder's stream too."""

    below = _Summary


class _Skipping(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.crosses = True

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        if self.crosses:
            return super().forward(x, mask, source, hidden)
        x = self.own(x, mask)
        return x + self.feed(self.three(x))


class EveryOther(Both):
    """Only some blocks attend to the encoder."""

    below = _Skipping

    def make(self, config: Any) -> None:
        self.steps[1].crosses = False


class _FedSource(Below):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.feed.wider = nn.Linear(2 * c.wide, c.inner)

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        x = x + self.across(self.two(x), source, hidden)
        return x + self.feed(torch.cat([self.three(x), source.mean(1, keepdim=True).expand_as(x)], -1))


class FedSource(Both):
    """MLPs read the mean of the encoder's stream beside their own."""

    below = _FedSource


# ---------------------------------------------------------------- between the stacks


class Multiplied(Both):
    """What the encoder gives is times a matrix and a vector before it is attended to."""

    def make(self, config: Any) -> None:
        self.bridge, self.gain = nn.Linear(config.wide, config.wide), nn.Parameter(torch.zeros(config.wide))

    def source(self, x: Tensor) -> Tensor:
        return self.bridge(x) * self.gain  # type: ignore[no-any-return]


class Lengthened(Both):
    """Vectors of its own stand before what the encoder gives."""

    def make(self, config: Any) -> None:
        self.before = nn.Parameter(torch.zeros(2, config.wide))

    def source(self, x: Tensor) -> Tensor:
        return torch.cat([self.before.expand(len(x), -1, -1), x], 1)


class Halved(Both):
    """Every second position of what the encoder gives is attended to: as many as the decoder has on a probe."""

    def source(self, x: Tensor) -> Tensor:
        return x[:, ::2]


class Same(Both):
    """As many positions are attended to as the decoder has, always."""

    def source(self, x: Tensor) -> Tensor:
        return x[:, :-1]


class HeadOfBoth(Both):
    """The head reads the encoder's mean too."""

    def read(self, x: Tensor, source: Tensor) -> Tensor:
        return self.head(self.last(x) + source.mean(1, keepdim=True))  # type: ignore[no-any-return]


class EntryOfBoth(Both):
    """The decoder starts from the encoder's mean."""

    def enter(self, ids: Tensor, source: Tensor) -> Tensor:
        return super().enter(ids, source) + source.mean(1, keepdim=True)


class _EarlyUpper(Upper):
    def forward(self, ids: Tensor, shown: Tensor | None) -> Any:
        x = first = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for floor in self.floors:
            x = floor(x, mask_of(x, shown, False))
            first = x if floor is self.floors[0] else first
        return BaseModelOutput(last_hidden_state=self.last(x) + first)


class EarlyToo(Both):
    """What is attended to is made of the first block of the encoder too."""

    def make(self, config: Any) -> None:
        self.upper = _EarlyUpper(config, self.words, Above)


# ---------------------------------------------------------------- shared modules


class SharedNorm(Both):
    """One final norm for both stacks."""

    def make(self, config: Any) -> None:
        self.last = self.upper.last


class SharedFeeds(Both):
    """Blocks of both stacks share their MLPs."""

    def make(self, config: Any) -> None:
        for above, below in zip(self.upper.floors, self.steps, strict=False):
            below.feed = above.feed


class SharedLooks(Both):
    """Blocks of both stacks share their attention."""

    def make(self, config: Any) -> None:
        for above, below in zip(self.upper.floors, self.steps, strict=False):
            below.look = above.look


class SharedNorms(Both):
    """Blocks of both stacks share the norm before attention."""

    def make(self, config: Any) -> None:
        for above, below in zip(self.upper.floors, self.steps, strict=False):
            below.one = above.one


class SharedCross(Both):
    """A block attends to itself and across with one module."""

    def make(self, config: Any) -> None:
        for below in self.steps:
            below.across = below.look


# ---------------------------------------------------------------- how it is called


class Bare(Both):
    """No way to leave the encoder out, and nothing that says which it is."""

    get_encoder = PreTrainedModel.get_encoder

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
    ) -> Any:
        return super().forward(input_ids, attention_mask, decoder_input_ids)


class TwoUppers(Both):
    """Two encoders, one behind the other along positions."""

    def make(self, config: Any) -> None:
        self.upper_too = Upper(config, self.words, Above)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
    ) -> Any:
        assert input_ids is not None
        both = [upper(input_ids, None).last_hidden_state for upper in (self.upper, self.upper_too)]
        return super().forward(
            None, None, decoder_input_ids, None, BaseModelOutput(last_hidden_state=torch.cat(both, 1))
        )


# ---------------------------------------------------------------- towers


class _Tower(nn.Module):
    """A chain of blocks of its own."""

    def __init__(self, c: Any, deep: int) -> None:
        super().__init__()
        self.places, self.floors = nn.Embedding(64, c.wide), nn.ModuleList(Above(c) for _ in range(deep))
        self.last, self.out = nn.LayerNorm(c.wide), nn.Linear(c.wide, 16, bias=False)

    def through(self, x: Tensor) -> Tensor:
        x = x + self.places(torch.arange(x.shape[1]))
        for floor in self.floors:
            x = floor(x, mask_of(x, None, False))
        return self.last(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.through(x).mean(1))  # type: ignore[no-any-return]


class Towers(PreTrainedModel):  # type: ignore[misc]
    """Words and pictures, each a vector; what comes out is how alike these are."""

    config_class = Config
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.words, self.patches = nn.Embedding(config.words, config.wide), nn.Linear(3 * 16, config.wide)
        self.read, self.see = _Tower(config, 2), _Tower(config, 3)
        self.make(config)
        self.post_init()

    def make(self, config: Any) -> None:
        """What else there is."""

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def cut(self, pixel_values: Tensor) -> Tensor:
        x = pixel_values.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return self.patches(x)  # type: ignore[no-any-return]

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        return self.read(self.words(input_ids)), self.see(self.cut(pixel_values))

    def forward(self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None) -> Any:
        assert input_ids is not None and pixel_values is not None
        read, seen = self.compared(input_ids, pixel_values)
        return SimpleNamespace(logits=(seen * read).sum(-1, keepdim=True))


class Continuing(Towers):
    """The second tower reads what the first makes too."""

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        read = self.read.through(self.words(input_ids))
        return self.read.out(read.mean(1)), self.see(torch.cat([self.cut(pixel_values), read], 1))


class MixedEarly(Towers):
    """The output reads the first block of a tower too."""

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        read, seen = super().compared(input_ids, pixel_values)
        x = self.words(input_ids) + self.read.places(torch.arange(input_ids.shape[1]))
        return read + self.read.floors[0](x, mask_of(x, None, False)).mean(1)[:, :16], seen


class MixedEmbedding(Towers):
    """The output reads the words themselves too."""

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        read, seen = super().compared(input_ids, pixel_values)
        return read + self.words(input_ids).mean(1)[:, :16], seen


class Three(Towers):
    """A third tower reads the words again."""

    def make(self, config: Any) -> None:
        self.again = _Tower(config, 2)

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        read, seen = super().compared(input_ids, pixel_values)
        return read + self.again(self.words(input_ids)), seen


class OneLeftOut(Towers):
    """The second tower runs, and nothing is made of it."""

    def compared(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        read, seen = super().compared(input_ids, pixel_values)
        return read, torch.ones_like(seen)


class SharedTower(Towers):
    """Both towers are one."""

    def make(self, config: Any) -> None:
        self.see = self.read


class SharedFinal(Towers):
    """Towers of their own, one final norm."""

    def make(self, config: Any) -> None:
        self.see.last = self.read.last


class Feeding(Towers):
    """Towers that share an MLP."""

    def make(self, config: Any) -> None:
        self.shared = Feed(config)
        self.see.floors[0].feed = self.read.floors[0].feed = self.shared
