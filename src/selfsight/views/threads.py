"""Chunks on the processor's cores: one thread a chunk, instead of all threads in each operation.

The operations upon a chunk are short, and a barrier after each of them costs more than the work,
above all when other processes share the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Task = TypeVar("Task")


@contextmanager
def undivided_operations() -> Iterator[int]:
    """Within, an operation runs in the thread that calls it; gives the number of threads torch had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def for_each(function: Callable[[Task], None], tasks: Sequence[Task], threads: int) -> None:
    """`function` of each task by so many threads, without gradients or autocast, in the caller's inference mode."""
    if threads == 1:  # also on CUDA, whose device and stream belong to the caller's thread
        for task in tasks:
            function(task)
        return
    inference = torch.is_inference_mode_enabled()

    def work(task: Task) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            function(task)

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, tasks))  # a list, because it raises what a task raised
