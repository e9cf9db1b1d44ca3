"""How processes that were started from outside find each other, and who is missing where they do not."""

# pyright: reportPrivateImportUsage=false
# torch documents its stores and does not list them among its public names.

from __future__ import annotations

import atexit
import os
import time
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from selfsight.engine.hardware import Hardware, Place, place

PATIENCE = "SELFSIGHT_PATIENCE"  # seconds in which all processes must have come
START_SECONDS = 120
TRAIN_SECONDS = 3600  # once all have come: one may read its images much longer than another
GROUP_PATIENCE = timedelta(minutes=30)
ATTEMPT = timedelta(seconds=2)  # of what cannot be interrupted by a signal


class Meeting:
    """A store that all processes of a training share; waiting for them answers signals.

    Raises:
        ValueError: when there is no address to meet at.
    """

    def __init__(self, hardware: Hardware):
        self.hardware, self.here = hardware, place()
        self.address, self.port = address(self.here)
        self.store: dist.Store | None = None

    def __enter__(self) -> Meeting:
        """Wait until every process has started.

        Raises:
            ValueError: naming how many came in time.
        """
        if not self.hardware.external or dist.is_initialized():
            return self
        seconds = patience()
        until = time.monotonic() + seconds
        while self.store is None:
            self.store = self._connect()
            if self.store is None and time.monotonic() > until:
                raise ValueError(
                    f"process 0 of {self.here.world} did not come to {self.address}:{self.port} within "
                    f"{seconds:g} s: {self._fix()}"
                )
        self._await("start", until, seconds)
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if error is None or self.store is None:
            return
        with suppress(dist.DistError):  # process 0, which keeps the store, may be gone already
            self.store.set("left", f"process {self.here.rank} has ended: {error}")

    def join(self) -> None:
        """Form the process group, once all processes are ready to train."""
        if not self.hardware.external or dist.is_initialized():
            return
        assert self.store is not None
        self._await("train", time.monotonic() + TRAIN_SECONDS, TRAIN_SECONDS)
        self.store.set_timeout(GROUP_PATIENCE)
        dist.init_process_group(
            "nccl" if self.hardware.accelerator == "gpu" else "gloo",
            store=dist.PrefixStore("selfsight", self.store),
            rank=self.here.rank,
            world_size=self.here.world,
        )
        self.store = None  # the group's own time limits hold from here on
        atexit.register(leave)

    def _connect(self) -> dist.Store | None:
        """The store, or None where process 0 has not opened it yet."""
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun keeps one open for us
        hosts = self.here.rank == 0 and not agent
        try:
            store = dist.TCPStore(self.address, self.port, is_master=hosts, timeout=ATTEMPT, wait_for_workers=False)
        except (RuntimeError, OSError) as error:
            if hosts:
                raise ValueError(
                    f"cannot meet the other processes at {self.address}:{self.port} ({str(error).splitlines()[0]}): "
                    f"set MASTER_PORT to a free port"
                ) from error
            time.sleep(0.1)
            return None
        return dist.PrefixStore(f"meeting {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)

    def _await(self, what: str, until: float, seconds: float) -> None:
        """Wait until all have said `what`."""
        assert self.store is not None
        world = self.here.world
        try:
            self.store.set(f"{what} {self.here.rank}", "here")
            while missing := [rank for rank in range(world) if not self.store.check([f"{what} {rank}"])]:
                if self.store.check(["left"]):
                    raise RuntimeError(self.store.get("left").decode())
                if time.monotonic() > until:
                    came = world - len(missing)
                    raise ValueError(
                        f"{came} of {world} processes came within {seconds:g} s "
                        f"(missing: {', '.join(map(str, missing[:8]))}): {self._fix()}"
                    )
                time.sleep(0.1)
        except dist.DistError as error:
            raise RuntimeError("process 0 of this training has ended: its own message says why") from error

    def _fix(self) -> str:
        if self.here.told_by == "SLURM_NTASKS":
            return "start the command with srun, or unset SLURM_NTASKS to train in one process"
        return f"start all of them with torchrun, or unset {self.here.told_by} to train in one process"


class Started(ClusterEnvironment):
    """What Lightning wants to know of a process that was started already; it looks for nothing itself."""

    def __init__(self, here: Place):
        self.here = here

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Never used: the process group exists when Lightning comes."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """As little."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Never found by itself."""
        return False

    def world_size(self) -> int:
        """Processes in all."""
        return self.here.world

    def set_world_size(self, size: int) -> None:
        """It stays."""

    def global_rank(self) -> int:
        """This process's place among all."""
        return self.here.rank

    def set_global_rank(self, rank: int) -> None:
        """It stays."""

    def local_rank(self) -> int:
        """This process's place on its machine."""
        return self.here.local

    def node_rank(self) -> int:
        """Its machine's place."""
        return self.here.node


def patience() -> float:
    """Seconds to wait for the other processes."""
    text = os.environ.get(PATIENCE, str(START_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"the environment variable {PATIENCE} is {text!r} and no number of seconds") from None
    return seconds


def address(here: Place) -> tuple[str, int]:
    """Host and port where process 0 waits for the others.

    Raises:
        ValueError: when nobody told them.
    """
    if here.world == 1:
        return "127.0.0.1", 0
    if here.told_by == "SLURM_NTASKS":
        nodes = os.environ.get("SLURM_NODELIST", os.environ.get("SLURM_JOB_NODELIST", "127.0.0.1"))
        host = os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
        job = "".join(digit for digit in os.environ.get("SLURM_JOB_ID", "") if digit.isdigit())[-4:]
        return host, int(os.environ.get("MASTER_PORT") or 15000 + int(job or 0))
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"RANK and WORLD_SIZE say that this is one of {here.world} processes, but {' and '.join(missing)} "
            f"are not set: start with torchrun, or unset {here.told_by}"
        )
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def leave() -> None:
    """Take the process group apart when the program ends."""
    if dist.is_initialized():
        dist.destroy_process_group()
