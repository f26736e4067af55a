"""`sae train`: options to a checked call, the run, its report, and how to go on where it was interrupted."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.jobs.inputs import load_model, note_weights
from circuits.runs import directory
from circuits.runs.made_with import to_toml
from circuits.runs.model_files import described
from circuits.settings.dictionary_options import Training
from interp.errors import InterpError
from interp.files import write_text
from interp.option import options_of

#: Options of the run, beside those of a dictionary: keys of the TOML file.
RUN: Final = (
    "model", "adapter", "data", "device", "tokens", "batch_tokens", "buffer", "context", "keep_bos", "hold_out", "held_out_tokens",
    "seed", "dtype", "cache", "checkpoint_every", "keep_checkpoint",
)  # fmt: skip
SEVERAL: Final = "dictionaries"
#: What says which model runs, on which text.
_LOADED: Final = ("model", "adapter", "data", "device")
#: Loading, training, writing.
PHASES: Final = 3
#: Active features on held-out text are far from k where they are so many times more or fewer.
FAR: Final = 1.5


class Interrupted(InterpError):
    """A run that was stopped by its user."""

    exit_code = 130


def train(call: Training, asked: Mapping[str, Any]) -> None:
    """Train as `asked`, write the report, print what was reached. Nothing is written before everything has been checked.

    call: what the command line said; asked: its options over those of its file.
    """
    from circuits.report.pages import render_training
    from interp.dictionaries.training.checkpoints.folder import COMPLETE, check_out, read_record
    from interp.dictionaries.training.data.reading import check_there
    from interp.dictionaries.training.train_dictionaries import check_training

    run, specs = split(asked)
    place = call.out or directory.free_name(_stem(run, specs))
    if call.resume and call.out is None:
        raise InterpError("--resume goes on with the run at --out: give its folder.")
    before = check_out(place, call.resume, "--resume")
    check_there(str(run["data"]))
    check_training(specs, **{key: value for key, value in run.items() if key not in _LOADED})
    finished = before is not None and before["status"] == COMPLETE
    with telling(PHASES, call.quiet) as say:
        _run(run, specs, place, call.resume, say)
        record = read_record(place)
        if record is None:
            raise InterpError(f"{str(place)!r} was removed while the run went on.")
        if passes := record["source"].get("epoch", 0):
            say(f"the data are fewer than the tokens: training ended in pass {passes + 1} over them")
        say.phase("writing the report")
        write_text(place / "config.toml", _to_toml(asked))
        write_text(place / "report.html", render_training(record))
    _print(record, place, call.json, finished)


def _run(run: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], place: Path, resume: bool, say: Telling) -> None:
    """The training itself; warnings and Ctrl-C in words."""
    from interp.dictionaries.training.train_dictionaries import ResumeWarning, train_dictionaries

    say.phase(f"loading {run['model']}")
    model = load_model(run["model"], None, run.get("device"), run.get("adapter"))
    note_weights({"model": described(model)}, say)
    options = {key: value for key, value in run.items() if key not in _LOADED}
    options |= {"show_progress": say.moves, "say": say}
    say.phase(f"training {len(specs)} {'dictionary' if len(specs) == 1 else 'dictionaries'}", alone=True)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", ResumeWarning)
            train_dictionaries(model, run["data"], specs, **options, out=place, resume=resume)
    except KeyboardInterrupt:
        raise _interrupted(place) from None
    for warning in seen:
        if issubclass(warning.category, ResumeWarning):
            say(f"WARNING: {warning.message}")


def _print(record: Mapping[str, Any], place: Path, json: bool, finished: bool) -> None:
    """finished: before this call, which then trained nothing."""
    from circuits.report.dictionary.training_page import finding

    asked = record["identity"]["dictionaries"]
    for name, final in record["final"].items():
        _warn_of_l0(name, asked[name], final)
    if json:
        kept = {k: v for k, v in record.items() if k not in ("log", "identity")}
        printing.as_json({"out": str(place), **kept})
        return
    for name, final in record["final"].items():
        printing.lines(finding(name, asked[name], final))
    took = f"{record['tokens_per_second']:,.0f} tokens/s, {record['seconds']:,.0f} s"
    took = f"This run was finished before: nothing was trained (then: {took})" if finished else took
    printing.lines(f"{took}. Report: {place / 'report.html'}")
    printing.lines(f"open it: {printing.called('open', str(place))}")


def _warn_of_l0(name: str, wanted: Mapping[str, Any], final: Mapping[str, float]) -> None:
    """Say so where the features that are active on held-out text are far from k."""
    from interp.dictionaries.training.steps.options import ARCHITECTURES

    k, l0 = wanted["options"].get("k", ARCHITECTURES[wanted["architecture"]].get("k")), final.get("held_out_l0")
    if k is None or l0 is None or k / FAR <= l0 <= k * FAR:
        return
    advice = "its threshold is not settled: train on more tokens" if l0 > k else "see how many features are dead"
    printing.say(f"WARNING: {name} has {l0:.1f} active features per token on held-out text, and k is {k}; {advice}")


def _interrupted(place: Path) -> Interrupted:
    """What a user is told after Ctrl-C. The command that goes on is the one that was given."""
    from interp.dictionaries.training.checkpoints.folder import RECORD

    if not (place / RECORD).exists():
        return Interrupted("interrupted before the first step; nothing was written.")
    words = ["circuits", *sys.argv[1:]]
    words += [] if "--resume" in words else ["--resume"]
    words += [] if any(word.split("=")[0] == "--out" for word in words) else ["--out", str(place)]
    return Interrupted(f"interrupted; go on with: {shlex.join(words)}")


# ---------------------------------------------------------------- options


def is_file(key: str, value: object) -> bool:
    """Whether an option names a file or a folder."""
    known = options_of(Training)
    return key in known and known[key].is_file(value)


def split(asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of the run, and those of each dictionary: the common ones under its own."""
    run = {key: value for key, value in asked.items() if key in RUN}
    if isinstance(buffer := run.get("buffer"), str) and buffer.strip().isdigit():
        run["buffer"] = int(buffer)
    common = {key: value for key, value in asked.items() if key not in RUN and key != SEVERAL}
    tables = asked.get(SEVERAL) or [{}]
    return run, [{**common, **table} for table in tables]


def _stem(run: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> str:
    own = [run["model"], *([Path(run["adapter"]).name] if "adapter" in run else [])]
    parts = ("sae", *own, specs[0].get("site", "site"), specs[0].get("architecture", "topk"))
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(part))[-40:].strip("_.") or "x" for part in parts)


def _to_toml(asked: Mapping[str, Any]) -> str:
    """The options as a file that does the same again."""
    whole = {key: str(Path(value).resolve()) for key, value in asked.items() if is_file(key, value)}
    plain = {key: value for key, value in {**asked, **whole}.items() if key != SEVERAL}
    tables = asked.get(SEVERAL, [])
    return "\n".join([to_toml(plain), *(f"[[{SEVERAL}]]\n{to_toml(table)}" for table in tables)])
