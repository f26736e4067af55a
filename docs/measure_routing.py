"""Measures how much of exact effects passes through what rules hold constant in a mixture of experts: which experts are chosen, with which weights.

    python docs/train_experts.py --out FOLDER
    python docs/measure_routing.py --models FOLDER
    python docs/measure_routing.py --models FOLDER --tasks sva,capital --pairs 4 --methods relp,relp-ah

Every head and MLP is patched exactly by whole forwards, again and again with more of the model held as it is in the run that is patched.
What methods give is compared with each. The result is Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from script_options import shared
from tables import markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

METHODS = "atp,atp-ig,relp,relp-ah"
#: What is held, one more in each column.
HELD = (
    "nothing",
    "choice of experts",
    "their weights",
    "scales of the stream's norms",
    "those of q and k",
    "attention patterns",
)


def options() -> argparse.Namespace:
    """What the command line says."""
    about = "What passes through the routing of experts."
    parser = shared(about, "tasks", "directions", "methods", "pairs", "seed", methods=METHODS)
    parser.add_argument("--models", required=True, help="folders, commas between them; routers as Qwen3-MoE has them")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import torch

    with torch.no_grad():
        cases = [case for name in given.models.split(",") for case in cases_of(name, given)]
    say(
        "The metric of both prompts; what of mean |exact| passes through the routing; how many of the experts chosen are others in the other prompt:\n"
    )
    columns = (
        "model",
        "task",
        "direction",
        "clean, corrupt",
        "through choice",
        "through choice and weights",
        "other experts",
    )
    say(markdown(columns, ((*case.name, *case.routed) for case in cases)))
    for title, cell in (("Pearson", pearson), ("Mean |difference| / mean |exact|", error)):
        say(f"\n{title} with exact patching while this is held, one more in each column:\n")
        say(markdown(("model", "task", "direction", "method", *HELD), (row for c in cases for row in c.rows(cell))))
    return 0


def cases_of(name: str, given: argparse.Namespace) -> Iterator[Case]:
    """Every case of one model. It stops where not every block's router and norms are found."""
    import interp

    model = interp.load(name)
    experts = sum(block.mlp.act is None for block in model.layout.blocks)
    if len(routers(model)) != experts or not norms(model):
        sys.exit(
            f"{name}: {len(routers(model))} routers in {experts} blocks with experts; routers and norms as Qwen3-MoE has them."
        )
    for task, direction in product(given.tasks.split(","), given.directions.split(",")):
        yield Case(model, task, direction, given)


def routers(model: Any) -> list[str]:
    """The modules that choose experts: they give logits, weights and numbers of those that are chosen."""
    return [name for name, module in model.hf.named_modules() if type(module).__name__.endswith("TopKRouter")]


def norms(model: Any) -> list[str]:
    return [name for name, module in model.hf.named_modules() if type(module).__name__.endswith("RMSNorm")]


def pearson(scores: Any, exact: Any) -> str:
    import numpy as np

    return f"{np.corrcoef(scores, exact)[0, 1]:.2f}"


def error(scores: Any, exact: Any) -> str:
    return f"{abs(scores - exact).mean() / abs(exact).mean():.2f}"


@dataclass
class Case:
    """Exact patching of one task in one direction with ever more held, and the scores of the methods."""

    model: Any
    task: str
    direction: str
    given: argparse.Namespace
    scores: dict[str, Any] = field(default_factory=dict)
    exact: list[Any] = field(default_factory=list)
    changed: float = 0.0
    sides: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        import numpy as np
        import torch

        import interp

        task = interp.task(self.task, self.model, n=self.given.pairs, seed=self.given.seed)
        asked = {"level": "heads", "direction": self.direction}
        methods = ["exact", *self.given.methods.split(",")]
        with torch.enable_grad():
            found = interp.attribute_all(self.model, task, methods=methods, **asked)
        ends = found["exact"].provenance.base_metric, found["exact"].provenance.source_metric
        self.sides = ends if self.direction == "noise" else ends[::-1]
        self.scores = {name: scores.mean for name, scores in found.items()}
        pairs = [
            Patching(self.model, pair, self.direction, found["exact"].parts)
            for pair in task.tokenize(self.model.tokenizer, self.model.layout.d_vocab)
        ]
        self.exact = [np.mean([pair.scores(n) for pair in pairs], axis=0) for n in range(len(HELD))]
        self.changed = float(np.mean([pair.changed for pair in pairs]))
        if abs(self.exact[0] - self.scores.pop("exact")).max() > 1e-4 * abs(self.exact[0]).max():
            sys.exit(f"{self.task}: whole forwards and exact patching of the toolkit differ.")

    @property
    def name(self) -> tuple[str, str, str]:
        return self.model.name, self.task, self.direction

    @property
    def routed(self) -> Iterator[str]:
        """The metric of clean and corrupt; what changes when the choice, and when choice and weights are held; the share of other experts."""
        yield f"{self.sides[0]:.2f}, {self.sides[1]:.2f}"
        for held in self.exact[1:3]:
            yield f"{abs(held - self.exact[0]).mean() / abs(self.exact[0]).mean():.2f}"
        yield f"{self.changed:.0%}"

    def rows(self, cell: Callable[[Any, Any], str]) -> Iterator[tuple[str, ...]]:
        for method, scores in self.scores.items():
            yield *self.name, f"`{method}`", *(cell(scores, exact) for exact in self.exact)


@dataclass
class Patching:
    """One pair: what the run that is patched has at every place that may be held, and what the other has at the nodes."""

    model: Any
    pair: Any
    direction: str
    parts: Any
    kept: dict[str, Any] = field(default_factory=dict)
    changed: float = 0.0

    def __post_init__(self) -> None:
        prompts = [list(self.pair.corrupt), list(self.pair.clean)]
        self.base, source = prompts if self.direction == "denoise" else prompts[::-1]
        reads = ["embed", "z", "mlp_out"]
        with ExitStack() as stack:
            other = self.recording(stack)
            self.source = self.model.run([source], reads=reads)
        with ExitStack() as stack:
            self.kept = self.recording(stack)
            self.run = self.model.run([self.base], reads=["pattern"])
        chosen = [(self.kept[path][2], other[path][2]) for path in routers(self.model)]
        lost = [(~(a[:, :, None] == b[:, None, :]).any(-1)).float().mean() for a, b in chosen]
        self.changed = float(sum(lost) / len(lost)) if lost else 0.0

    def scores(self, held: int) -> list[float]:
        """What each node changes while the first `held` of HELD are."""
        import interp

        patterns = [interp.patch(f"pattern.{i}", self.run[f"pattern.{i}"]) for i in self.layers if held >= 5]
        with ExitStack() as stack:
            self.hold(stack, held)
            plain = self.metric(self.model.run([self.base]))
            return [
                self.metric(self.model.run([self.base], edits=[*patterns, edit])) - plain
                for edit in map(self.edit, self.parts)
            ]

    @property
    def layers(self) -> range:
        return range(len(self.model.layout.blocks))

    def edit(self, node: Any) -> Any:
        """The node's value of the other run."""
        import interp

        site = {"embed": "embed", "head": f"z.{node.layer}", "mlp": f"mlp_out.{node.layer}"}[node.kind]
        heads = {"heads": node.head} if node.kind == "head" else {}
        value = self.source[site]
        return interp.patch(site, value[:, :, node.head] if heads else value, **heads)

    def metric(self, run: Any) -> float:
        last = run.logits[0, -1].double()
        return float(last[list(self.pair.answers)].mean() - last[list(self.pair.wrong)].mean())

    # ------------------------------------------------------------ what is held

    def recording(self, stack: ExitStack) -> dict[str, Any]:
        """What routers give, and the scale of norms (output over input times weight), of the run that follows."""
        found: dict[str, Any] = {}

        def router(path: str) -> Callable[..., None]:
            return lambda module, args, out: found.update({path: out})

        def norm(path: str) -> Callable[..., None]:
            return lambda module, args, out: found.update({path: scale(module, args[0])})

        self.attach(stack, dict.fromkeys(routers(self.model), router) | dict.fromkeys(norms(self.model), norm))
        return found

    def hold(self, stack: ExitStack, held: int) -> None:
        """Have the first `held` of HELD but patterns stay as they are in the run that is patched."""

        def choice(path: str) -> Callable[..., Any]:
            return lambda module, args, out: chosen(module, out, self.kept[path][2])

        def weights(path: str) -> Callable[..., Any]:
            return lambda module, args, out: self.kept[path]

        def norm(path: str) -> Callable[..., Any]:
            return lambda module, args, out: module.weight * args[0] * self.kept[path]

        routing = dict.fromkeys(routers(self.model), choice if held == 1 else weights) if held else {}
        scales = [path for path in norms(self.model) if held >= (4 if path.endswith(("q_norm", "k_norm")) else 3)]
        self.attach(stack, routing | dict.fromkeys(scales, norm))

    def attach(self, stack: ExitStack, hooks: Mapping[str, Callable[[str], Callable[..., Any]]]) -> None:
        for path, hook in hooks.items():
            stack.callback(self.model.hf.get_submodule(path).register_forward_hook(hook(path)).remove)


def scale(norm: Any, x: Any) -> Any:
    """1 / root mean square, [... 1]."""
    return (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()


def chosen(router: Any, out: Any, numbers: Any) -> Any:
    """What a router gives when it must choose these: their softmax, brought to a sum of one where it does so."""
    weights = out[0].float().softmax(-1).gather(1, numbers)
    weights = weights / weights.sum(-1, keepdim=True) if router.norm_topk_prob else weights
    return out[0], weights.to(out[1].dtype), numbers


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
