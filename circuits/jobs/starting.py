"""`circuits init`: a commented file of options, and prompts to begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import Final

from circuits.console.printing import called
from interp.errors import InterpError
from interp.files import write_text
from interp.option import Option

CONFIG: Final = "circuits.toml"
PROMPTS: Final = "prompts.jsonl"
#: What the file sets; everything else is a comment with its default.
SET: Final = {"model": "demo", "task": PROMPTS}
#: Options of a call, not of what it finds.
OF_A_CALL: Final = ("json", "quiet", "force")
WIDTH: Final = 100

_HEAD: Final = """\
# Options of `circuits discover {config}`: those with a # in front are at their default or not given.
# Take the # away to change one (what is not given needs a value first); options on the command line come before these.
# Files are relative to this one.

# The prompts are in {prompts}: one pair per line, a JSON object each, with these keys:
#   "clean"    a prompt that the model continues with the answer
#   "corrupt"  the same prompt with one fact changed, and with as many tokens
#   "answer"   the token right after the clean prompt, with its leading space; a list where several are right
#   "wrong"    the token right after the corrupt prompt, which is wrong after the clean one
# The pairs in it are enough to try; take 50 or more for numbers to believe. Half of them score, the other half evaluates.
"""
_TEXT: Final = "When {a} and {b} went to the store, {b} gave a book to"
_OTHER: Final = "When {a} and {b} went to the store, {a} gave a book to"
_NAMES: Final = ("Mary", "John", "Anna", "Tom")


def start(folder: Path, options: Iterable[Option], force: bool) -> list[Path]:
    """Write both files. Raises: InterpError where one is there, or the folder cannot be written."""
    files = {folder / CONFIG: config_text(options), folder / PROMPTS: prompts_text()}
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise InterpError(f"{' and '.join(there)}: there already; choose another folder, or --force to replace.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            write_text(path, text)
    except OSError as error:
        raise InterpError(f"cannot write to {str(folder)!r}: {error.strerror or error}.") from error
    return list(files)


def next_command(config: Path) -> str:
    """What to run with a file of options."""
    return called("discover", str(config))


def config_text(options: Iterable[Option]) -> str:
    """Every option of a command with what it means and its default."""
    entries = (_entry(option) for option in options if option.name not in OF_A_CALL)
    return "\n".join([_HEAD.format(config=CONFIG, prompts=PROMPTS), *entries])


def _entry(option: Option) -> str:
    said = [f"# {line}" for line in wrap(option.help, WIDTH, break_on_hyphens=False)]
    return "\n".join([*said, *_value(option), ""])


def _value(option: Option) -> Iterator[str]:
    if option.name in SET:
        yield f"{option.name} = {json.dumps(SET[option.name])}"
    elif option.default is not None:
        yield f"#{option.name} = {json.dumps(option.default)}"
    else:
        yield f"#{option.name} =  # not given; {_KINDS[option.kind]}"


#: What to write for options that have no value unless they are given.
_KINDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    Path: "text in quotes",
    tuple: '["clean prompt", "corrupt prompt"]',
    list: "a list of texts in quotes",
}


def prompts_text() -> str:
    """A few pairs that the embedded model answers."""
    rows = [
        {"clean": _TEXT.format(a=a, b=b), "corrupt": _OTHER.format(a=a, b=b), "answer": f" {a}", "wrong": f" {b}"}
        for a in _NAMES
        for b in _NAMES
        if a != b
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
