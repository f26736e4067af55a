"""The options of `sae train`: a TOML file, `--set` and options of the command line, put together and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from circuits.cli.options.configuration import owners, read_toml
from circuits.jobs.dictionaries.dictionary_training import RUN, SEVERAL, is_file
from circuits.settings.dictionary_options import Training
from interp.errors import InterpError, unknown
from interp.option import keys_of, plain

_TEXTS: Final = ("model", "adapter", "data", "device", "cache", "architecture")


#: What is said of the run itself, on the command line only.
_OF_A_CALL: Final = ("config", "set", "out", "resume", "json", "quiet")


def merged(asked: Training) -> dict[str, Any]:
    """The options of the TOML file under those of the command line. Raises: InterpError for keys that do not exist."""
    found = {} if asked.config is None else _read(asked.config)
    found |= {key: value for key, value in plain(asked).items() if value is not None and key not in _OF_A_CALL}
    found |= dict(_assignment(text) for text in asked.set_ or ())
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
    return {key: str(Path(config.parent, value)) if is_file(key, value) else value for key, value in found.items()}


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
    from interp.dictionaries.training.loop.settings import SPEC_KEYS
    from interp.dictionaries.training.steps.options import ARCHITECTURES, COMMON

    own = {*SPEC_KEYS, *COMMON, *(key for options in ARCHITECTURES.values() for key in options)}
    valid = {*own, *more, *(RUN if more else ())}
    for key in found:
        if key not in valid:
            raise InterpError(unknown("option", key, valid) + _belongs(key))


def _belongs(key: str) -> str:
    """A sentence that says where a key belongs that has no meaning in its place; empty where nothing has it."""
    if key in RUN:
        return f" It is an option of the whole run: put it above the first [[{SEVERAL}]]."
    if key in keys_of(Training):
        return f" It is given on the command line only: --{key.replace('_', '-')}."
    return owners(key)


def _check_kinds(found: Mapping[str, Any]) -> None:
    """Raises: InterpError for values that nothing later would look at, or that would be taken for another."""
    for kind, word, names in ((str | Path, "text", _TEXTS), (bool, "true or false", ("keep_checkpoint",))):
        for name in names:
            if name in found and (not isinstance(found[name], kind) or found[name] == ""):
                raise InterpError(f"{name}={found[name]!r}: expected {word}.")
