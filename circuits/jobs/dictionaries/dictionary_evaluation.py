"""`sae eval`: dictionaries and text in, numbers, dashboards and a report out. Nothing is written before all is known.

manifest.json, config.toml
evaluation.json, densities.parquet, dashboards.json, probe-NAME.json, report.html
    (for several dictionaries in a folder each, of the name that it has where it was read)
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.jobs.inputs import load_model, note_models, note_weights
from circuits.runs import directory
from circuits.runs.made_with import file_hashes, machine, to_toml, versions
from circuits.runs.model_files import described
from circuits.settings.dictionary_options import DictionaryJudgement
from circuits.settings.run_options import OutputOptions
from interp.errors import InterpError
from interp.files import write_text
from interp.formatting.parquet import write_columns
from interp.model.model import HookedModel
from interp.option import options_of, plain

if TYPE_CHECKING:
    from interp.dictionaries.dictionary import Dictionary
    from interp.dictionaries.evaluation.dashboard_values import Dashboard
    from interp.dictionaries.evaluation.evaluated_text import Text
    from interp.dictionaries.evaluation.measured import DictionaryEvaluation
    from interp.dictionaries.evaluation.probing import ProbeResult

#: Sizes of sparse probes; those beyond a dictionary's features or width are left out.
PROBES: Final = (1, 5, 20)
#: Loading, evaluating, looking at features, writing.
PHASES: Final = 4


@dataclass(frozen=True)
class Found:
    """What there is to say of one dictionary."""

    evaluation: DictionaryEvaluation
    dashboards: tuple[Dashboard, ...]
    probes: tuple[ProbeResult, ...]


def evaluate(asked: DictionaryJudgement) -> None:
    """Check, evaluate, write, print."""
    started, created = time.perf_counter(), directory.now()
    path = asked.out or directory.free_name(_stem(asked))
    directory.check_target(path, asked.force)
    _check(asked)
    dictionaries = _dictionaries(asked)
    with telling(PHASES, asked.quiet) as say:
        say.phase(f"loading {asked.model}")
        model = load_model(asked.model, asked.dtype, asked.device, asked.adapter)
        note_models(model, dictionaries.values(), say)
        dictionaries = {name: d.to(device=model.device) for name, d in dictionaries.items()}
        found = _work(asked, model, list(dictionaries.values()), say)
        say.phase("writing the report")
        manifest = _manifest(asked, model, dictionaries) | {"created": created}
        note_weights(manifest, say)
        with directory.open_run(path, manifest, force=asked.force) as folder:
            write_text(folder / "config.toml", to_toml(_config(asked)))
            for name, one in zip(dictionaries, found, strict=True):
                _write(one, folder if len(found) == 1 else folder / name)
            directory.complete(
                folder, directory.finished(manifest | {"seconds": round(time.perf_counter() - started, 2)})
            )
    _print(dict(zip(dictionaries, found, strict=True)), path, asked.json)


# ---------------------------------------------------------------- work


def _dictionaries(asked: DictionaryJudgement) -> dict[str, Dictionary]:
    """By the name of their folders. A folder may hold several of one site: they are compared, not spliced in together."""
    from interp.dictionaries.storage import HUB, dictionary_folders, load_dictionary

    where: dict[str, Any] = {"site": asked.site, "target": asked.target, "scaling_factor": asked.scaling_factor}
    if asked.dictionary.startswith(HUB):
        return {asked.dictionary: load_dictionary(asked.dictionary, **where)}
    folders = dictionary_folders(asked.dictionary)
    if len(folders) > 1 and any(value is not None for value in where.values()):
        raise InterpError(
            f"{asked.dictionary!r} holds {len(folders)} dictionaries; --site, --target and --scaling-factor speak of one."
        )
    return {folder.name: load_dictionary(folder, **where) for folder in folders}


def _check(asked: DictionaryJudgement) -> None:
    """What can be refused without the model and the dictionaries. Raises: InterpError."""
    from interp.dictionaries.evaluation.evaluated_text import check_numbers
    from interp.dictionaries.training.data.reading import check_there
    from interp.probes.labelled_texts import read_labels

    check_numbers(asked.tokens, asked.context, asked.seed, asked.hold_out)
    if asked.pca < 0:
        raise InterpError(f"pca={asked.pca}: expected 1 component or more, or 0 for none.")
    if len({_plain(path.stem).lower() for path in (asked.probe or ())}) < len(asked.probe or ()):
        raise InterpError(
            "--probe: two files of one name, or nearly; their results are named after its first 40 letters, so rename one."
        )
    for path in asked.probe or ():
        read_labels(path)
    check_there(_data(asked))


def _data(asked: DictionaryJudgement) -> str:
    """What is read. Raises: InterpError where nothing is given."""
    if data := asked.data or ("demo" if asked.model == "demo" else ""):
        return data
    raise InterpError("no data: give --data, a text file or a dataset on disk.")


def _work(
    asked: DictionaryJudgement, model: HookedModel, dictionaries: Sequence[Dictionary], say: Telling
) -> list[Found]:
    """What does not fit is refused before the long part: labels, and text."""
    from interp.dictionaries.evaluation.evaluate import evaluate_on
    from interp.dictionaries.evaluation.evaluated_text import read_text
    from interp.probes.labelled_texts import labelled, read_labels

    for path in asked.probe or ():
        labelled(model, read_labels(path))
    names = ("tokens", "context", "seed", "keep_bos", "hold_out")
    settings = {name: getattr(asked, name) for name in names}
    text = read_text(model, _data(asked), **settings)
    say.phase(f"evaluating {len(dictionaries)} of {asked.dictionary} on {text.tokens:,} tokens of {text.name}")
    numbers = evaluate_on(model, dictionaries, text, pca=asked.pca or None, settings=settings)
    say.phase("looking at features")
    return [_looked_at(asked, model, d, e, text) for d, e in zip(dictionaries, numbers, strict=True)]


def _looked_at(
    asked: DictionaryJudgement, model: HookedModel, d: Dictionary, evaluation: DictionaryEvaluation, text: Text
) -> Found:
    from interp.dictionaries.evaluation.dashboards import make_dashboards
    from interp.dictionaries.evaluation.probing import probe

    shown: tuple[Dashboard, ...] = ()
    if asked.dashboards:
        shown = make_dashboards(
            model, d, text.in_order(), n_features=asked.dashboards, keep_bos=asked.keep_bos, seed=asked.seed
        )
    ks = [k for k in PROBES if k <= min(d.n_features, d.d_in)]
    probes = tuple(probe(model, d, path, ks=ks, seed=asked.seed) for path in (asked.probe or ()))
    return Found(evaluation, shown, probes)


# ---------------------------------------------------------------- files


def _write(found: Found, folder: Path) -> None:
    from circuits.report.pages import render_dictionary
    from interp.dictionaries.evaluation.dashboards import save_dashboards

    folder.mkdir(exist_ok=True)
    found.evaluation.save(folder / "evaluation.json")
    _save_densities(found.evaluation, folder / "densities.parquet")
    if found.dashboards:
        save_dashboards(found.dashboards, folder / "dashboards.json")
    for one in found.probes:
        one.save(folder / f"probe-{_plain(one.name)}.json")
    write_text(folder / "report.html", render_dictionary(found.evaluation, found.dashboards, found.probes))


def _save_densities(evaluation: DictionaryEvaluation, path: Path) -> None:
    """One row per feature: its number, the tokens on which it is active, and their share."""
    import pyarrow as pa

    columns = {"feature": range(evaluation.n_features), "tokens": evaluation.counts, "density": evaluation.densities}
    write_columns(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def _config(asked: DictionaryJudgement) -> dict[str, Any]:
    """The options that make the numbers, as plain data."""
    found = {name: value for name, value in plain(asked).items() if name not in options_of(OutputOptions)}
    adapter = None if asked.adapter is None else str(asked.adapter.resolve())
    return {**found, "adapter": adapter, "probe": [str(path) for path in asked.probe or ()]}


def _stem(asked: DictionaryJudgement) -> str:
    return f"sae-{_plain(Path(asked.model).name)}-{_plain(Path(asked.dictionary).name)}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:40].strip("_.") or "x"


def _manifest(asked: DictionaryJudgement, model: HookedModel, dictionaries: Mapping[str, Dictionary]) -> dict[str, Any]:
    source = Path(asked.dictionary)
    return {
        "command": shlex.join(["circuits", *sys.argv[1:]]),
        "job": "sae eval",
        "options": _config(asked),
        "model": described(model),
        "dictionaries": {name: repr(d) for name, d in dictionaries.items()},
        "dictionary_files": _hashes(source) if source.is_dir() else {},
        "seeds": {"seed": asked.seed},
        "versions": {**versions(), "sae-lens": version("sae-lens")},
        "machine": machine(),
    }


def _hashes(source: Path) -> dict[str, str]:
    """SHA-256 of the files of the dictionaries, by folder and name."""
    from interp.dictionaries.storage import dictionary_folders

    folders = dictionary_folders(source)
    return {f"{x.name}/{name}": value for x in folders for name, value in file_hashes(x).items()}


# ---------------------------------------------------------------- what is printed


def _print(found: Mapping[str, Found], path: Path, json: bool) -> None:
    if json:
        said = [
            one.evaluation.summary() | {"folder": name, "probes": [p.to_dict() for p in one.probes]}
            for name, one in found.items()
        ]
        printing.as_json({"out": str(path), "dictionaries": said})
        return
    if len(found) > 1:
        _overview({name: one.evaluation for name, one in found.items()})
    for name, one in found.items():
        if len(found) == 1:
            e = one.evaluation
            printing.table(f"{e.dictionary}: {e.target}", ("number", "value"), _rows(e))
        for result in one.probes:
            title = f"probe {result.name}, held-out half of {result.n_test}" + (f", {name}" if len(found) > 1 else "")
            printing.table(title, _PROBE, _probe_rows(result))
    printing.lines(f"Report: {path / 'report.html' if len(found) == 1 else path / '*' / 'report.html'}")


_ALL: Final = ("features", "L0", "explained", "dead", "recovered (zero)", "recovered (mean)")


def _overview(found: Mapping[str, DictionaryEvaluation]) -> None:
    """A row for each dictionary, by what it makes up, or by its name where two make up the same site."""
    apart = len({e.target for e in found.values()}) == len(found)
    rows = [(e.target if apart else name, *_numbers(e)) for name, e in found.items()]
    printing.table("dictionaries", ("makes up" if apart else "dictionary", *_ALL), rows)


def _numbers(e: DictionaryEvaluation) -> tuple[str, ...]:
    """The cells below `_ALL`."""
    ce = e.cross_entropies
    recovered = ("undefined" if v is None else f"{v:.4f}" for v in (ce.recovered, ce.recovered_from_mean))
    return (f"{e.n_features:,}", f"{e.l0:.2f}", f"{e.explained_variance:.4f}", f"{e.dead_share:.1%}", *recovered)


def _rows(e: DictionaryEvaluation) -> list[tuple[str, str]]:
    ce = e.cross_entropies
    rows = {
        "tokens": f"{e.tokens:,}",
        "active features per token (L0)": f"{e.l0:.2f}",
        "explained variance": f"{e.explained_variance:.4f}",
        **{f"  PCA, {b.components} components": f"{b.explained_variance:.4f}" for b in e.pca},
        "cosine": f"{e.cosine:.4f}",
        "dead features": f"{e.dead:,} of {e.n_features:,} ({e.dead_share:.1%})",
        "dense features": f"{e.dense:,} ({e.dense_share:.1%})",
        "cross-entropy recovered, against zero": _share(ce.recovered),
        "cross-entropy recovered, against the mean": _share(ce.recovered_from_mean),
        "cross-entropy: clean, spliced, mean, zero": f"{ce.clean:.4f}, {ce.spliced:.4f}, {ce.mean:.4f}, {ce.zero:.4f}",
    }
    return list(rows.items())


def _share(value: float | None) -> str:
    return "undefined: the ablation does no harm" if value is None else f"{value:.4f}"


_PROBE: Final = ("of", "k", "accuracy", "balanced", "AUC")


def _probe_rows(result: ProbeResult) -> list[tuple[str, ...]]:
    found = []
    for row in result.rows:
        measures = (row.quality.accuracy, row.quality.balanced, row.quality.auc)
        found.append((row.what, str(row.k or ""), *(f"{m.value:.3f}" for m in measures)))
    return found
