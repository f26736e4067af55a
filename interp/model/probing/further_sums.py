"""Further forms of what a block adds, tried where stream + attention + MLP is not its output: more parts, and less of the stream.

    x' = N(k x + s1 w1 + s2 w2 ...)        k, s: a number, or a number or vector of the block's own; N: a norm, or none

A step adds one part, or several at once. Beside attention and the MLP a block may have one part that mixes positions otherwise, and a
second MLP; both are modules that read the stream, or a norm of it. What a second MLP's activation makes may be multiplied by what the block
is given of the tokens beside the stream (P(act(G x) * p), Gemma 4); only that may be a part in the block's own code. The stream itself may first pass a norm. What is between two steps
is known where a module of the block reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from typing import Final

import torch
from torch import Tensor

from interp.errors import LayoutError, some
from interp.model.modules.tensors import activation_out, close
from interp.model.probing.block_calls import BlockCalls, depends, reads, same
from interp.model.probing.fits import Fits
from interp.model.probing.fronts import mlp_modules
from interp.model.probing.gates import gate_of_given
from interp.model.probing.mixers import mixes_positions
from interp.model.probing.probe import Call
from interp.model.probing.steps import Step, Written, attention_alone, behind, may_add, mlp_candidates, solve

#: How many parts a block may have beside attention and MLP.
_BESIDE: Final = 2


@dataclass(frozen=True)
class Alone:
    """The step of a block of one sublayer: of attention, or what mixes positions in its place, or of an MLP; None of the other."""

    attn: Step | None
    mlp: Step | None


@dataclass(frozen=True)
class Sums:
    """The steps of a block: of attention, of attention to another stack, of the MLP, of what mixes positions beside attention and of a
    second MLP; `first`: the norm that the stream passes before all of them."""

    attn: Step
    mlp: Step
    cross: Step | None = None
    mixer: Step | None = None
    second: Step | None = None
    first: str | None = None

    @property
    def plain(self) -> bool:
        """Whether it has no further parts."""
        return self.mixer is None and self.second is None and self.first is None


def sums(blocks: Sequence[BlockCalls], projections: Sequence[str]) -> Sums | Alone:
    """The steps of a block, seen from each of its attentions (`blocks`), whose output projections are `projections`, none where nothing mixes
    positions. The way with both attention and an MLP is taken where there is one, then the one of attention alone.

    Raises: LayoutError naming the block whose output is of no known form, and what was found in it.
    """
    if found := solve(blocks, projections):
        *attentions, mlp = found
        return Sums(attentions[0], mlp, attentions[1] if attentions[1:] else None) if attentions else Alone(None, mlp)
    if alone := attention_alone(blocks, projections):
        return Alone(alone, None)
    search = _Search(tuple(blocks), tuple(projections))
    if projections and (more := search.found()):
        return more
    raise LayoutError(_refusal(blocks, projections, search.odd))


def _refusal(blocks: Sequence[BlockCalls], projections: Sequence[str], odd: Sequence[str]) -> str:
    block = blocks[0]
    if any(close(block.own.y_value, block.inside[o].y_value) for o in projections):
        return (
            f"{block.path}: what it gives is what its attention writes, and what adds that to a stream is code around it; expected blocks that are "
            "modules of their own, each with attention and an MLP."
        )
    crossing = " + output of attention to the other stack" * (len(blocks) - 1)
    mixed, candidates = block.mixed, mlp_candidates(blocks, projections)
    how = "" if mixed is None else "attention with output projection " if mixed.heads else "positions mixed by "
    what = f"{how}{', '.join(projections)}" if projections else "no attention"
    also = f"; added too, but made of something else than the stream: {some(dict.fromkeys(odd))}" if odd else ""
    return (
        f"{block.path}: its output is not input + attention output{crossing} + MLP output, nor one of the two alone, nor with norms in front, "
        f"behind or around the sums, nor with factors, another mixer or a second MLP. Found: {what}; "
        f"MLP: {some(dict.fromkeys(candidates)) if candidates else 'none'}{also}."
    )


@dataclass
class _Search:
    """One search: `odd` are the parts that would rebuild the output and do not read the stream."""

    blocks: tuple[BlockCalls, ...]
    projections: tuple[str, ...]
    odd: list[str] = field(default_factory=list)

    @property
    def block(self) -> BlockCalls:
        return self.blocks[0]

    @cached_property
    def fits(self) -> Fits:
        return Fits(self.block)

    def found(self) -> Sums | None:
        """The first way that rebuilds the output: with fewest parts, and without a norm of the stream."""
        candidates = self._candidates()
        every = (chosen for n in range(1, 2 + _BESIDE) for chosen in combinations(candidates, n))
        for chosen in (*every, *((norm,) for norm in self._joining(candidates))):
            if not any(f"{b}.".startswith(f"{a}.") for a in chosen for b in chosen if a != b):
                for first, x in self._starts():
                    for steps in self._ways(x, self._parts(chosen), 0):
                        if found := self._named(chosen, steps, first):
                            return found
        return None

    def _joining(self, candidates: Sequence[str]) -> Iterator[str]:
        """Norms that read the sum of what two MLPs make, which is then the MLP as a whole: N(f(x) + g(x))."""
        inside = self.block.inside
        made = [[own.value.flatten() for own in may_add(self.block, raw) if own.gain is None] for raw in candidates]
        totals = [a + b for one, two in combinations(made, 2) for a, b in product(one, two)]
        for path, call in inside.items():
            size = call.x.numel() == call.y.numel() == self.block.own.x.numel()
            if size and not self.block.makes(path) and any(close(call.x_value.flatten(), total) for total in totals):
                yield path

    def _candidates(self) -> list[str]:
        """What may be an MLP or stand beside it; of modules that give the same the outermost."""
        inside, found = self.block.inside, list[str]()
        for path in mlp_candidates(self.blocks, self.projections):
            y = inside[path]
            twin = any(
                path.startswith(f"{own}.") and same(inside[own].y, y.y) and torch.equal(inside[own].y_value.flatten(), y.y_value.flatten())
                for own in found
            )  # fmt: skip
            found += [] if twin else [path]
        return found

    def _starts(self) -> Iterator[tuple[str | None, Tensor]]:
        """The stream as it is, and what norms make of it that all goes through."""
        x = self.block.own.x_value
        yield None, x
        if self.block.own.made is not None:
            for path in self.block.cutting:
                if reads(call := self.block.inside[path], x):
                    yield path, call.y_value.reshape(x.shape)

    # ------------------------------------------------------------ parts

    def _parts(self, chosen: Sequence[str]) -> list[list[Written]]:
        """What each part may add, in the order in which their modules returned."""
        order = list(self.block.calls)
        return [self._options(raw) for raw in sorted((*self.projections, *chosen), key=order.index)]

    def _options(self, raw: str) -> list[Written]:
        """What a module's output, or what is made of it, may add: also with a bias that a module around it holds, or times a vector."""
        call, get = self.block.inside[raw], self.block.model.get_submodule
        found = [own for own in may_add(self.block, raw) if own.gain is None] if self.block.makes(raw) else []
        found += [] if found else [Written(raw, raw, "after", call.y_value)]
        found += [Written(raw, path, "mixed", own.y_value) for path, own in self._mixed_behind(raw)]
        for path in self.block.parents(raw):
            for name, bias in get(path).named_parameters(recurse=False):
                if bias.numel() == call.y.shape[-1]:
                    value = call.y_value + bias.detach().flatten()
                    found.append(Written(raw, raw, "pre", value, bias=f"{path}.{name}"))
        gained = [
            replace(own, value=own.value * gain, gain=path, place="scaled" if own.place == "pre" else own.place)
            for own in found
            for path, gain in self.fits.vectors.items()
        ]
        return found + gained

    def _mixed_behind(self, raw: str) -> Iterator[tuple[str, Call]]:
        """The modules behind a part that mix positions of what it makes, as a short convolution does."""
        y = self.block.inside[raw].y
        for path, call in self.block.inside.items():
            reads_it = same(call.x, y) and call.y.numel() == y.numel() and not f"{path}.".startswith(f"{raw}.")
            if reads_it and mixes_positions(call, self._width):
                yield path, call

    # ------------------------------------------------------------ steps

    def _ways(self, x: Tensor, parts: Sequence[list[Written]], done: int) -> Iterator[tuple[Step, ...]]:
        """Every way from the stream `x` through the parts behind the first `done`, in order, one or several of them at once."""
        if done == len(parts):
            y = self.block.own.y_value.reshape(x.shape)
            if bool(((x - y).abs() <= 8 * torch.finfo(y.dtype).eps * y.abs()).all()):
                yield ()
            return
        for n in range(1, len(parts) - done + 1):
            for made in product(*parts[done : done + n]):
                for steps in self._steps(x, made):
                    for rest in self._ways(steps[-1].after, parts, done + n):
                        yield (*steps, *rest)

    def _steps(self, x: Tensor, made: Sequence[Written]) -> Iterator[list[Step]]:
        """The steps that add these parts at once and give what a module of the block reads, or the block: the value that was seen there."""
        seen: list[Tensor] = []
        for keeper, kept in ((None, x), *((p, x * v) for p, v in self.fits.vectors.items())):
            for goal in self.fits.goals:
                found = self.fits.fitted(goal.reshape(x.shape), kept, made)
                if found is None or (keeper and found[0] != 1.0):
                    continue
                if any(torch.allclose(goal, own, rtol=1e-4, atol=1e-6) for own in seen):
                    continue
                seen.append(goal)
                for around, after in behind(self.block, goal.reshape(x.shape)):
                    yield self._step(x, made, found, keeper, around, after)

    def _step(
        self,
        x: Tensor,
        made: Sequence[Written],
        fit: tuple[float, list[float]],
        keeper: str | None,
        around: str | None,
        after: Tensor,
    ) -> list[Step]:
        """Steps from x to what is behind them: the first keeps, the norm is around the last. Numbers that the block holds are named."""
        keep, named = self.fits.name(fit[0])
        first = Step(made[0], 1.0, None, x, after, keep, keeper or named)
        steps = [first, *(Step(own, 1.0, None, x, after) for own in made[1:])]
        for i, (own, s) in enumerate(zip(made, fit[1], strict=True)):
            scale, gain = (s, None) if own.gain else self.fits.name(s)
            scaled = own if gain is None else replace(own, gain=gain, value=own.value * self.fits.factors[gain])
            if scaled.gain and scaled.place == "pre":
                scaled = replace(scaled, place="scaled")
            steps[i] = replace(steps[i], written=scaled, scale=scale)
        return [*steps[:-1], replace(steps[-1], around=around)]

    @property
    def _width(self) -> int:
        return self.block.own.x.shape[-1]

    # ------------------------------------------------------------ what the parts are

    def _named(self, chosen: Sequence[str], steps: Sequence[Step], first: str | None) -> Sums | None:
        """The steps by what their parts are; None where they are more than a block may have, or one reads something else than the stream. One
        part alone is the MLP, also where it looks at the token before."""
        of, parts = {step.written.raw: step for step in steps}, chosen if len(chosen) > 1 else ()
        mixing = [raw for raw in parts if mixes_positions(self.block.inside[raw], self._width)]
        others = sorted((raw for raw in chosen if raw not in mixing), key=self._rank)
        if len(mixing) > 1 or not 1 <= len(others) <= 2:
            return None
        if odd := [raw for raw in parts if not self._of_stream(raw, of[raw], steps)]:
            self.odd = min(self.odd or odd, odd, key=len)
            return None
        attn, *cross = (of[o] for o in self.projections)
        return Sums(
            attn, of[others[-1]], cross[0] if cross else None, of[mixing[0]] if mixing else None,
            of[others[0]] if len(others) > 1 else None, first,
        )  # fmt: skip

    def _rank(self, raw: str) -> tuple[bool, bool, int, int]:
        """Which of two MLPs is called the MLP: the one that its layer's input does not gate, that has neurons, the wider one, the later one."""
        inside, y = self.block.inside, self.block.inside[raw].y
        below = [path for path in self.block.projections() if f"{path}.".startswith(f"{raw}.")]
        widths = [inside[path].x.shape[-1] for path in below if same(inside[path].y, y)]
        gated = gate_of_given(self.blocks, *mlp_modules(self.blocks, raw, self.projections)) is not None
        return not gated, bool(widths), max(widths, default=0), list(self.block.calls).index(raw)

    def _of_stream(self, raw: str, step: Step, steps: Sequence[Step]) -> bool:
        """Whether a part reads the stream of its step, or of one before it, or what a norm makes of that, and nothing else of the run; but for
        what its layer is given of the tokens, where that multiplies what its activation makes."""
        block, (module, down) = self.block, mlp_modules(self.blocks, raw, self.projections)
        gate = gate_of_given(self.blocks, module, down)
        entry = gate if module == block.path else module
        if entry is None:
            return False
        call, made = block.inside[entry], block.inside[raw if module == block.path else module].made
        norm = block.feeder(call)
        read = call if norm is None else block.inside[norm]
        place = next(i for i, own in enumerate(steps) if own is step)
        streams = [own.before for own in steps[: place + 1]]
        through = depends(made, call.read) and not depends(made, block.own.read, but_through=call.read)
        return (
            through
            and any(reads(read, own) for own in streams)
            and (gate is not None or mixes_positions(call, self._width) or self._alone(module))
        )

    def _alone(self, raw: str) -> bool:
        """Whether a module gives the same when it is called on the stream alone."""
        call = self.block.inside[raw]
        try:
            with torch.no_grad():
                y = activation_out(self.block.model.get_submodule(raw)(call.x_value.clone()))
        except (TypeError, ValueError, RuntimeError):
            return False
        return close(y, call.y_value)
