"""The error catalogue: every error of the packages and every message, read from the code without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tables import code, markdown

ROOT = Path(__file__).resolve().parent.parent
BASE = "InterpError"
DEFAULT_EXIT_CODE = 2
#: An error that a function or registry is handed, by the name that it has there: its messages stand under the one that most are.
HANDED = {"fault": "TableError", "error": "InterpError", "unread": "TaskError"}
#: What stands for a value that is filled in.
GAP = "…"
_TO_DO = re.compile(
    r"(?:(?<=[;,] )|(?<=[.:] )|^)(?=(?:expected|give|use|take|choose|write|pass|name|say|see|try|leave|load|look|score|call|put|keep|run|"
    r"draw|train|ask|set|make|install|render|evaluate|did you mean|valid|available|there)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ErrorClass:
    """An error: where it is, what it says of itself, with which code the command line ends."""

    name: str
    bases: tuple[str, ...]
    module: str
    doc: str
    exit_code: int | None


@dataclass(frozen=True)
class Message:
    """What an error says, with gaps, and the module that says it."""

    error: str
    module: str
    text: str

    @property
    def parts(self) -> tuple[str, str]:
        """What is wrong, and what to do about it; the second is empty where the first says both."""
        for found in _TO_DO.finditer(self.text):
            if found.start():
                return self.text[: found.start()].rstrip(" ;,:"), self.text[found.start() :]
        return self.text, ""


@cache
def trees() -> dict[str, ast.Module]:
    """The module of every file of both packages, by its dotted name."""
    found = {}
    for package in ("interp", "circuits"):
        for path in sorted((ROOT / package).rglob("*.py")):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[dotted] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def errors() -> dict[str, ErrorClass]:
    """Every error that derives from the base, the base first."""
    defined = [
        _error(node, module) for module, tree in trees().items() for node in tree.body if isinstance(node, ast.ClassDef)
    ]
    known = {BASE}
    while more := {e.name for e in defined if e.name not in known and known & {*e.bases}}:
        known |= more
    return {e.name: e for e in sorted(defined, key=lambda e: e.name != BASE) if e.name in known}


def _error(node: ast.ClassDef, module: str) -> ErrorClass:
    codes = [
        s.value.value
        for s in node.body
        if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) and ast.unparse(s.targets[0]) == "exit_code"
    ]
    bases = tuple(ast.unparse(b).rpartition(".")[2] for b in node.bases)
    return ErrorClass(node.name, bases, module, ast.get_docstring(node) or "", codes[0] if codes else None)


def exit_code(error: ErrorClass) -> int:
    """Its own code, or that of what it derives from."""
    if error.exit_code is not None:
        return error.exit_code
    above = [errors()[b] for b in error.bases if b in errors()]
    return exit_code(above[0]) if above else DEFAULT_EXIT_CODE


@cache
def messages() -> tuple[Message, ...]:
    """Every message of every error, each once for a module, in the order of the code."""
    found: dict[Message, None] = {}
    for module, tree in trees().items():
        names = _constants(tree)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and (error := _raised(call)) in errors():
                for text in _texts(call.args[0], names):
                    found[Message(error, module, text)] = None
    return tuple(found)


@cache
def passed_on() -> tuple[str, ...]:
    """The modules in which an error is made from a value that holds its whole message, so that the text is made elsewhere."""
    return tuple(
        dict.fromkeys(
            module
            for module, tree in trees().items()
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and _raised(call) in errors() and call.args
            if not list(_texts(call.args[0], _constants(tree)))
        )
    )


def _raised(call: ast.Call) -> str:
    """The error that a call makes; where it is handed to a function, that under which its messages stand."""
    return HANDED.get(_name(call.func), _name(call.func))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What names of a module are set to, once; a function's own names count where only one of them is so called."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _texts(node: ast.expr, names: dict[str, ast.expr]) -> Iterator[str]:
    """The texts that an argument can be; nothing where it is made somewhere else."""
    if isinstance(node, ast.IfExp):
        yield from (*_texts(node.body, names), *_texts(node.orelse, names))
    elif isinstance(node, ast.Name) and node.id in names:
        yield from _texts(names[node.id], {k: v for k, v in names.items() if k != node.id})
    elif (text := " ".join(_text(node).split())) and re.search(r"[a-z]{3}", text):
        yield text


def _text(node: ast.expr) -> str:
    """A text with its gaps."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(map(_text, node.values))
        case ast.FormattedValue():
            return _unknown(node.value) or GAP
        case ast.BinOp(op=ast.Add()):
            return _text(node.left) + _text(node.right)
        case ast.Call():
            return _unknown(node) or GAP
        case _:
            return GAP


def _unknown(node: ast.expr) -> str:
    """The sentence of `interp.errors.unknown`, which every registry uses."""
    if not (isinstance(node, ast.Call) and _name(node.func) == "unknown" and node.args):
        return ""
    return f"unknown {_text(node.args[0])} {GAP}. Did you mean {GAP}? Valid: {GAP}."


def catalogue() -> str:
    """The page: a section for each error, a table of its messages by module."""
    sections = ["\n\n".join(_section(error)) for error in errors().values()]
    return "\n\n".join([*sections, f"Text that is made elsewhere is passed on by {code(passed_on())}."])


def _section(error: ErrorClass) -> Iterator[str]:
    yield f"## {error.name}"
    yield f"{' '.join(error.doc.split())} It is in `{error.module}`; the command line ends with exit code {exit_code(error)}."
    own = [m for m in messages() if m.error == error.name]
    if own:
        rows = ((*map(_typed, m.parts), f"`{m.module}`") for m in own)
        yield markdown(("message", "what to do", "module"), rows)


def _typed(text: str) -> str:
    """In code type, as messages hold signs that Markdown would read; a dash for none."""
    if not text:
        return "-"
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def overview() -> str:
    """A row for every error: what it is, its exit code, how many messages it has."""
    rows = (
        (
            f"[`{error.name}`](#{error.name.lower()})",
            " ".join(error.doc.split()),
            exit_code(error),
            sum(m.error == error.name for m in messages()),
        )
        for error in errors().values()
    )
    return markdown(("error", "what", "exit code", "messages"), rows)
