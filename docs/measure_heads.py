"""Measures what heads do on indirect object identification: where they look, what they write, and through what they act.

    python docs/measure_heads.py --run RUN
    python docs/measure_heads.py --run RUN --model FOLDER

RUN is the folder of `circuits discover --task ioi --level heads`; its scored pairs are looked at again. The result is Markdown
tables: the heads with the largest exact scores, the heads of the whole model that each of Wang et al.'s names fits by the rules
below, where these look when a third name acts, so that none is repeated, and how faithful they are on the held-out pairs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tables import code, hashes, markdown, say, weights_of

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

#: Mean attention from the last token: to the names, to itself. Then from S2: to S1, to the token behind S1. Then of every token to that before.
LOOKS = ("to IO", "to S1", "to S2", "to itself", "S2 to S1", "S2 to S1+1", "to before")
#: So many heads are in the first table.
TOP = 20
#: From where on a head looks somewhere, has an effect in logits, and copies a name, in logits.
LOOK, EFFECT, COPY = 0.3, 0.1, 1.0
#: The rule of each name. `queries`: the effect by the queries of all name movers; `values`: by the values of all S-inhibition heads.
RULES = {
    "name mover": f"`to IO` >= {LOOK} and direct >= {EFFECT} and copies >= {COPY}",
    "negative name mover": f"`to IO` >= {LOOK} and direct <= -{EFFECT} and copies <= -{COPY}",
    "name suppressor": f"`to S2` >= {LOOK} and direct >= {EFFECT} and copies <= -{COPY}",
    "S-inhibition": f"`to S2` >= {LOOK} and queries >= {EFFECT}",
    "induction": f"`S2 to S1+1` >= {LOOK}",
    "duplicate token": f"`S2 to S1` >= {LOOK}",
    "previous token": f"`to before` >= {LOOK}",
}
#: The heads that a path goes through, by name, and what of them reads it.
BY = {"queries": ("name mover", "q"), "values": ("S-inhibition", "v")}
COLUMNS = ("exact", *LOOKS, "direct", "copies", "queries", "values")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="What heads do on indirect object identification.")
    parser.add_argument("--run", required=True, type=Path, help="of circuits discover --task ioi --level heads")
    parser.add_argument("--model", default=None, help="a folder; that of the run by default")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp
    from circuits.runs.record_files import load_record

    record = load_record(given.run)
    asked = record.manifest["options"]
    if (asked["task"], asked["level"]) != ("ioi", "heads") or record.exact is None:
        sys.exit(f"{given.run}: expected a run of task ioi at level heads, with exact scores.")
    model = interp.load(given.model or asked["model"])
    say_weights(model, record.manifest["model"]["files"])
    pairs = {"n": asked["limit"], "seed": asked["seed"]}
    scoring, held_out = interp.task("ioi", model, **pairs).split(seed=asked["seed"])
    found = heads_of(model, scoring, record.exact)
    shown = found.index[found.exact.abs().argsort()[::-1][:TOP]]
    roles = add_paths(model, scoring, found, shown)
    say_heads(found.loc[shown], roles, {node.name for node in record.circuit.nodes})
    say_roles(model, scoring, found, roles)
    del roles["previous token"]  # of no effect on prompts that differ in the last name only
    named = list(dict.fromkeys(head for heads in roles.values() for head in heads))
    say_third(model, interp.task("ioi", model, corrupt="third", **pairs), named)
    say_faithful(model, held_out, record, named)
    return 0


def say_weights(model: Any, files: Mapping[str, str]) -> None:
    """The sha256 of the weights of the run, which the model must have."""
    from circuits.runs.model_files import described

    own = weights_of(files)
    if own != weights_of(described(model)["files"]):
        sys.exit(f"{model.name} has other weights than the run; give the folder of the run's model as --model.")
    say(f"{', '.join([model.name, *hashes(own)])}.\n")


# ---------------------------------------------------------------- what is measured


def heads_of(model: Any, task: Any, exact: Any) -> Any:
    """A row for each head of the model, a column for each of `COLUMNS` but the paths."""
    import interp

    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    nodes = [part for part in exact.parts if part.kind == "head"]
    found = pd.DataFrame({"layer": [node.layer for node in nodes]}, index=[node.name for node in nodes])
    found["exact"] = [exact.mean[exact.parts.index(node)] for node in nodes]
    found[list(LOOKS)] = mean_looks(model, [(pair.clean, pair.spans) for pair in pairs])
    found["direct"] = interp.direct_effects(model, task, nodes).mean
    found["copies"] = np.mean([copied(model, pair) for pair in pairs], axis=0)
    return found


def mean_looks(model: Any, prompts: Sequence[tuple[Sequence[int], Mapping[str, tuple[int, int]]]]) -> Any:
    """The mean attention over prompts (their ids, their spans): a row for each head, a column for each of `LOOKS`."""
    import interp

    found = []
    for ids, spans in prompts:
        patterns = interp.attention_patterns(model, list(ids))
        w = patterns.weights.reshape(-1, len(ids), len(ids))
        io, s1, s2 = (spans[name][0] for name in ("IO", "S1", "S2"))
        before = np.diagonal(w, -1, 1, 2)[:, 1:].mean(1)  # the first token is looked at for other reasons
        found.append([w[:, -1, io], w[:, -1, s1], w[:, -1, s2], w[:, -1, -1], w[:, s2, s1], w[:, s2, s1 + 1], before])
    return pd.DataFrame(np.mean(found, axis=0).T, index=patterns.heads, columns=LOOKS)


def copied(model: Any, pair: Any) -> Any:
    """What each head would add to a name's logit, less the other name's, if it looked only at that name [head]: the mean of IO and S1."""
    from interp.lenses.direct import contrasts
    from interp.lenses.stream import FINAL, Stream, at_place
    from interp.parts.sites import Site

    layers, found = range(model.layout.n_layers), []
    with torch.no_grad():
        run = model.run(torch.tensor([pair.clean]), reads=[FINAL, *(Site("v", layer) for layer in layers)])
        for name, own, other in (("IO", pair.answers, pair.wrong), ("S1", pair.wrong, pair.answers)):
            values = [run[Site("v", layer)][:, pair.spans[name][0]].double() for layer in layers]
            z = {Site("z", i): v.repeat_interleave(model.layout.n_heads // v.shape[1], 1) for i, v in enumerate(values)}
            stream = Stream(model, {**z, **at_place({FINAL: run[FINAL]}, -1)})
            normed = stream.normed(torch.cat([stream.heads(layer) for layer in layers], 1))
            found.append((normed * contrasts(model, [(own, other)])[:, None]).sum(-1)[0])
    return torch.stack(found).mean(0).numpy()


def add_paths(model: Any, task: Any, found: Any, shown: Iterable[str]) -> dict[str, list[str]]:
    """Adds the columns `queries` and `values`, of the heads shown and those that a name may fit; the heads of each name."""
    for column in BY:
        receivers = fit(found, BY[column][0])
        senders = {*shown, *found.index[(found[["to S2", "S2 to S1", "S2 to S1+1"]] >= LOOK).any(axis=1)]}
        able = [name for name in found.index if name in senders and found.layer[name] < found.layer[receivers].min()]
        each = {name: effect(model, task, [name], column, receivers) for name in able}
        found[column] = [each.get(name, float("nan")) for name in found.index]
    return {role: fit(found, role) for role in RULES}


def effect(model: Any, task: Any, senders: Sequence[str], column: str, receivers: Sequence[str]) -> float:
    """What heads do together through the queries, or values, of all receivers."""
    import interp

    names = [f"{head}<{BY[column][1]}>" for head in receivers]
    return interp.path_patch(model, task, senders, names, kv="split", direction="denoise").mean


def fit(found: Any, role: str) -> list[str]:
    """The heads that keep the rule of a name, the largest exact score first."""
    kept = found.query(RULES[role], engine="python")
    return list(kept.index[kept.exact.abs().argsort()[::-1]])


# ---------------------------------------------------------------- tables


def say_heads(found: Any, roles: Mapping[str, Sequence[str]], inside: set[str]) -> None:
    """The table of heads; of a head outside the circuit the name is in brackets."""
    lines = []
    for name, row in found.iterrows():
        called = ", ".join(role for role, heads in roles.items() if name in heads) or "-"
        cells = ("-" if value != value else f"{value:.2f}" for value in row[list(COLUMNS)])
        lines.append((code([name]) if name in inside else f"({code([name])})", *cells, called))
    say(f"{markdown(('head', *COLUMNS, 'called'), lines)}\n")


def say_roles(model: Any, task: Any, found: Any, roles: Mapping[str, Sequence[str]]) -> None:
    """The heads of the whole model that each name fits, with their exact scores, and their effect together by a path."""
    together = {"S-inhibition": "queries", "induction": "values", "duplicate token": "values"}
    lines = []
    for role, heads in roles.items():
        column = together.get(role, "") if heads else ""
        path = [name for name in heads if column and found[column].notna()[name]]
        by = f"{effect(model, task, path, column, roles[BY[column][0]]):+.2f} by {column}" if path else "-"
        lines.append(
            (role, RULES[role].replace("`", ""), ", ".join(f"`{h}` {found.exact[h]:+.2f}" for h in heads) or "none", by)
        )
    say(f"{markdown(('name', 'rule', 'heads of the model, exact score', 'all together'), lines)}\n")


def say_third(model: Any, task: Any, heads: Sequence[str]) -> None:
    """Where heads look when S2 is S1's name, and when it is a third name."""
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    same, other = (mean_looks(model, [(getattr(p, side), p.spans) for p in pairs]) for side in ("clean", "corrupt"))
    columns = [column for column in LOOKS if column not in ("to itself", "to before")]
    lines = [(code([h]), *(f"{same[c][h]:.2f}, {other[c][h]:.2f}" for c in columns)) for h in heads]
    say(f"Over {len(pairs)} pairs, S2 the name of S1, and a third name:\n")
    say(f"{markdown(('head', *columns), lines)}\n")


def say_faithful(model: Any, held_out: Any, record: Any, named: Sequence[str]) -> None:
    """How faithful the named heads with all MLPs are on held-out pairs, the heads of the circuit with all MLPs, and random ones."""
    import circuits

    mlps = [part for part in record.exact.parts if part.kind == "mlp"]
    inside = {node.name for node in record.circuit.nodes}
    lines = []
    for what, names in (("named", set(named)), ("of the circuit", inside)):
        heads = [part for part in record.exact.parts if part.kind == "head" and part.name in names]
        circuit = replace(record.circuit, parts=(*heads, *mlps), selection=what)
        found = circuits.evaluate(
            model, held_out, circuit, sizes=[len(circuit)], n_random=5, held_out=True, other_ablation="none"
        )
        others = ", ".join(f"{value:.2f}" for value in found.curve[-1].random)
        lines.append((f"{len(heads)} {what}", found.faithfulness, others))
    say(f"With all {len(mlps)} MLPs, on {len(held_out)} held-out pairs:\n")
    say(markdown(("heads", "faithfulness", "as many random heads"), lines))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
