"""How much memory there is, and how the C library deals with what is freed."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

# of <malloc.h>: what is freed at the heap's end goes back to the system above so many bytes, the heap grows by so many,
# and a block of at least so many has pages of its own
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 1 << 30, TOP_PAD: 256 << 20}
ASKED_BY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_memory() -> bool:
    """Let glibc keep up to a gigabyte of what is freed for the next batch, and say whether it does.

    Batches, activations and gradients come and go with every step, in tensors of megabytes. By itself the library
    returns them and asks anew, and the system clears every page again, which takes longer than most of what is done
    with it. It holds for the whole process and stays. Where someone has set the library's variables, they hold.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in ASKED_BY):
        return False
    library = ctypes.CDLL(None)
    return all([library.mallopt(parameter, value) == 1 for parameter, value in KEPT.items()])


def free_memory() -> int:
    """Bytes that may still be taken: of the machine, and of the control group we are in."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
