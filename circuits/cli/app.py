"""The command line: parse, call, write. Exit codes: 0 ok, 1 the run failed, 2 bad input, 3 a check failed, 130 interrupted,
143 terminated."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from circuits.cli.commands import (
    diff_command,
    discovery_commands,
    exchange_commands,
    judging_commands,
    listing_commands,
    looking_commands,
    reproduce_command,
    sae_train_command,
    starting_commands,
    tokens_command,
)
from circuits.cli.options.help_sections import Grouped, Sectioned
from circuits.console.streams import Readable
from interp.errors import InterpError

app = typer.Typer(
    cls=Grouped,
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a language model and prompt pairs to a circuit that one can trust.",
    epilog="Begin with: circuits discover. It takes the embedded model, needs no network, and writes a report. "
    "circuits COMMAND --help says what a command does, and its options.",
)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show a traceback on errors")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads to use [default: all cores]", min=1)] = None,
) -> None:
    _state["debug"] = debug
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


_state: dict[str, bool] = {"debug": False}


_COMMANDS: dict[str, Callable[..., None]] = {
    "discover": discovery_commands.discover,
    "compare": discovery_commands.compare,
    "report": discovery_commands.report,
    "diff": diff_command.diff,
    "open": starting_commands.open_,
    "init": starting_commands.init,
    "evaluate": judging_commands.evaluate,
    "stability": judging_commands.stability,
    "truth": judging_commands.truth,
    "lens": looking_commands.lens,
    "depth": looking_commands.depth,
    "statistics": looking_commands.statistics,
    "tokens": tokens_command.tokens,
    "reproduce": reproduce_command.reproduce,
    "export": exchange_commands.export,
    "import": exchange_commands.import_,
    "models": listing_commands.models,
    "tasks": listing_commands.tasks,
    "methods": listing_commands.methods,
    "sites": listing_commands.sites,
    "doctor": listing_commands.doctor,
    "verify": listing_commands.verify,
    "bench": listing_commands.bench,
}
for _name, _command in _COMMANDS.items():
    app.command(name=_name, cls=Sectioned)(_command)
app.add_typer(sae_train_command.app, name="sae")


class Terminated(SystemExit):
    """SIGTERM: the run stops and says so in its files, as after Ctrl-C."""


def main() -> None:
    """Entry point: every error of the input is one line on standard error and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    streams = Readable()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _guarded(lambda: app(standalone_mode=False))
    finally:
        signal.signal(signal.SIGTERM, before)
    if told := streams.told():
        sys.stderr.write(f"{told}\n")
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    raise Terminated(143)


def _guarded(call: Callable[[], Any]) -> int:
    try:
        result = call()
        return _ended(result if isinstance(result, int) else 0)
    except Terminated:
        return _fail("terminated", 143)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except InterpError as error:
        return _fail(str(error), getattr(error, "exit_code", 2))
    except typer.Exit as error:
        return _ended(error.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):
            return _fail(error.format_message(), 2)
        return _fail(f"failed: {type(error).__name__}: {error}. Run again with: circuits --debug ...", 1)


def _ended(code: int) -> int:
    """Typer takes Ctrl-C for itself and leaves its code only."""
    return _fail("interrupted", code) if code == 130 else code


def _fail(message: str, code: int) -> int:
    if _state["debug"]:
        import traceback

        traceback.print_exc()
    from interp.formatting.text import visible

    sys.stderr.write(f"circuits: {visible(' '.join(message.split()))}\n")
    return code


if __name__ == "__main__":
    main()
