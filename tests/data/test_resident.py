from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from selfsight.data import ArraySource, FolderSource, ResidentLane, subset
from selfsight.data.resident import FlatBuffer


def test_flat_buffer_keeps_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsight.data.resident.SLAB", 100)
    arrays = [torch.randint(-9, 9, (n,), dtype=torch.int16) for n in (3, 70, 20, 1, 49, 300)]
    for storage in (None, tmp_path / "flat"):
        buffer = FlatBuffer(torch.int16, storage)
        for array in arrays:
            buffer.append(array)
        assert torch.equal(buffer.finish(), torch.cat(arrays))


MEASURE = """
import re, torch
from selfsight.data import ResidentLane, Source
import pandas as pd

class Made(Source):
    def _read(self, index, size):
        return torch.full((3, 256, 256 + index % {shapes}), index % 251, dtype=torch.uint8)

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

source = Made(pd.DataFrame(index=range(1600)), name="made", channels=3, dtype=torch.uint8, value_range=(0, 255))
next(iter(ResidentLane(Made(source.metadata[:8], name="warm", channels=3, dtype=torch.uint8, value_range=(0, 255)), 4)))
before = peak()
lane = ResidentLane(source, 32, threads=2)
next(iter(lane))
print(before, peak(), lane.nbytes // 1024)
"""


@pytest.mark.parametrize("shapes", [1, 7])
def test_memory_is_the_data_once_and_a_batch(shapes):
    script = MEASURE.format(shapes=shapes)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after, data = map(int, answer.stdout.split())
    slack = 120 * 1024  # a slab of 64 MiB, a batch, and what is read ahead
    assert data <= after - before + slack  # the measure works
    assert after - before <= data + slack


def test_arrays_in_memory_are_not_copied():
    images = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    lane = ResidentLane(ArraySource(images), 4)
    assert lane.pixels.data_ptr() == images.data_ptr()
    assert lane.samples == 10


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.uint8])
def test_types_survive(dtype):
    images = np.arange(10 * 16, dtype=dtype).reshape(10, 4, 4)
    for source in (ArraySource(images), subset(ArraySource(images), range(10))):
        (canvas,) = next(iter(ResidentLane(source, 10, shuffle=False)))
        np.testing.assert_array_equal(canvas.pixels[:, 0].numpy(), images)


def test_images_are_stored_no_larger_than_needed(ragged):
    lane = ResidentLane(FolderSource(ragged), 20, size=6)
    assert all(min(shape[1:]) <= 6 and max(shape[1:]) <= 18 for shape in lane.shapes)
    assert max(ResidentLane(FolderSource(ragged), 20, size=600).shapes) == (3, 14, 17)


def test_storage_is_a_mapped_file(ragged, tmp_path):
    plain = ResidentLane(FolderSource(ragged), 20)
    stored = ResidentLane(FolderSource(ragged), 20, storage=tmp_path / "pixels")
    assert (tmp_path / "pixels").stat().st_size == stored.nbytes == plain.nbytes
    assert torch.equal(stored.flat, plain.flat)


def test_a_panorama_does_not_pad_the_others(ragged):
    (batch,) = ResidentLane(FolderSource(ragged), 20)
    assert sum(map(len, batch)) == 20
    wide = [canvas for canvas in batch if canvas.spatial[1] > 100]
    assert [len(canvas) for canvas in wide] == [1]
