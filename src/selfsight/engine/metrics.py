"""`metrics.csv` and TensorBoard: one row for each logged point."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from selfsight.outputs import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Columns that say where a row stands, not what was measured.
POSITION = ("step", "epoch", "seconds")


class Metrics:
    """Rows of named numbers, kept in `metrics.csv` and in TensorBoard's event files.

    A row is on disk when `log` returns. A name that was never logged before widens the table:
    the file is rewritten under the wider header. After `cut_back(step)` the file ends at `step`.
    """

    def __init__(self, folder: Path):
        self.path = folder / "metrics.csv"
        self._folder = folder / "tensorboard"
        self._writer: SummaryWriter | None = None
        self._columns, self._rows = read_rows(self.path)

    def cut_back(self, step: int) -> None:
        """Forget the rows after `step`, and a row that a kill left half written."""
        self._rows = [row for row in self._rows if int(row["step"]) <= step]
        self._rewrite()

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add a row; `values` holds the numbers measured at `step`, others stay empty."""
        row = {"step": str(step), **{name: _short(value) for name, value in values.items()}}
        self._rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns = [*self._columns, *new]
            self._rewrite()
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        for name, value in values.items():
            if name not in POSITION:
                self._tensorboard(step).add_scalar(name, value, step)

    def close(self) -> None:
        """Flush what TensorBoard still holds in memory."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _tensorboard(self, step: int) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step, flush_secs=30)
        return self._writer

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.path, text.getvalue().encode())


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and complete rows of a table of metrics; both empty where there is no file."""
    if not path.exists():
        return [], []
    with open(path, newline="") as file:
        lines = list(csv.reader(line for line in file if line.endswith("\n") and "\0" not in line))
    if not lines:
        return [], []
    columns, *rows = lines
    whole = [row for row in rows if len(row) == len(columns) and row[0].isdigit()]  # a kill may tear one
    return columns, [dict(zip(columns, row, strict=True)) for row in whole]


def _short(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
