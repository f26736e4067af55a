"""Where in an input each position of the stream stands, as shares of its picture."""

from __future__ import annotations

from collections.abc import Sequence

from interp.parts.forms import Form
from interp.pictures.input_picture import Box

#: Digits of a share, so that files stay small.
_DIGITS = 5


def places(form: Form, shape: Sequence[int], names: Sequence[str]) -> tuple[Box, ...]:
    """The place of each position, by its name. shape: the axes of one input behind the batch.

    A patch stands where it was cut (where patches overlap, its middle as wide as their step); low frequencies are at the bottom. A frame
    of sound stands over the samples between it and the next; frames made in another way share the time evenly. A position that is
    neither a patch nor a frame stands nowhere.
    """
    if form.patch is not None and form.step is not None:
        known = _patches(form, shape)
        return tuple(known.get(name, ()) for name in names)
    if form.axes == ("sample",):
        return _frames(form, shape[-1], len(names))
    if "frame" in form.axes:
        return tuple(_box(i / len(names), 0, 1 / len(names), 1) for i in range(len(names)))
    return tuple(() for _ in names)


def _box(x: float, y: float, width: float, height: float) -> Box:
    return tuple(round(share, _DIGITS) for share in (x, y, width, height))


def _patches(form: Form, shape: Sequence[int]) -> dict[str, Box]:
    """Name -> place of every patch of a grid along the last two axes: rows and columns, or time and frequency."""
    grid = form.grid(shape)
    if grid is None or form.patch is None or form.step is None:
        return {}
    spans = []
    for count, size, step, length in zip(grid, form.patch, form.step, shape[-2:], strict=True):
        own = min(size, step)
        spans.append([((i * step + (size - own) / 2) / length, own / length) for i in range(count)])
    found = {}
    for row, (at, high) in enumerate(spans[0]):
        for column, (beside, wide) in enumerate(spans[1]):
            box = (at, 1 - beside - wide, high, wide) if form.spectrum else (beside, at, wide, high)
            found[form.patch_name(row, column)] = _box(box[0], max(0.0, box[1]), *box[2:])
    return found


def _frames(form: Form, samples: int, n: int) -> tuple[Box, ...]:
    """The places of `n` frames that convolutions make of a sound; nowhere where they make another number of frames."""
    step = form.samples(2) - form.samples(1) if form.kernels else 0
    if not step or form.samples(n) > samples:
        return ((),) * n
    first = (form.samples(1) - step) / 2
    starts = [max(0.0, first + i * step) for i in range(n)]
    return tuple(_box(at / samples, 0, min(step, samples - at) / samples, 1) for at in starts)
