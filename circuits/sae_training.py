"""`sae train`: a TOML file and options to a checked call, the run, its report, and how to go on where it was interrupted."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from circuits import runs, show
from circuits.configuration import options_of, owners, read_toml
from circuits.jobs import load_model
from circuits.progress import Telling, telling
from interp.errors import InterpError, unknown
from interp.files import write_text

#: Options of the run, beside those of a dictionary: keys of the TOML file.
RUN: Final = (
    "model", "data", "device", "tokens", "batch_tokens", "buffer", "context", "keep_bos", "hold_out", "held_out_tokens",
    "seed", "dtype", "cache", "checkpoint_every", "keep_checkpoint",
)  # fmt: skip
SEVERAL: Final = "dictionaries"
#: Options that name files: in a TOML file they are relative to it.
FILES: Final = ("model", "data", "cache")
#: Loading, training, writing.
PHASES: Final = 3
_TEXTS: Final = ("model", "data", "device", "cache", "architecture")
#: Active features on held-out text are far from k where they are so many times more or fewer.
FAR: Final = 1.5


class Interrupted(InterpError):
    """A run that was stopped by its user."""

    exit_code = 130


def train(
    config: Path | None,
    given: Mapping[str, Any],
    more: Sequence[str],
    *,
    out: Path | None,
    resume: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Train, write the report, print what was reached. Nothing is written before everything has been checked."""
    from circuits.report.training import render_training
    from interp.dictionaries.training.folder import COMPLETE, check_out, read_record

    asked = merged(config, given, more)
    run, specs = split(asked)
    place = out or runs.free_name(_stem(run, specs))
    if resume and out is None:
        raise InterpError("--resume goes on with the run at --out: give its folder.")
    before = check_out(place, resume, "--resume")
    finished = before is not None and before["status"] == COMPLETE
    with telling(PHASES, quiet) as say:
        _run(run, specs, place, resume, say)
        record = read_record(place)
        if record is None:
            raise InterpError(f"{str(place)!r} was removed while the run went on.")
        if passes := record["source"].get("epoch", 0):
            say(f"the data are fewer than the tokens: training ended in pass {passes + 1} over them")
        say.phase("writing the report")
        write_text(place / "config.toml", _to_toml(asked))
        write_text(place / "report.html", render_training(record))
    _print(record, place, json, finished)


def _run(run: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], place: Path, resume: bool, say: Telling) -> None:
    """The training itself; warnings and Ctrl-C in words."""
    from interp.dictionaries.training.run import ResumeWarning, train_dictionaries

    say.phase(f"loading {run['model']}")
    model = load_model(run["model"], None, run.get("device"))
    options = {key: value for key, value in run.items() if key not in ("model", "device", "data")}
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
    from circuits.report.training import finding

    asked = record["identity"]["dictionaries"]
    for name, final in record["final"].items():
        _warn_of_l0(name, asked[name], final)
    if json:
        kept = {k: v for k, v in record.items() if k not in ("log", "identity")}
        show.as_json({"out": str(place), **kept})
        return
    for name, final in record["final"].items():
        show.lines(finding(name, asked[name], final))
    took = f"{record['tokens_per_second']:,.0f} tokens/s, {record['seconds']:,.0f} s"
    took = f"This run was finished before: nothing was trained (then: {took})" if finished else took
    show.lines(f"{took}. Report: {place / 'report.html'}")
    show.lines(f"open it: {show.called('open', str(place))}")


def _warn_of_l0(name: str, wanted: Mapping[str, Any], final: Mapping[str, float]) -> None:
    """Say so where the features that are active on held-out text are far from k."""
    from interp.dictionaries.training.options import ARCHITECTURES

    k, l0 = wanted["options"].get("k", ARCHITECTURES[wanted["architecture"]].get("k")), final.get("held_out_l0")
    if k is None or l0 is None or k / FAR <= l0 <= k * FAR:
        return
    advice = "its threshold is not settled: train on more tokens" if l0 > k else "see how many features are dead"
    show.say(f"WARNING: {name} has {l0:.1f} active features per token on held-out text, and k is {k}; {advice}")


def _interrupted(place: Path) -> Interrupted:
    """What a user is told after Ctrl-C. The command that goes on is the one that was given."""
    from interp.dictionaries.training.folder import RECORD

    if not (place / RECORD).exists():
        return Interrupted("interrupted before the first step; nothing was written.")
    words = ["circuits", *sys.argv[1:]]
    words += [] if "--resume" in words else ["--resume"]
    words += [] if any(word.split("=")[0] == "--out" for word in words) else ["--out", str(place)]
    return Interrupted(f"interrupted; go on with: {shlex.join(words)}")


# ---------------------------------------------------------------- options


def merged(config: Path | None, given: Mapping[str, Any], more: Sequence[str]) -> dict[str, Any]:
    """The options of the TOML file under those of the command line. Raises: InterpError for keys that do not exist."""
    found = {} if config is None else _read(config)
    found |= {key: value for key, value in given.items() if value is not None}
    found |= dict(_assignment(text) for text in more)
    _check_keys(found, SEVERAL)
    _check_kinds(found)
    for table in found.get(SEVERAL, []):
        _check_keys(table)
    found.setdefault("model", "demo")
    if found["model"] == "demo":
        found.setdefault("data", "demo")
    if "data" not in found:
        raise InterpError("no data: give --data, a text file or a dataset on disk.")
    return found


def _read(config: Path) -> dict[str, Any]:
    """The options in the file; names of files as seen from the working directory."""
    found = read_toml(config)
    tables = found.get(SEVERAL, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InterpError(f"{str(config)!r}: {SEVERAL} is no list of tables; write [[{SEVERAL}]] before each.")
    for key, value in found.items():
        if isinstance(value, dict):
            raise InterpError(f"{str(config)!r}: [{key}] is a section; options stand at the top, without one.")
    _check_kinds(found)
    return {key: str(Path(config.parent, value)) if _is_file(key, value) else value for key, value in found.items()}


def _is_file(key: str, value: object) -> bool:
    """Whether an option names a file or a folder."""
    return key in FILES and value != "demo" and not str(value).startswith("hf:")


def _assignment(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as TOML has it or else as text."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip() or key.strip() == SEVERAL:
        raise InterpError(f"--set {text!r}: expected KEY=VALUE, with a key of one dictionary or of the run.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _check_keys(found: Mapping[str, Any], *more: str) -> None:
    from interp.dictionaries.training.options import ARCHITECTURES, COMMON
    from interp.dictionaries.training.settings import SPEC_KEYS

    own = {*SPEC_KEYS, *COMMON, *(key for options in ARCHITECTURES.values() for key in options)}
    valid = {*own, *more, *(RUN if more else ())}
    for key in found:
        if key not in valid:
            raise InterpError(unknown("option", key, valid) + _belongs(key))


def _belongs(key: str) -> str:
    """A sentence that says where a key belongs that has no meaning in its place; empty where nothing has it."""
    from circuits.commands.sae import train as command

    if key in RUN:
        return f" It is an option of the whole run: put it above the first [[{SEVERAL}]]."
    if key in options_of(command):
        return f" It is given on the command line only: --{key.replace('_', '-')}."
    return owners(key)


def _check_kinds(found: Mapping[str, Any]) -> None:
    """Raises: InterpError for values that nothing later would look at, or that would be taken for another."""
    for kind, word, names in ((str | Path, "text", _TEXTS), (bool, "true or false", ("keep_checkpoint",))):
        for name in names:
            if name in found and (not isinstance(found[name], kind) or found[name] == ""):
                raise InterpError(f"{name}={found[name]!r}: expected {word}.")


def split(asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of the run, and those of each dictionary: the common ones under its own."""
    run = {key: value for key, value in asked.items() if key in RUN}
    if isinstance(buffer := run.get("buffer"), str) and buffer.strip().isdigit():
        run["buffer"] = int(buffer)
    common = {key: value for key, value in asked.items() if key not in RUN and key != SEVERAL}
    tables = asked.get(SEVERAL) or [{}]
    return run, [{**common, **table} for table in tables]


def _stem(run: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> str:
    parts = ("sae", run["model"], specs[0].get("site", "site"), specs[0].get("architecture", "topk"))
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(part))[-40:].strip("_.") or "x" for part in parts)


def _to_toml(asked: Mapping[str, Any]) -> str:
    """The options as a file that does the same again."""
    whole = {key: str(Path(value).resolve()) for key, value in asked.items() if _is_file(key, value)}
    plain = {key: value for key, value in {**asked, **whole}.items() if key != SEVERAL}
    tables = asked.get(SEVERAL, [])
    return "\n".join([runs.to_toml(plain), *(f"[[{SEVERAL}]]\n{runs.to_toml(table)}" for table in tables)])
