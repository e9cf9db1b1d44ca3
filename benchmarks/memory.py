"""Peak memory and time of losses over all pairs of a batch: ours in blocks, ours as one matrix, and lightly's.

    python benchmarks/memory.py --batches 1024,4096,16384

Memory is what forward and backward need above the inputs, measured in a process of its own; time is that
of forward and backward, the programs alternately in one process. What did not fit is said.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from selfsight import losses
from selfsight.losses import blocks
from timing import Rates, alternately, hardware, table

WIDTH, CLASSES = 128, 10
Program = Callable[[], int]

TEXT = """# Memory of losses over all pairs

Forward and backward of two views `(N, {width})` in float32, N images. Memory is the peak above the inputs and the
library itself; time is the median of {rounds} rounds, ratios are ours to the other, in one run, alternately.
`whole` is the same loss with the matrix of all pairs at once; `lightly` is `NTXentLoss` of lightly. A dash: it did
not fit in memory, or was not tried at that size. What the allocator keeps for later counts as memory here.
"""


def nt_xent(za: Tensor, zb: Tensor) -> Tensor:
    return losses.nt_xent(za, zb)


def supcon(za: Tensor, zb: Tensor) -> Tensor:
    return losses.supcon([za, zb], torch.arange(len(za), device=za.device) % CLASSES)


def info_nce(za: Tensor, zb: Tensor) -> Tensor:
    return losses.info_nce(za, zb, torch.nn.functional.normalize(zb.detach().repeat(2, 1), dim=1))


def distance_correlation(za: Tensor, zb: Tensor) -> Tensor:
    return losses.distance_correlation(za, zb)


LOSSES = {f.__name__: f for f in (nt_xent, supcon, info_nce, distance_correlation)}


def make(loss: str, form: str, batch: int, device: str) -> Program:
    """A program that goes forward and backward once."""
    generator = torch.Generator().manual_seed(0)
    za, zb = (torch.randn(batch, WIDTH, generator=generator).to(device).requires_grad_() for _ in range(2))
    function = LOSSES[loss]
    if form == "lightly":
        from lightly.loss import NTXentLoss

        function = NTXentLoss(temperature=0.5)

    def program() -> int:
        former = dict(blocks.LARGEST_BLOCK)
        if form == "whole":
            blocks.LARGEST_BLOCK.update({"cpu": 2**62, "cuda": 2**62})
        try:
            torch.autograd.grad(function(za, zb), (za, zb), allow_unused=True)
        finally:
            blocks.LARGEST_BLOCK.update(former)
        return 1

    return program


def peak(loss: str, form: str, batch: int, device: str, threads: int) -> float | None:
    """Mebibytes above the inputs, from a process of its own; None if it died for want of memory."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(sender, loss, form, batch, device, threads))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        if child.exitcode and child.exitcode > 0:
            raise RuntimeError(f"{form} of {loss} failed at {batch}") from None
        return None
    finally:
        child.join()


def _measure(sender, loss: str, form: str, batch: int, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    make(loss, form, 64, device)()  # whatever is loaded on first use
    program = make(loss, form, batch, device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        program()
        sender.send((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    watcher = ResidentPeak()
    with watcher:
        program()
    sender.send(watcher.above / 2**20)


class ResidentPeak:
    """The largest resident size while the block runs, above that at its start, looked at every millisecond."""

    def __enter__(self) -> ResidentPeak:
        self.start = self.largest = resident_bytes()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.is_set():
            self.largest = max(self.largest, resident_bytes())
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.above = self.largest - self.start


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    options = parse()
    threads = torch.get_num_threads()
    rows = []
    for loss in LOSSES:
        for batch in options.batches:
            forms = ["blocks", "whole", *(["lightly"] if loss == "nt_xent" else [])]
            forms = [form for form in forms if form == "blocks" or batch <= options.largest_whole]
            memory = {form: peak(loss, form, batch, options.device, threads) for form in forms}
            programs = {
                form: partial(make(loss, form, batch, options.device)) for form in forms if memory[form] is not None
            }
            rates = alternately(programs, options.rounds, options.device)
            rows.append(row(loss, batch, memory, rates))
            print(" | ".join(rows[-1]), flush=True)
    heads = ["loss", "N", "blocks MiB", "whole MiB", "lightly MiB", "blocks s", "whole / blocks", "lightly / blocks"]
    options.out.write_text(
        "\n".join(
            [
                TEXT.format(width=WIDTH, rounds=options.rounds),
                table(heads, rows),
                "",
                f"Hardware: {hardware(options.device)}.",
                "",
            ]
        )
    )


def row(loss: str, batch: int, memory: dict[str, float | None], rates: dict[str, Rates]) -> list[str]:
    """A line of the table."""
    sizes = [
        f"{size:,.0f}" if (size := memory.get(form)) is not None else "–" for form in ("blocks", "whole", "lightly")
    ]
    ratios = [rates["blocks"].over(rates[form]) if form in rates else "–" for form in ("whole", "lightly")]
    return [loss, f"{batch:,}", *sizes, f"{1 / rates['blocks'].median:.3g}", *ratios]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[1024, 4096, 16384])
    parser.add_argument("--largest_whole", type=int, default=16384, help="no whole matrix above this batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/memory.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
