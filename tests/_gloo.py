"""Two processes joined by gloo, kept for the whole test session, since starting them takes seconds.

As a pytest plugin this offers the fixture `gloo_pool`; run as a script it is one of the two.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SIZE = 2
PATIENCE = timedelta(seconds=120)


class GlooPool:
    """Runs functions on two ranks; started at the first call, and anew after a failure."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen] = []
        self.connections: list[Connection] = []

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """`function(*args)` on both ranks, with the process group initialised; both results.

        `function` stands at the top level of its file; arguments and results are pickled.
        An exception in either rank is raised here.
        """
        if not self.processes:
            self._start()
        task = pickle.dumps((inspect.getfile(function), function.__qualname__, args))
        try:
            for connection in self.connections:
                connection.send_bytes(task)
            answers = [self._receive(connection) for connection in self.connections]
        except BaseException:
            self.close()
            raise
        failures = [text for failed, text in answers if failed]
        if failures:
            self.close()
            raise RuntimeError("\n".join(failures))
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
        self.folder = tempfile.TemporaryDirectory(prefix="selfsight-gloo-")
        address = str(Path(self.folder.name) / "socket")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with Listener(address, "AF_UNIX") as listener:
            for rank in range(SIZE):
                command = [sys.executable, __file__, str(rank), self.folder.name]
                self.processes.append(subprocess.Popen(command, env=environment))
            by_rank = {}
            for _ in range(SIZE):
                connection = listener.accept()
                by_rank[connection.recv()] = connection
        self.connections = [by_rank[rank] for rank in range(SIZE)]

    def _receive(self, connection: Connection) -> tuple[bool, Any]:
        if not connection.poll(PATIENCE.total_seconds() + 10):
            raise TimeoutError("a rank did not answer")
        return pickle.loads(connection.recv_bytes())


@pytest.fixture(scope="session")
def gloo_pool() -> Iterator[GlooPool]:
    """`gloo_pool.run(function, *args)` on two ranks: `[result of rank 0, result of rank 1]`."""
    pool = GlooPool()
    yield pool
    pool.close()


@cache
def _module(path: str) -> ModuleType:
    """The module in a file, whatever pytest calls it."""
    spec = importlib.util.spec_from_file_location(f"on_a_rank_{abs(hash(path))}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def _answer(task: bytes) -> bytes:
    try:
        path, name, args = pickle.loads(task)
        return pickle.dumps((False, getattr(_module(path), name)(*args)))
    except Exception:
        return pickle.dumps((True, f"rank {os.environ['RANK']}:\n{traceback.format_exc()}"))


def _serve(rank: int, folder: str) -> None:
    import torch.distributed as dist

    os.environ["RANK"] = str(rank)
    connection = Client(str(Path(folder) / "socket"), "AF_UNIX")
    connection.send(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=SIZE, timeout=PATIENCE)
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            break
        connection.send_bytes(_answer(task))
    dist.destroy_process_group()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
