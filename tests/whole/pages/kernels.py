"""Notebooks run in kernels that are forks of one process, which has imported what all of them import."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.house import ROOT

#: What a cell may take, in seconds; the longest trains dictionaries.
LIMIT = 180
SETTINGS = {
    "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PLOTLY_RENDERER": "plotly_mimetype", "TRANSFORMERS_VERBOSITY": "error",
    "JUPYTER_PLATFORM_DIRS": "1",
}  # fmt: skip


class Kernels:
    """The process that all kernels are forks of; use as a context."""

    def __enter__(self) -> Kernels:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **SETTINGS, "PYTHONPATH": paths}
        command, pipe = [sys.executable, "-m", "tests.whole.pages.kernels"], subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def run(self, notebook: Path, folder: Path, done: Path) -> None:
        """Execute a notebook in a folder and write it with its outputs. Raises: RuntimeError with what went wrong."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(notebook), str(folder), str(done)]) + "\n")
        self.process.stdin.flush()
        wrong = json.loads(self.process.stdout.readline())
        if wrong:
            raise RuntimeError(wrong)


def serve() -> None:
    """Answer each line of the input, a notebook to run, with a line that says what went wrong."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _import()
    for line in sys.stdin:
        notebook, folder, done = map(Path, json.loads(line))
        report = done.with_suffix(".wrong")
        child = os.fork()
        if child == 0:
            _leave(partial(_execute, notebook, folder, done), report)
        _, status = os.waitpid(child, 0)
        wrong = report.read_text() if report.exists() else f"stopped with status {status}" if status else ""
        answers.write(json.dumps(wrong) + "\n")
        answers.flush()


def _import() -> None:
    """What takes long to import in a kernel, or in the process that talks to it."""
    for name in ("ipykernel.kernelapp", "nbclient", "pandas", "plotly.express", "circuits"):
        importlib.import_module(name)
    import interp

    interp.load("demo")


def _leave(do: Callable[[], None], report: Path) -> None:
    """End this process after a call; nothing of the parent's runs in it."""
    try:
        do()
    except BaseException:
        report.write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def _execute(notebook: Path, folder: Path, done: Path) -> None:
    """The kernel is forked first, while this process has no loop and no socket."""
    import nbformat
    from jupyter_client.connect import write_connection_file
    from nbclient import NotebookClient

    os.chdir(folder)
    connection, _ = write_connection_file(str(done.with_suffix(".json")))
    kernel = os.fork()
    if kernel == 0:
        _leave(partial(_kernel, connection), done.with_suffix(".wrong"))
    client = NotebookClient(nbformat.read(notebook, as_version=4), timeout=LIMIT, km=_manager(connection, kernel))
    try:
        nbformat.write(client.execute(), done)
    finally:
        if _runs(kernel):
            os.kill(kernel, signal.SIGKILL)


def _runs(child: int) -> bool:
    """Whether a child has not ended; once it has, it is nobody's child any more."""
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _kernel(connection: str) -> None:
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(["-f", connection])
    app.start()


def _manager(connection: str, kernel: int) -> Any:
    """What nbclient asks about a kernel, for one that is here already."""
    from jupyter_client.manager import AsyncKernelManager

    class Here(AsyncKernelManager):
        has_kernel = True

        async def _async_is_alive(self) -> bool:
            return _runs(kernel)

        is_alive = _async_is_alive

        async def shutdown_kernel(self, *options: object, **more: object) -> None:
            self.cleanup_connection_file()

    manager = Here(connection_file=connection, owns_kernel=False)
    manager.load_connection_file()
    return manager


if __name__ == "__main__":
    serve()
