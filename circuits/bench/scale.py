"""`circuits bench --scale`: time and memory of scoring against prompts, prompt length, layers and width.

Each point runs in a process of its own, so that the peak of its memory is its own. Time is CPU time of one thread, which
other programs on the machine change little.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from circuits.report.drawing.svg import Scale, axes, drawing, element, label, numbered, path, ticks
from interp.errors import InterpError, unknown
from interp.files import write_text

#: (method, level) that are measured.
WORKS: Final = (("relp", "heads"), ("relp", "edges"), ("exact", "heads"))
BATCH: Final = 16
D_HEAD: Final = 32
#: What is varied, and the values that it takes; everything else is as in `Shape()`.
VARIED: Final = {
    "prompts": (32, 125, 500, 1000),
    "length": (32, 128, 256, 512),
    "layers": (2, 4, 8, 16),
    "width": (64, 128, 256, 512),
}
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73")
STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}.middle{text-anchor:middle}.end{text-anchor:end}"
    ".grid{stroke:#e5e5e5}.axis{stroke:#333}path{fill:none;stroke-width:2}rect{fill:#fff}"
)


@dataclass(frozen=True)
class Shape:
    """A random GPT-2 of `layers` layers and d_model `width`, with heads of 32, on `prompts` pairs of `length` tokens."""

    prompts: int = 32
    length: int = 32
    layers: int = 4
    width: int = 128


@dataclass(frozen=True)
class Row:
    """One point. `varied`: the field of `shape` that this point varies. `seconds`: CPU time. `above_mib`: peak memory above
    the model; `planned_mib`: what the plan of memory said before."""

    method: str
    level: str
    varied: str
    shape: Shape
    seconds: float
    above_mib: float
    planned_mib: float


def shapes(varied: Sequence[str] | None = None) -> Iterator[tuple[str, Shape]]:
    """The shapes of each field varied. Raises: InterpError for another field."""
    for name in varied or VARIED:
        if name not in VARIED:
            raise InterpError(unknown("field that bench --scale varies", name, VARIED))
        for value in VARIED[name]:
            yield name, replace(Shape(), **{name: value})


def scale(varied: Sequence[str] | None = None, say: Callable[[str], None] = lambda text: None) -> list[Row]:
    """Measure every method at every shape. `say` hears of each point as it is done. Raises: InterpError."""
    found: dict[tuple[str, str, Shape], Row] = {}
    rows = []
    for name, shape in shapes(varied):
        for method, level in WORKS:
            known = found.get((method, level, shape)) or measure_apart(method, level, name, shape)
            found[method, level, shape] = known
            rows.append(replace(known, varied=name))
            say(f"{method}, {level}, {name} {getattr(shape, name)}: {known.seconds:.2f} s, {known.above_mib:.0f} MiB")
    return rows


def measure_apart(method: str, level: str, varied: str, shape: Shape) -> Row:
    """One point in a fresh process. Raises: InterpError where that fails, with the last line of what it said."""
    asked = json.dumps([method, level, asdict(shape)])
    done = subprocess.run(
        [sys.executable, "-m", "circuits.bench.scale", asked], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InterpError(f"bench --scale: {method} at level {level} on {shape} failed: {said[-1]}")
    return Row(method, level, varied, shape, **json.loads(done.stdout.strip().splitlines()[-1]))


def measure(method: str, level: str, shape: Shape) -> dict[str, float]:
    """Seconds and memory of one point in this process, which should have done nothing else before."""
    import torch

    from circuits.bench.workload import peak_memory, random_task
    from interp.attribution.request import prepare

    torch.set_num_threads(1)
    model = _model(shape)
    with warnings.catch_warnings(action="ignore"):  # nobody expects random tokens to be answered right
        prepare(model, random_task(model, 1, 2), methods=[method], level=level).score(show_progress=False)
        before = peak_memory(model)
        task, start = random_task(model, shape.prompts, shape.length), time.process_time()
        request = prepare(model, task, methods=[method], level=level, batch_size=min(BATCH, shape.prompts))
        request.score(show_progress=False)
    seconds, above = time.process_time() - start, peak_memory(model) - before
    return {"seconds": seconds, "above_mib": above, "planned_mib": request.memory.total / 2**20}


def _model(shape: Shape) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from interp.model.model import HookedModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=max(1, shape.width // D_HEAD),
        n_positions=max(64, shape.length),
        vocab_size=1000,
    )
    return HookedModel(GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval(), name="random GPT-2")


# ---------------------------------------------------------------- files


def save(rows: Sequence[Row], out: Path) -> list[Path]:
    """Write the rows as JSON to `out`, and the plot beside it with the ending .svg."""
    picture = out.with_suffix(".svg")
    write_text(out, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    write_text(picture, plot(rows) + "\n")
    return [out, picture]


def plot(rows: Sequence[Row]) -> str:
    """An SVG with time above memory, and a column for each field that was varied; lines are methods."""
    names = list(dict.fromkeys(row.varied for row in rows))
    width, height = 300, 240
    parts = [element("style", {}, STYLE), element("rect", {"width": "100%", "height": "100%"})]
    for column, name in enumerate(names):
        own = [row for row in rows if row.varied == name]
        for line, quantity in enumerate(("seconds", "above_mib")):
            parts.append(_panel(own, name, quantity, 70 + width * column, 20 + height * line))
    for i, (method, level) in enumerate(WORKS):
        mark = {"d": f"M{70 + 160 * i} {2 * height + 20}h24", "style": f"stroke:{COLOURS[i]}"}
        parts += [
            element("path", {k: str(v) for k, v in mark.items()}),
            label(100 + 160 * i, 2 * height + 24, f"{method}, {level}"),
        ]
    spoken = f"CPU seconds and peak memory against {', '.join(names)}"
    picture = str(drawing(width * len(names) + 20, 2 * height + 40, spoken, *parts))
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _panel(rows: Sequence[Row], varied: str, quantity: str, left: float, top: float) -> Any:
    """One quantity against one field, both from zero."""
    most = max(getattr(row, quantity) for row in rows)
    last = max(getattr(row.shape, varied) for row in rows)
    x, y = Scale(0, last, left, left + 210), Scale(0, 1.05 * most, top + 160, top)
    words = {"seconds": "CPU seconds", "above_mib": "MiB above the model"}[quantity]
    unit = {"prompts": "prompt pairs", "length": "tokens per prompt", "width": "d_model"}.get(varied, varied)
    parts = [axes(x, y, numbered(ticks(0, last, 4)), numbered(ticks(0, most, 4)), (unit, words))]
    for colour, work in zip(COLOURS, WORKS, strict=True):
        points = sorted((getattr(r.shape, varied), getattr(r, quantity)) for r in rows if (r.method, r.level) == work)
        drawn = path([(x(a), y(b)) for a, b in points], "")
        parts.append(element("g", {"style": f"stroke:{colour}"}, drawn))
    return element("g", {}, *parts)


if __name__ == "__main__":
    _method, _level, _shape = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(measure(_method, _level, Shape(**_shape))) + "\n")
