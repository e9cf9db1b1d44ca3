"""Measure programs side by side: alternately, so that a busy machine slows both alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rates:
    """Units of work per second, one value for each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({min(self.rounds):,.0f} to {max(self.rounds):,.0f})"

    def over(self, other: Rates) -> str:
        """Median and spread of the ratio, round by round."""
        ratios = [mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def alternately(
    programs: dict[str, Callable[[], int]], rounds: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> dict[str, Rates]:
    """Rates of `programs`, each of which answers how many units of work it did; one warm-up each.

    clock: seconds; `time.process_time` counts what the processor worked, however busy others keep it.
    """
    for program in programs.values():
        program()
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            rates[name].append(rate(program, device, clock))
    return {name: Rates(values) for name, values in rates.items()}


def rate(program: Callable[[], int], device: str, clock: Clock = time.perf_counter) -> float:
    """Units of work per second of one run."""
    synchronise(device)
    start = clock()
    done = program()
    synchronise(device)
    return done / (clock() - start)


def synchronise(device: str) -> None:
    """Wait for the device's queue."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def hardware(device: str = "cpu") -> str:
    """One line: processor, cores, threads, versions, and how busy the machine was."""
    models = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    special = ", ".join(name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name}" in flags)
    accelerator = f"{torch.cuda.get_device_name(device)}, " if device.startswith("cuda") else ""
    return (
        f"{accelerator}{models[0] if models else platform.machine()} ({special}), {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
