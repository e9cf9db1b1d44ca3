"""Values that are no numbers, or leave the range that the training data fixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight.data import (
    ArraySource,
    UnreadableImage,
    as_trained,
    mean_and_std,
    open_lane,
    open_source,
    splits,
    subset,
)
from selfsight.data.arrays import within
from selfsight.data.values import extremes
from selfsight.views import original


def faulty(kind, fault, tmp_path):
    """Twelve float images, the fourth of which has one pixel that is `fault`."""
    images = np.random.default_rng(0).random((12, 8, 8), dtype=np.float32)
    images[3, 1, 1] = fault
    if kind == "array":
        return ArraySource(images)
    for i, image in enumerate(images):
        np.save(tmp_path / f"{i:02}.npy", image)
    return open_source(tmp_path)


@pytest.mark.parametrize("kind", ["array", "files"])
@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("lane", ["resident", "streaming"])
def test_what_is_no_number_is_a_bad_image(kind, fault, lane, tmp_path):
    source = faulty(kind, fault, tmp_path)
    assert source.value_range == (0, 1)
    for one, index in ((source, 3), (subset(source, [5, 3]), 1)):
        with pytest.raises(UnreadableImage, match=r"(array\[3\]|03\.npy).*(NaN or infinite|missing values)"):
            one.read(index)
        with pytest.raises(UnreadableImage):
            one.read(index, 4)
    assert np.isfinite(mean_and_std(source)).all()
    options = {"workers": 0} if lane == "streaming" else {}
    opened = open_lane(source, 4, lane=lane, shuffle=False, drop_last=False, **options)
    index = torch.cat([canvas.index for batch in opened for canvas in batch])
    assert index.tolist() == [i for i in range(12) if i != 3]
    assert len(opened.bad) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int32, np.uint8])
@pytest.mark.parametrize("lane", ["resident", "streaming", "workers"])
def test_what_leaves_the_range_is_clipped_and_counted(dtype, lane, caplog):
    images = np.random.default_rng(0).integers(0, 17, (12, 8, 8)).astype(dtype)
    images[3, 1, 1] = 100
    source = ArraySource(images, value_range=(0.0, 16.0))
    options = {"workers": {"streaming": 0, "workers": 1}[lane]} if lane != "resident" else {}
    opened = open_lane(
        source, 4, lane="resident" if lane == "resident" else "streaming", shuffle=False, drop_last=False, **options
    )
    pixels = torch.cat([canvas.pixels for batch in opened for canvas in batch])
    np.testing.assert_array_equal(pixels[:, 0].numpy(), images.clip(0, 16))
    assert len(source.clipped) == 1
    assert "array: 1 images hold values outside of 0 to 16, such as array[3]; they were clipped" in caplog.text


def test_whole_ranges_cost_nothing_and_large_arrays_are_looked_at_in_parts(monkeypatch):
    monkeypatch.setattr("selfsight.data.values.extremes", None)
    ArraySource(np.zeros((2, 4, 4), np.uint16)).read(0)
    monkeypatch.setattr("selfsight.data.arrays.LOOKED_AT_VALUES", 20)
    images = torch.zeros(9, 1, 4, 4)
    images[8, 0, 3, 3] = 2
    assert within(images, (0.0, 2.0)) and not within(images, (0.0, 1.0))


def test_rounding_of_shrinking_is_not_counted():
    source = ArraySource(torch.rand(4, 1, 9, 9), value_range=(0.0, 1.0))
    for size in range(2, 9):
        source.read(0, size)
    assert not len(source.clipped)


@pytest.mark.parametrize(
    ("images", "wanted", "read"),
    [
        (np.full((2, 4, 4), 8, np.uint8), (0.0, 16.0), (0.0, 16.0)),
        (np.full((2, 4, 4), 8, np.uint8), (0.0, 255.0), (0.0, 255.0)),
        (np.full((2, 4, 4), 8, np.uint8), (0.0, 1.0), (0.0, 255.0)),
        (np.full((2, 4, 4), 8, np.uint8), (0.0, 65535.0), (0.0, 255.0)),
        (np.full((2, 4, 4), 0.5, np.float32), (0.0, 255.0), (0.0, 1.0)),
        (np.full((2, 4, 4), -3.0, np.float32), (-9.5, 4.5), (-9.5, 4.5)),
    ],
)
def test_data_are_read_in_the_range_of_the_encoder(images, wanted, read):
    source = as_trained(subset(ArraySource(images), [1]), wanted)
    assert source.value_range == read
    assert source.read(0).float().eq(float(images.flat[0])).all()


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (np.full((2, 4, 4), 200, np.uint8), (0.0, 16.0)),
        (np.linspace(-2, 2, 32, dtype=np.float32).reshape(2, 4, 4), (0.0, 255.0)),
        (np.full((2, 4, 4), 3000.0, np.float32), (0.0, 1.0)),
    ],
)
def test_another_scale_is_refused(images, wanted):
    with pytest.raises(ValueError, match=r"lie outside of the range that the encoder was trained with, 0 to"):
        as_trained(ArraySource(images), wanted)


def test_parts_share_the_range_of_the_training_part(caplog):
    train = np.random.default_rng(0).normal(0, 1, (8, 4, 4)).astype(np.float32)
    test = train.copy()
    test[0, 0, 0] = 1000
    parts = splits({"test": test, "train": train})
    assert parts["test"].value_range == parts["train"].value_range
    assert float(parts["test"].read(0).max()) == pytest.approx(train.max())
    assert splits({"train": train, "test": train + 500})["test"].value_range == parts["train"].value_range
    assert "lie outside of the range of the part 'train'" in caplog.text


def test_the_range_of_a_table_is_that_of_its_training_rows(tmp_path):
    rows = ["path,split"]
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", np.full((4, 4), 2.0 + i, np.float32))
        rows.append(f"{i}.npy,{'train' if i < 4 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert {part.value_range for part in splits(tmp_path / "t.csv").values()} == {(2.0, 5.0)}


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_small_differences_of_large_numbers_reach_the_views(dtype):
    images = 2**30 + torch.arange(64, dtype=dtype).reshape(1, 8, 8)
    (canvas,) = next(iter(open_lane(ArraySource(images), 1, shuffle=False)))
    (view,) = original(8)([canvas], torch.Generator()).views
    torch.testing.assert_close(view[0, 0], (torch.arange(64) / 63).reshape(8, 8))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 4, 4), bool),
        np.zeros((2, 4, 4), np.int8),
        np.full((2, 4, 4), 2**31, np.uint32),
        np.full((2, 4, 4), 2**40, np.int64),
        np.zeros((2, 4, 4), np.float16),
        np.zeros((2, 4, 4), np.longdouble),
        np.zeros((2, 4, 4), ">f4"),
        np.asfortranarray(np.arange(32.0).reshape(2, 4, 4)),
        np.arange(32).reshape(2, 4, 4)[:, ::-1],
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_every_type(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    for source in (ArraySource(array), open_source(tmp_path / "a.npy")):
        np.testing.assert_array_equal(source.read(1)[0].numpy(), array[1].astype(source.read(1).numpy().dtype))
        assert source.value_range[0] <= extremes(source.read(1))[0]
        (canvas,) = next(iter(open_lane(source, 2, shuffle=False)))
        assert canvas.pixels.shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((2, 4, 4), complex), "complex128"),
        (np.full((2, 4, 4), "a"), "are not images"),
        (np.full((2, 4, 4), 2**63, np.uint64), "no signed 64-bit number"),
        (np.ma.masked_equal(np.zeros((2, 4, 4)), 0), "masked"),
        (torch.zeros(2, 4, 4, dtype=torch.complex64), "complex64"),
        (np.zeros((2, 0, 4)), "and pixels"),
    ],
)
def test_arrays_that_are_refused(array, why):
    with pytest.raises(ValueError, match=why):
        ArraySource(array)


def test_bfloat16_is_read():
    source = ArraySource(torch.rand(4, 1, 4, 4).to(torch.bfloat16))
    assert next(iter(open_lane(source, 2)))[0].pixels.dtype == torch.float32
