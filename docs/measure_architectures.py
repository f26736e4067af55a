"""Measures what works on a tiny random model of every class in eight of transformers' auto-mappings, for docs/architectures.md.

    python docs/measure_architectures.py                       what docs/architectures.jsonl lacks
    python docs/measure_architectures.py --again               every class anew
    python docs/measure_architectures.py --again CLASS CLASS   these classes anew
    python docs/measure_architectures.py --rows FILE           rows in another file

Each class has a process of its own, with limits on time and memory, so that one that hangs or crashes is a row like any other. Rows
are written as they come: a command that was stopped goes on where it was. Then `python docs/generate.py` writes the page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from breadth import ROWS, read_rows, shares
from tables import say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

ROOT = Path(__file__).resolve().parent.parent


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="What works on tiny models of transformers' classes.")
    parser.add_argument("classes", nargs="*", help="classes of transformers; default all of the mappings")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of rows")
    parser.add_argument("--again", action="store_true", help="also those that have a row")
    parser.add_argument("--seconds", type=int, default=120, help="the most that a class may take")
    parser.add_argument("--memory", type=int, default=8, help="the most address space that a class may take, in GB")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    from tests.whole.architectures.building import classes

    rows = {(row["mapping"], row["class"]): row for row in (read_rows(given.rows) if given.rows.is_file() else ())}
    wanted = [own for own in classes() if not given.classes or own[1] in given.classes]
    if unknown := set(given.classes) - {name for _, name, _ in wanted}:
        raise SystemExit(f"no class of the mappings: {', '.join(sorted(unknown))}")
    for i, (mapping, name, model_type) in enumerate(wanted, 1):
        if (mapping, name) not in rows or given.again:
            found = {"mapping": mapping, "class": name, **apart(name, model_type, given.seconds, given.memory)}
            rows[mapping, name] = found
            write_rows(given.rows, [rows[own[:2]] for own in classes() if own[:2] in rows])
            say(
                f"{i}/{len(wanted)} {name}: {', '.join(found[key] for key in ('built', 'loads', 'reads', 'patching', 'relp'))} {found['why']}"
            )
    say(shares(given.rows))
    return 0


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """One row a line, under a temporary name and then renamed."""
    part = path.with_suffix(".part")
    part.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    part.replace(path)


def apart(name: str, model_type: str, seconds: int, memory: int) -> dict[str, Any]:
    """The row of a class, from a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(writing, name, model_type, seconds, memory)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else _died(status, seconds)


def _child(writing: int, name: str, model_type: str, seconds: int, memory: int) -> None:
    """Measure one class, write its row and end; the system ends it where it takes too long."""
    from tests.whole.architectures.columns import row

    resource.setrlimit(resource.RLIMIT_AS, (memory << 30, memory << 30))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    found = row(name, model_type)
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        json.dump(found, out)
    os._exit(0)


def _died(status: int, seconds: int) -> dict[str, str]:
    from tests.whole.architectures.columns import dead

    by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    long = f"it took longer than {seconds} seconds" if by == signal.SIGALRM else ""
    return dead(long or (f"its process was ended by signal {by}" if by else "its process ended by itself"))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.whole.architectures.columns")  # before the processes part, so that none has to
    sys.exit(main(options()))
