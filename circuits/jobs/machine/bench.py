"""`circuits bench`: what is asked for, measured, printed, and written as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from json import dumps
from pathlib import Path
from typing import Any, Final

import torch

from circuits.bench import scale
from circuits.bench.attribution_cost import DEFAULT, bench_attribution
from circuits.bench.exact_cost import bench_exact
from circuits.bench.mask_cost import bench_masks
from circuits.bench.peers import bench_peers
from circuits.bench.training_cost import Throughput, Training, measured
from circuits.bench.workload import GPT2_SMALL, Measurement, Size, Skipped, gpt2_small_random
from circuits.console import printing
from circuits.jobs.assessing import check_file
from circuits.runs.made_with import machine, packages, versions
from circuits.settings.machine_options import Benchmark
from circuits.settings.run_options import MachineOptions, listed
from interp.attribution.asking.checks import check
from interp.attribution.asking.request_options import Request, StepOptions
from interp.attribution.methods import get_method
from interp.dictionaries.training.steps.options import ARCHITECTURES
from interp.errors import InterpError, unknown
from interp.files import write_text
from interp.model.model import HookedModel
from interp.option import keywords

PARTS: Final = ("attribution", "exact", "masks", "peers")
Found = Measurement | Skipped


def run(asked: Benchmark) -> None:
    """The benchmark that the options name. Raises: InterpError for options of two of them."""
    of_models = keywords(asked, MachineOptions, StepOptions) | {
        name: getattr(asked, name) for name in ("model", "parts", "methods", "level", "length")
    }
    if asked.out is not None:
        check_file(asked.out, force=True)
    other = any(value != getattr(Benchmark(), name) for name, value in of_models.items())
    if asked.sae:
        if asked.scale or other:
            raise InterpError(
                "--sae runs no model; only --architecture, --d-in, --d-sae, --k, --batch, --repeats, --out and --json go with it."
            )
        bench_sae(asked)
    elif (asked.architecture, asked.d_in, asked.d_sae, asked.k) != (None, None, None, None):
        raise InterpError("--architecture, --d-in, --d-sae and --k are about dictionaries; expected --sae with them.")
    elif asked.scale:
        if other or (asked.batch, asked.repeats) != (None, 7):
            raise InterpError("--scale has models and sizes of its own; only --out and --json go with it.")
        bench_scale(asked.out, asked.json)
    else:
        bench(asked)


def check_parts(parts: Sequence[str]) -> None:
    """Raises: InterpError for a part that does not exist."""
    if odd := [part for part in parts if part not in PARTS]:
        raise InterpError(unknown("part of the benchmark", odd[0], PARTS))


def wanted(
    methods: Sequence[str] | None, level: str | None, steps: int | None
) -> tuple[tuple[str, str, int | None], ...]:
    """(method, level, steps) to measure: those named, else the default ones; with a level alone three base-point methods."""
    if methods is None and level is None:
        return tuple((method, own, known and (steps or known)) for method, own, known in DEFAULT)
    chosen = methods or ("eap" if level == "edges" else "atp", "relp", "relp-ah")
    return tuple((method, level or "heads", steps) for method in chosen)


def bench(asked: Benchmark) -> None:
    """Measure attribution and exact patching, print a table or JSON, and write JSON to `out`."""
    from circuits.jobs.inputs import load_model

    parts = listed(asked.parts) if asked.parts else _parts(asked)
    check_parts(parts)
    attribution = wanted(listed(asked.methods) if asked.methods else None, asked.level, asked.steps)
    for method, level, steps in attribution:
        check(Request(methods=[method], level=level, steps=steps if get_method(method).uses_steps else None))
    size = Size(asked.batch or 8, asked.length, asked.repeats)
    if asked.model == GPT2_SMALL and (asked.dtype or asked.device):
        raise InterpError(
            f"--dtype and --device go with models that are loaded; {GPT2_SMALL!r} is made in float32 on the CPU."
        )
    model = gpt2_small_random() if asked.model == GPT2_SMALL else load_model(asked.model, asked.dtype, asked.device)
    found = []
    for one in _measure(model, parts, attribution, size):
        found.append(one)
        printing.say(_line(one))
    data = _described(model, size, found)
    if asked.out is not None:
        write_text(asked.out, dumps(data, indent=2) + "\n")
    if asked.json:
        printing.as_json(data)
    else:
        _print(model, size, found)


def _parts(asked: Benchmark) -> list[str]:
    """What is measured where that is not said: all, or the level or the methods that are."""
    if asked.methods or asked.level:
        return ["attribution", "masks"] if asked.level == "edges" and not asked.methods else ["attribution"]
    return list(PARTS)


def _measure(
    model: HookedModel, parts: Sequence[str], attribution: Sequence[tuple[str, str, int | None]], size: Size
) -> Iterator[Found]:
    if "attribution" in parts:
        yield from bench_attribution(model, attribution, size)
    if "exact" in parts:
        yield from bench_exact(model, size)
    if "masks" in parts:
        yield from bench_masks(model, size)
    if "peers" in parts:
        yield from bench_peers(model, size)


def _line(one: Found) -> str:
    if isinstance(one, Skipped):
        return f"{one.group}: {one.name}: not measured: {one.reason}"
    return f"{one.group}: {one.name}: {one.ratio:.3f} x ({one.unit})"


def _described(model: HookedModel, size: Size, found: Sequence[Found]) -> dict[str, Any]:
    """Everything measured, and what it was measured on."""
    return {
        "model": model.name,
        "architecture": type(model.hf).__name__,
        "dtype": str(model.dtype),
        "device": str(model.device),
        "size": asdict(size),
        "machine": machine(),
        "versions": versions(),
        **packages(),
        "measured": [asdict(one) for one in found if isinstance(one, Measurement)],
        "not_measured": [asdict(one) for one in found if isinstance(one, Skipped)],
    }


def _print(model: HookedModel, size: Size, found: Sequence[Found]) -> None:
    rows = []
    for one in found:
        if isinstance(one, Skipped):
            rows.append((one.name, "-", one.reason, ""))
            continue
        memory = _memory(one)
        note = memory if one.bound is None else f"needs at least {one.bound:.0%} of this arithmetic"
        rows.append((one.name, f"{one.ratio:.3f}", one.unit, note))
    title = f"{model.name}, batch {size.batch} x {size.length}, medians"
    columns = ("what", "ratio", "to", "note")
    printing.table(title, columns, rows)


def _memory(one: Measurement) -> str:
    """What is known of its memory and its multiply-adds."""
    above = "" if one.above_mib is None else f"{one.above_mib:+.0f} MiB above plain"
    counted = "" if one.counted is None else f"{one.counted:.2f} F of multiply-adds"
    return ", ".join(filter(None, (counted, above)))


# ---------------------------------------------------------------- training of dictionaries, and growth with size


def bench_sae(asked: Benchmark) -> None:
    """Measure training, print a table or JSON, and write JSON to `out`. Raises: InterpError for an unknown architecture."""
    size = Training(asked.d_in or 768, asked.d_sae or 6144, asked.k or 32, asked.batch or 4096, asked.repeats)
    chosen = list(ARCHITECTURES) if asked.architecture in (None, "all") else listed(asked.architecture or "")
    if odd := [name for name in chosen if name not in ARCHITECTURES]:
        raise InterpError(unknown("architecture", odd[0], (*ARCHITECTURES, "all")))
    found = []
    for one in measured(chosen, size):
        found.append(one)
        beside = "sae-lens does not train it" if one.ratio is None else f"{one.ratio:.2f} x sae-lens"
        printing.say(f"{one.architecture}: {one.tokens_per_second:,.0f} tokens/s, {beside}")
    data = {
        "size": asdict(size),
        "machine": machine(),
        "versions": versions() | {"sae-lens": version("sae-lens")},
        "measured": [asdict(one) for one in found],
    }
    if asked.out is not None:
        write_text(asked.out, dumps(data, indent=2) + "\n")
    if asked.json:
        printing.as_json(data)
    else:
        _print_training(size, found)


def _print_training(size: Training, found: Sequence[Throughput]) -> None:
    rows = [
        (
            one.architecture,
            f"{one.tokens_per_second:,.0f}",
            "-" if one.sae_lens is None else f"{one.sae_lens:,.0f}",
            "-" if one.ratio is None else f"{one.ratio:.2f}",
        )
        for one in found
    ]
    title = f"{size.d_in} -> {size.d_sae}, k {size.k}, {size.batch} tokens a step, {torch.get_num_threads()} threads"
    printing.table(title, ("architecture", "tokens/s", "sae-lens", "ratio"), rows)


def bench_scale(out: Path | None, as_json: bool) -> None:
    """Measure all of it, print a table or JSON, and write the files where `out` is given."""
    rows = scale.scale(say=printing.say)
    if out is not None:
        scale.save(rows, out)
    if as_json:
        printing.as_json([asdict(row) for row in rows])
        return
    cells = [
        (
            f"{r.method}, {r.level}",
            f"{r.varied} {getattr(r.shape, r.varied)}",
            f"{r.seconds:.2f} s",
            f"{r.above_mib:.0f} MiB",
            f"{r.planned_mib:.0f} MiB",
        )
        for r in rows
    ]
    printing.table(f"else {scale.Shape()}", ("what", "at", "CPU time", "peak above the model", "planned"), cells)
