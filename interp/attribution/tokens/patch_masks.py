"""Where the patches of a picture or a spectrogram lie, and groups of them from a mask of superpixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from interp.errors import MethodError
from interp.parts.named_inputs import Example

_PATCH: Final = re.compile(r"r(?P<row>\d+)c(?P<column>\d+)|f(?P<mel>\d+)t(?P<time>\d+)")


def patch_places(names: Sequence[str]) -> dict[tuple[int, int], int]:
    """Row and column, of a spectrogram time and mel band, -> position, from the names of positions."""
    found = {}
    for i, name in enumerate(names):
        if match := _PATCH.fullmatch(name):
            pair = (match["row"], match["column"]) if match["row"] else (match["time"], match["mel"])
            found[int(pair[0]), int(pair[1])] = i
    return found


def grid_of(names: Sequence[str], what: str) -> tuple[tuple[int, ...], ...]:
    """The positions of the patches [row][column]. Raises: MethodError, beginning with `what`, where there are none."""
    places = patch_places(names)
    if not places:
        raise MethodError(f"{what}: its positions are no patches of a picture; use 'tokens'.")
    rows, columns = (1 + max(at[axis] for at in places) for axis in (0, 1))
    return tuple(tuple(places[row, column] for column in range(columns)) for row in range(rows))


def patch_groups(
    mask: np.ndarray, names: Sequence[str], prompt: Example, row: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and places of the groups of a mask [row column]: numbers of patches, or of pixels, of which the patch takes the commonest number.

    What is no patch is a group by itself. Raises: MethodError for a mask of another size, and for a superpixel that no patch has.
    """
    grid = np.array(grid_of(names, f"{row}: features [row, column]"))
    of_patches = _of_patches(mask, grid.shape, tuple(prompt.tensors[prompt.main].shape[-2:]), row)
    if lost := sorted(set(mask.ravel().tolist()) - set(of_patches.ravel().tolist())):
        raise MethodError(
            f"{row}: superpixel {lost[0]} has no patch of its own, since others have more of the pixels of each; expected superpixels of a patch "
            "or more."
        )
    key = {int(position): f"s{label}" for position, label in zip(grid.ravel(), of_patches.ravel(), strict=True)}
    keys = [key.get(i, name) for i, name in enumerate(names)]
    order = {name: i for i, name in enumerate(dict.fromkeys(keys))}
    return tuple(order), tuple(order[name] for name in keys)


def _of_patches(mask: np.ndarray, grid: tuple[int, ...], pixels: tuple[int, ...], row: str) -> np.ndarray:
    """The number of each patch. Raises: MethodError."""
    if mask.shape == grid:
        return mask
    height, width = (pixels[i] // grid[i] for i in (0, 1))
    if mask.shape != pixels:
        raise MethodError(
            f"{row}: features of shape {list(mask.shape)}; expected [row, column] of its patches, {list(grid)}, or of its pixels, {list(pixels)}."
        )
    cut = mask[: height * grid[0], : width * grid[1]].reshape(grid[0], height, grid[1], width)
    each = cut.transpose(0, 2, 1, 3).reshape(-1, height * width)
    return np.array([np.unique(own)[np.unique(own, return_counts=True)[1].argmax()] for own in each]).reshape(grid)
