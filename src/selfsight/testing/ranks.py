"""Two processes joined by gloo, started once, since starting them takes seconds."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

SIZE = 2
PATIENCE = timedelta(seconds=120)


class NotThereError(LookupError):
    """A class or function that another process cannot import."""


@dataclass(frozen=True)
class Named:
    """A class or function by where it stands, for a process that may know its module by another name or not at all."""

    module: str
    path: str
    name: str

    @classmethod
    def of(cls, thing: Any) -> Named:
        """The name of `thing`; a `NotThereError` where it has none that another process could find."""
        try:
            path = inspect.getfile(thing)
        except (OSError, TypeError) as error:
            raise NotThereError(f"{thing!r} stands in no file") from error
        if "<" in thing.__qualname__ or not Path(path).is_file():
            raise NotThereError(f"{thing.__qualname__} stands at the top level of no file")
        return cls(thing.__module__, str(Path(path).resolve()), thing.__qualname__)

    def find(self) -> Any:
        """What is named: from its module if that can be imported and is this file, else from the file."""
        try:
            module = importlib.import_module(self.module)
        except ImportError:
            module = None
        if module is None or getattr(module, "__file__", None) != self.path:
            module = _module(self.path)
        return getattr(module, self.name)


@cache
def _module(path: str) -> Any:
    """The module in a file, whatever others call it."""
    spec = importlib.util.spec_from_file_location(f"on_a_rank_{abs(hash(path))}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


class Ranks:
    """Two processes that run functions on two ranks; started at the first call, and anew after a failure."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen] = []
        self.connections: list[Connection] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """`function(*arguments)` on both ranks, with the process group initialised; both results.

        `function` stands at the top level of its file, and so does what an argument that is `Named` stands for;
        arguments and results are pickled. An exception in either rank is raised here as a `RuntimeError`, and one
        from looking for what is named as a `NotThereError`.
        """
        task = pickle.dumps((Named.of(function), arguments))
        if not self.processes:
            self._start()
        try:
            for connection in self.connections:
                connection.send_bytes(task)
            answers = [self._receive(connection) for connection in self.connections]
        except BaseException:
            self.close()
            raise
        for kind, error in (("missing", NotThereError), ("failed", RuntimeError)):
            failures = [text for answered, text in answers if answered == kind]
            if failures:
                self.close()
                raise error("\n".join(failures))
        return [result for _, result in answers]

    def close(self) -> None:
        """End both processes."""
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.kill()
            process.wait()
        if self.processes:
            self.folder.cleanup()
        self.processes, self.connections = [], []

    def _start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="selfsight-ranks-")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with Listener(str(Path(self.folder.name) / "socket"), "AF_UNIX") as listener:
            for rank in range(SIZE):
                command = [sys.executable, "-m", "selfsight.testing._rank", str(rank), str(SIZE), self.folder.name]
                self.processes.append(subprocess.Popen(command, env=environment))
            by_rank = {}
            for _ in range(SIZE):
                connection = listener.accept()
                by_rank[connection.recv()] = connection
        self.connections = [by_rank[rank] for rank in range(SIZE)]

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        if not connection.poll(PATIENCE.total_seconds() + 10):
            raise TimeoutError("a rank did not answer")
        return pickle.loads(connection.recv_bytes())


@cache
def both_ranks() -> Ranks:
    """The two ranks that all of this process share, ended with it."""
    ranks = Ranks()
    atexit.register(ranks.close)
    return ranks
