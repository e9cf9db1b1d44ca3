"""Several processes on one machine, started from one call."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import torch

from selfsight.engine.signals import Interrupted, StopRequest

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 60


def run_on_ranks(function: Callable[..., object], count: int, settings: dict[str, Any]) -> None:
    """Run `function(**settings)` in `count` processes that form one group, and wait for them.

    Each finds its place in the variables that torchrun sets. A signal to this process reaches them all,
    and where this process is killed they stop as by SIGTERM.

    Raises:
        ValueError: that of a process. Interrupted: when a signal ended them before their first step.
        RuntimeError: when one failed otherwise.
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
    with StopRequest() as stop:
        stop.be_patient()
        stop.say = False  # they say it themselves
        try:
            for process in ranks:
                process.start()
            tell(ranks, stop)
        finally:
            for process in ranks:  # left at once
                if process.is_alive():
                    process.kill()
    if not messages.empty():
        raise ValueError(messages.get())
    codes = [process.exitcode for process in ranks]
    if any(codes):
        if stop.signal is not None:
            raise Interrupted(stop.signal, f"interrupted by {signal.Signals(stop.signal).name}")
        killed = [-code for code in codes if code is not None and code < 0]
        if signal.SIGKILL in killed and 1 not in codes:
            log.warning("a process was killed from outside: most likely the machine ran out of memory")
        raise RuntimeError(f"training failed in one of {count} processes (exit codes {codes}): its traceback is above")


def tell(ranks: list[Any], stop: StopRequest) -> None:
    """Wait for all processes; hand a signal on to them, and end the others where one has failed."""
    told = False
    while any(process.is_alive() for process in ranks):
        wait([process.sentinel for process in ranks if process.is_alive()], timeout=0.2)
        failed = any(process.exitcode not in (None, 0) for process in ranks)
        if failed and stop.signal is not None:
            failed = not _all_end(ranks, seconds=10)
        for process in ranks:
            if process.is_alive() and failed:
                process.kill()
            elif process.is_alive() and stop.signal is not None and not told:
                assert process.pid is not None
                # one that still imports would answer SIGINT with a traceback
                os.kill(process.pid, signal.SIGTERM if stop.signal == signal.SIGINT else stop.signal)
        told = told or stop.signal is not None


def _all_end(ranks: list[Any], seconds: float) -> bool:
    """Whether all processes end within some seconds."""
    until = time.monotonic() + seconds
    for process in ranks:
        process.join(timeout=max(0.0, until - time.monotonic()))
    return not any(process.is_alive() for process in ranks)


def _run(
    function: Callable[..., object],
    rank: int,
    count: int,
    port: int,
    threads: int,
    settings: dict[str, Any],
    messages: Any,
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    torch.set_num_threads(threads)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        with StopRequest():
            function(**settings)
    except ValueError as error:
        messages.put(str(error))  # mostly the same in every process; the first is told
        raise SystemExit(2) from error
    except Interrupted as error:
        raise SystemExit(error.status) from error


def _follow_parent() -> None:
    """Stop when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)  # for a checkpoint; where the others are gone already, this one waits for ever
    os._exit(128 + signal.SIGTERM)


def free_port() -> int:
    """A port on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
