"""Several processes on one machine, started from one call."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import torch

from selfsight.engine.signals import StopRequest

log = logging.getLogger(__name__)


def run_on_ranks(function: Callable[..., object], count: int, settings: dict[str, Any]) -> None:
    """Run `function(**settings)` in `count` processes that form one group, and wait for them.

    Each finds its place in the variables that torchrun sets. A signal to this process reaches them all.

    Raises:
        ValueError: that of a process. RuntimeError: when one failed otherwise.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    port = free_port()
    threads = max(1, torch.get_num_threads() // count)
    # torch's advice on unused parameters comes from C++, where only its level can be set
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    ranks = [
        context.Process(target=_run, args=(function, rank, count, port, threads, settings, messages))
        for rank in range(count)
    ]
    for process in ranks:
        process.start()
    with StopRequest() as stop:
        forwarded = False
        while any(process.is_alive() for process in ranks):
            for process in ranks:
                process.join(timeout=0.2)
            failed = any(process.exitcode not in (None, 0) for process in ranks)
            if failed or (stop.signal is not None and not forwarded):
                forwarded = True
                for process in ranks:
                    if process.is_alive():
                        (process.kill if failed else process.terminate)()
    if not messages.empty():
        raise ValueError(messages.get())
    codes = [process.exitcode for process in ranks]
    if any(codes):
        raise RuntimeError(f"training failed in one of {count} processes (exit codes {codes}): its traceback is above")


def _run(
    function: Callable[..., object],
    rank: int,
    count: int,
    port: int,
    threads: int,
    settings: dict[str, Any],
    messages: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells, once
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "selfsight",
    }
    torch.set_num_threads(threads)
    try:
        function(**settings)
    except ValueError as error:
        messages.put(str(error))  # mostly the same in every process; the first is told
        raise SystemExit(2) from error


def free_port() -> int:
    """A port on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
