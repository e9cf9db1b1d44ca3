"""Which devices, how many processes, which precision."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from selfsight.naming import package_version
from selfsight.precision import choose_precision

PACKAGES = ("selfsight", "torch", "torchvision", "lightning", "timm", "numpy")


@dataclass(frozen=True)
class Place:
    """Where a process stands among all: ranks, counts, and its machine's number.

    told_by: the variables that said so, which it helps to unset where they are wrong.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    node: int = 0
    told_by: str = ""


@dataclass(frozen=True)
class Hardware:
    """Where a process trains.

    accelerator: "cpu" or "gpu". precision: "32" or "bf16". rank, world: its place among all processes.
    local_world: processes on this machine. external: whether the processes were started from outside.
    """

    accelerator: str
    precision: str
    rank: int = 0
    world: int = 1
    local_world: int = 1
    external: bool = False

    @property
    def device(self) -> torch.device:
        """This process's device."""
        if self.accelerator == "cpu":
            return torch.device("cpu")
        return torch.device("cuda", place().local if self.external else 0)

    def autocast(self) -> torch.autocast:
        """A context in which networks compute at this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def choose_hardware(devices: int | str = "auto", precision: str = "auto") -> Hardware:
    """The hardware that was asked for.

    devices: "auto" (one GPU where there is one, else the CPU), "cpu", "gpu", or the number of GPUs, or
        of CPU processes where there is no GPU. Started by torchrun or SLURM, their number counts.
    precision: "auto" (bf16 where the hardware computes it), "bf16" or "32".

    Raises:
        ValueError: when the GPUs are not there, or a name is unknown.
    """
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if isinstance(devices, str) and devices not in ("auto", "cpu", "gpu"):
        raise ValueError(f"devices is 'auto', 'cpu', 'gpu' or a number, not {devices!r}")
    if devices == "gpu" and not gpus:
        raise ValueError("devices='gpu', but torch sees no GPU here: use devices='cpu', or install torch with CUDA")
    if isinstance(devices, int) and devices < 1:
        raise ValueError(f"devices is at least 1, not {devices}")
    if isinstance(devices, int) and 0 < gpus < devices:
        raise ValueError(f"devices={devices}, but there are {gpus} GPUs here: use a number from 1 to {gpus}")
    cores = max(2, os.cpu_count() or 1)  # two processes show on any machine that several work
    if isinstance(devices, int) and not gpus and devices > cores:
        raise ValueError(
            f"devices={devices}, but torch sees no GPU here and {cores} processes are enough for the CPU: "
            f"use a number from 1 to {cores}"
        )
    accelerator = "gpu" if gpus and devices != "cpu" else "cpu"
    here = place()
    world, local_world, external = here.world, here.local_world, here.world > 1
    if not external:
        world = local_world = devices if isinstance(devices, int) else 1
    return Hardware(accelerator, choose_precision(precision, accelerator), here.rank, world, local_world, external)


def place() -> Place:
    """Where this process stands among those that torchrun, our launcher or SLURM started.

    A shell inside an allocation, where SLURM says how many tasks there are but not which one this is,
    and a job named "bash" or "interactive" are one process.

    Raises:
        ValueError: when the variables contradict each other.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, world = number("RANK"), number("WORLD_SIZE")
        local_world = number("LOCAL_WORLD_SIZE", world)
        local = number("LOCAL_RANK", rank % max(1, local_world))
        node, hint = number("GROUP_RANK", rank // max(1, local_world)), "RANK and WORLD_SIZE"
    elif "SLURM_NTASKS" in os.environ and "SLURM_PROCID" in os.environ and not slurm_is_interactive():
        rank, world = number("SLURM_PROCID"), number("SLURM_NTASKS")
        local_world = max(1, world // max(1, number("SLURM_NNODES", 1)))
        local, node, hint = number("SLURM_LOCALID", 0), number("SLURM_NODEID", 0), "SLURM_NTASKS"
    else:
        return Place()
    if world <= 1:
        return Place()
    if rank >= world:
        raise ValueError(f"this is process {rank} of {world}, says the environment: unset {hint}, or start anew")
    return Place(rank, world, local, local_world, node, hint)


def number(name: str, default: int | None = None) -> int:
    """An environment variable that holds a number."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit():
        raise ValueError(f"the environment variable {name} is {text!r} and no number: unset it")
    return int(text)


def slurm_is_interactive() -> bool:
    """Whether SLURM opened a shell in which commands are typed."""
    return os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


@contextmanager
def reproducible(accelerator: str) -> Iterator[None]:
    """On the CPU, only operations that give the same bits again; afterwards as before."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    fill = deterministic.fill_uninitialized_memory
    if accelerator == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = fill


def describe_hardware(hardware: Hardware) -> dict[str, Any]:
    """What `summary.json` says of machine and packages."""
    name = torch.cuda.get_device_name(hardware.device) if hardware.accelerator == "gpu" else cpu_name()
    return {
        "hardware": {
            "device": name,
            "processes": hardware.world,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "precision": hardware.precision,
            "platform": platform.platform(),
        },
        "packages": {"python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}},
    }


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            named = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()
