"""Who reads what a layer makes, by the graph that torch has of one forward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

#: Nodes of torch's graph that only look at the same numbers in another shape.
_VIEWS: Final = ("View", "Reshape", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Alias")


class Readers:
    """The graph of `output`, from each node to those that read it, once for every argument."""

    def __init__(self, output: Tensor) -> None:
        self.of: Mapping[Any, list[Any]] = defaultdict(list)
        left, seen = [output.grad_fn], {output.grad_fn}
        while left:
            node = left.pop()
            for read, _ in getattr(node, "next_functions", ()):
                if read is None:
                    continue
                self.of[read].append(node)
                if read not in seen:
                    seen.add(read)
                    left.append(read)

    def alone(self, made: Any, read: Any) -> bool:
        """Whether what the node `made` gives is read once, and by what was called with the result of node `read`."""
        return made is not None and made is read and len(self.of[made]) == 1

    def behind(self, node: Any) -> Iterator[Any]:
        """The nodes that read what `node` gives, through views of it."""
        for reader in self.of[node]:
            if reader.name().removesuffix("0").removesuffix("Backward") in _VIEWS:
                yield from self.behind(reader)
            else:
                yield reader


def shares(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors are the same numbers at the same place, perhaps in another shape."""
    return x.numel() == y.numel() and x.data_ptr() == y.data_ptr()
