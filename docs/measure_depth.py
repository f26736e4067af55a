"""Measures what the layers of a model are used for on texts, and what is left of it when layers, attention or MLPs are left out.

    python docs/measure_depth.py
    python docs/measure_depth.py --models FOLDER --text stories.json --texts 32 --tokens 128 --drop 4

Half of the texts choose, the other half judges. The result is Markdown tables: each layer with what its parts add, what becomes of the model without
it and how much later layers change; the order of each way to drop parts, with the cross-entropy on texts that did not choose it; and the best chain of
layers beside noise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from script_options import shared
from tables import code, markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

#: Ways to drop parts: unit, score, search.
WAYS = (
    ("block", "influence", "once"),
    ("block", "influence", "consecutive"),
    ("block", "perplexity", "greedy"),
    ("attention", "influence", "once"),
    ("attention", "perplexity", "once"),
    ("attention", "perplexity", "greedy"),
    ("mlp", "influence", "once"),
    ("mlp", "perplexity", "once"),
)


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = shared("What the layers of a model are used for.", "models", "seed")
    parser.add_argument("--text", type=Path, help="a JSON list of texts, or a text; prompts of the task ioi by default")
    parser.add_argument("--texts", type=int, default=16, help="so many of them")
    parser.add_argument(
        "--tokens", type=int, default=128, help="of each text the first so many; shorter ones are left out"
    )
    parser.add_argument("--drop", type=int, default=2, help="so many parts")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    for name in given.models.split(","):
        model = interp.load(name)
        ids = texts_of(model, given)
        half = len(ids) // 2
        say(f"{model.name}: {half} texts to choose, {len(ids) - half} to judge, of {len(ids[0])} tokens.\n")
        say_use(model, ids[:half])
        say_dropped(model, ids[:half], ids[half:], given.drop)
        say_chain(model, ids, given.seed)
    return 0


def texts_of(model: Any, given: argparse.Namespace) -> list[list[int]]:
    """The token ids of the texts, all of one length."""
    import interp
    from interp.parts.texts import encode

    if given.text is None:
        return [
            list(pair.clean)
            for pair in interp.task("ioi", model, n=given.texts).tokenize(model.tokenizer, model.outputs)
        ]
    text = given.text.read_text(encoding="utf-8")
    pieces = json.loads(text) if given.text.suffix == ".json" else [text]
    found: list[list[int]] = []
    for piece in pieces:
        ids = encode(model.tokenizer, piece)
        found += [ids[at : at + given.tokens] for at in range(0, len(ids) - given.tokens + 1, given.tokens)][
            : 1 if len(pieces) > 1 else None
        ]
        if len(found) >= given.texts:
            return found[: given.texts]
    sys.exit(f"{given.text}: {len(found)} texts of {given.tokens} tokens; expected {given.texts}.")


def say_use(model: Any, ids: list[list[int]]) -> None:
    """The table of layers."""
    import interp

    found = interp.layer_use(model, ids, what=["streams", "skips", "lens", "later", "future"])
    say(f"Full model: cross-entropy {found.cross_entropy:.3f} nats.\n")
    columns = ("layer", "length of x", "attention adds", "MLP adds", "influence", "without attention", "without MLP", "without the layer", "KL of the lens", "changes later layers", "of later tokens")  # fmt: skip
    say(f"{markdown(columns, lines_of(found))}\n")


def lines_of(found: Any) -> Iterator[tuple[str, ...]]:
    """A line for each layer; what a layer has not is a dash."""
    rows = found.to_pandas().set_index(["layer", "part"])
    n = len(found.later)
    for layer in range(n):
        later = [
            sum(square[layer][layer + 1 :]) / (n - 1 - layer) if layer < n - 1 else None
            for square in (found.later, found.future)
        ]

        def cell(part: str, measure: str, layer: int = layer) -> str:
            return f"{rows.loc[(layer, part), measure]:.3f}" if (layer, part) in rows.index else "-"

        yield (
            str(layer), cell("block", "norm_in"), cell("attention", "relative"), cell("mlp", "relative"), cell("block", "influence"),
            cell("attention", "skip_cross_entropy"), cell("mlp", "skip_cross_entropy"), cell("block", "skip_cross_entropy"),
            cell("block", "lens_kl"), *("-" if value is None else f"{value:.3f}" for value in later),
        )  # fmt: skip


def say_dropped(model: Any, own: list[list[int]], other: list[list[int]], n: int) -> None:
    """The table of ways to drop parts."""
    import interp

    lines = []
    for unit, score, search in WAYS:
        found = interp.drop_layers(model, own, unit=unit, score=score, n=n, search=search, judge=other)
        steps = ", ".join(f"{value:.3f}" for value in found.cross_entropy[1:])
        lines.append((unit, score, search, code(found.removed), steps, f"{found.curve[-1, 2]:.1%}"))
    full = f"{found.cross_entropy[0]:.3f}", f"{found.curve[0, 2]:.1%}"
    say(
        f"On the texts that judge the full model has a cross-entropy of {full[0]} nats, and is right {full[1]} of the time.\n"
    )
    say(
        f"{markdown(('unit', 'score', 'search', 'left out, in order', 'cross-entropy after each', 'right at the end'), lines)}\n"
    )


def say_chain(model: Any, ids: list[list[int]], seed: int) -> None:
    """The best chain, beside noise."""
    import interp

    found = interp.chain_search(model, ids, seed=seed)
    own, full = found.values[found.chosen], found.values[0]
    moves = [layer for layer in range(model.layout.n_layers) if found.best.count(layer) != 1]
    chosen = "the full model" if not moves else ", ".join(f"{layer} x{found.best.count(layer)}" for layer in moves)
    columns = ("chains", "chosen", "cross-entropy", "full model", "right", "full model", "some chain right", "some noise right")  # fmt: skip
    line = (len(found.chains), chosen, f"{own[3]:.3f}", f"{full[3]:.3f}", f"{own[5]:.1%}", f"{full[5]:.1%}", f"{found.any_right:.1%}", f"{found.null_right:.1%}")  # fmt: skip
    say(markdown(columns, [line]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
