"""What a run of a model costs: multiply-adds of one row through each part of a layer, counted from the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from interp.parts.block_layout import BlockLayout, MlpLayout
from interp.parts.named_inputs import Inputs
from interp.parts.stack_layout import Stack


@dataclass(frozen=True)
class Prices:
    """Multiply-adds of one row through each part of a layer, of one query-key pair, and of one logit. `beside`: what the other stacks of a
    model and attention to them take for one prompt, of the lengths of the probe: runs there are whole ones, and costs are stated in those;
    `encoding`: that of an encoder alone; `main`: the layers of blocks by path; `of_blocks`: what each block of another stack takes."""

    rows: dict[tuple[str, int], int]
    score: int
    logit: int
    d_vocab: int
    beside: int = 0
    encoding: int = 0
    main: Mapping[str, int] = field(default_factory=dict)
    of_blocks: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> Prices:
        """Counted from the weights; of experts those that a token is sent to."""
        size = model.layout
        lengths = {
            stack.name: model.n_positions(Inputs(model.probed, next(iter(model.probed))), stack.name)
            for stack in size.others
        }
        beside = encoding = sum(_alone(model, stack, lengths[stack.name]) for stack in size.others)
        for own in (block.cross for block in size.blocks if block.cross):  # keys and values, half of its weights
            beside += sum(lengths.values()) * _weights([model.hf.get_submodule(own.module)]) // 2
        main = {block.path: layer for layer, block in enumerate(size.blocks)}
        blocks = {
            block.path: _alone(model, stack, lengths[stack.name]) // stack.n_layers
            for stack in size.others
            for block in stack.blocks
        }
        score = 2 * size.n_heads * size.d_head
        return cls(_rows(model, size), score, size.d_model, size.d_vocab, beside, encoding, main, blocks)

    def run(
        self, batch: int, length: int, logits: int, *, encoded: bool = False, more: Mapping[str, int] | None = None
    ) -> int:
        """The multiply-adds of one run on a batch that computes so many logits of each prompt, over all its positions; encoded: without the
        encoder; more: how often more than once the blocks at some paths are called."""
        tokens, looking = batch * length, sum(self.looking(layer, length) for part, layer in self.rows if part == "o")
        own = tokens * (sum(self.rows.values()) + looking)
        extra = batch * sum(n * self._of_block(path, length) for path, n in (more or {}).items())
        return own + extra + batch * (logits * self.logit + self.beside - encoded * self.encoding)

    def looking(self, layer: int, length: int) -> int:
        """What one row costs to look at `length` others in the attention of a layer; nothing in a layer that mixes no positions."""
        return length * self.score if self.rows["o", layer] else 0

    def share(self, blocks: Iterable[str], whole: int, length: int) -> float:
        """The share of a run of `whole` multiply-adds for each prompt that these blocks are, of any stack, by path."""
        own = sum(self._of_block(path, length) for path in blocks)
        return own / whole

    def _of_block(self, path: str, length: int) -> int:
        """One block of any stack on one prompt."""
        return self.of_blocks.get(path, 0) or self._of_main(path, length)

    def _of_main(self, path: str, length: int) -> int:
        layer = self.main[path]
        rows = sum(n for (_, own), n in self.rows.items() if own == layer)
        return length * (rows + self.looking(layer, length))

    def forward(self, batch: int, length: int) -> int:
        """The multiply-adds of one plain forward on a batch, with all logits: what costs are measured in."""
        return self.run(batch, length, length * self.d_vocab)


def _rows(model: Any, stack: Stack) -> dict[tuple[str, int], int]:
    """Multiply-adds of one row through each part of a layer of a stack."""
    rows: dict[tuple[str, int], int] = {}
    for layer, own in enumerate(stack.blocks):
        get = model.hf.get_submodule
        mlp = _modules_of(own, get)
        rows["o", layer] = 0 if own.attn is None else _weights([get(own.attn.o)])
        rows["qkv", layer] = _weights([get(own.path)]) - _weights(mlp) - rows["o", layer]
        rows["mlp", layer] = sum(_used_weights(module, model.hf.config) for module in mlp)
    return rows


def _modules_of(block: BlockLayout, get: Callable[[str], nn.Module]) -> list[nn.Module]:
    """The modules that hold the weights of a block's MLP, and of a second one; none where it has none."""
    return [get(path) for mlp in block.mlps for path in _paths_of(mlp, block)]


def _paths_of(mlp: MlpLayout, block: BlockLayout) -> list[str]:
    """The paths of the modules that hold the weights of an MLP; in the block's own code those of its linear maps that are known."""
    if mlp.module != block.path:
        return [mlp.module]
    gate = mlp.entry if mlp.branch is not None and mlp.branch.given is not None else None
    return [path for path in (gate, mlp.up, mlp.down) if path]


def _alone(model: Any, stack: Stack, length: int) -> int:
    """The multiply-adds of a whole stack on one prompt."""
    pairs = stack.n_layers * length * 2 * stack.n_heads * stack.d_head
    return length * (sum(_rows(model, stack).values()) + pairs)


def _weights(modules: Sequence[nn.Module]) -> int:
    """The entries of all weight matrices of some modules."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)


def _used_weights(mlp: nn.Module, config: Any) -> int:
    """The entries of an MLP's weight matrices; of those of its experts the share that a token is sent to."""
    matrices = {name: p.numel() for name, p in mlp.named_parameters() if p.ndim > 1}
    experts = sum(n for name, n in matrices.items() if "experts" in name.split(".")[:-1])
    return sum(matrices.values()) - experts + int(experts * _share_of_experts(config))


def _share_of_experts(config: Any) -> float:
    """The share of its experts that a token is sent to; 1 without experts."""
    used, there = getattr(config, "num_experts_per_tok", None), None
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        there = there or getattr(config, name, None)
    return used / there if used and there else 1.0
