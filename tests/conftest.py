"""What all tests share: real images, and one thread per test process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests send it; under nohup selfsight rightly does not hear it


def pytest_collection_finish() -> None:
    """One thread again: importing dcor, through numba, makes it as many as there are processors."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


CHECKOUT = Path(__file__).resolve().parents[1]

# dcor compiles when imported; two processes that write one cache of numba's at the same time can abort
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["NUMBA_CACHE_DIR"] = str(CHECKOUT / ".pytest_cache" / "numba" / WORKER)

sys.path.append(str(CHECKOUT / "tests"))
pytest_plugins = ["_gloo"]  # the fixture gloo_pool


class RealData:
    """A folder of real data sets, unpacked when the first of them is asked for: `real_data / "cifar10"`."""

    def __init__(self, packed: Path):
        self.packed = packed
        self.unpacked: Path | None = None

    def __truediv__(self, name: str) -> Path:
        """Path of one data set; the test is skipped where the packed data lacks it."""
        self.unpacked = self.unpacked or self._unpack()
        path = self.unpacked / name
        if not path.exists():
            pytest.skip(f"{self.packed} holds no {name}")
        return path

    def _unpack(self) -> Path:
        script = self.packed / "extract.sh"
        if not script.exists():
            return self.packed  # already unpacked
        folder = Path(tempfile.gettempdir()) / f"selfsight-data-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        with open(folder / ".lock", "w") as lock:  # several test processes, one unpacking
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run(
                ["bash", str(script), str(folder)], check=True, stdin=subprocess.DEVNULL, capture_output=True
            )
        return folder


@pytest.fixture(scope="session")
def real_data() -> RealData:
    """Real data sets from SELFSIGHT_DATA (packed with an `extract.sh`, or unpacked), or beside the checkout."""
    packed = Path(os.environ.get("SELFSIGHT_DATA", CHECKOUT.parent / "shared" / "data"))
    if not packed.is_dir():
        pytest.skip(f"no real data at {packed}: set SELFSIGHT_DATA")
    return RealData(packed)


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers in every run, whatever ran before."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def pooled():
    """An encoder that answers pooled features alone, for images of 16 px."""
    from torch import nn

    from selfsight.nets import as_encoder

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            return self.linear(x.mean(dim=(2, 3)))

    return as_encoder(Pooled(), image_size=16)
