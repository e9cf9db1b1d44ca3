"""Pixels equal those of an independent reader, for every mode and depth; what is broken or left out is said."""

from __future__ import annotations

import logging

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

from selfsight.data import UnreadableImage, open_source
from selfsight.data.files import IMAGE_SUFFIXES, FileSource

from .conftest import picture

RANDOM = np.random.default_rng(0)
SHAPE = (6, 5)


def numbers(dtype, *channels):
    """Random values over the whole range of a type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return RANDOM.normal(0, 1000, (*SHAPE, *channels)).astype(dtype)
    bounds = np.iinfo(dtype)
    return RANDOM.integers(bounds.min, bounds.max, (*SHAPE, *channels), dtype=dtype, endpoint=True)


def opened(path, **options):
    return FileSource([str(path)], pd.DataFrame({"path": [str(path)]}), name=path.name, **options)


def channels_last(pixels):
    array = pixels.numpy()
    return array[0] if len(array) == 1 else array.transpose(1, 2, 0)


TIFFS = [
    *((dtype, order, {}) for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f4") for order in "<>"),
    ("u2", "<", {"compression": "lzw", "predictor": True}),
    ("f4", "<", {"compression": "deflate", "predictor": 3}),
    ("u1", "<", {"compression": "zstd"}),
    *((dtype, "<", {}) for dtype in ("f2", "f8", "u8")),  # which Pillow does not read
]


@pytest.mark.parametrize(("dtype", "order", "options"), TIFFS)
def test_grey_tiff(dtype, order, options, tmp_path):
    array = numbers(dtype) if dtype != "u8" else numbers("u4").astype("u8")
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=order, photometric="minisblack", **options)
    source = opened(tmp_path / "a.tif")
    np.testing.assert_array_equal(channels_last(source.read(0)), tifffile.imread(tmp_path / "a.tif"))
    low, high = source.value_range
    assert low <= array.min() and array.max() <= high


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero(dtype, tmp_path):
    array = numbers(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(channels_last(opened(tmp_path / "a.tif").read(0)), np.iinfo(dtype).max - array)


@pytest.mark.parametrize("samples", [5, 13])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_tiff_of_many_samples(samples, planar, dtype, tmp_path):
    array = numbers(dtype, samples)
    stored = array if planar == "contig" else np.ascontiguousarray(array.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    source = opened(tmp_path / "a.tif")
    assert source.channels == samples
    np.testing.assert_array_equal(channels_last(source.read(0)), array)


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_colour_tiff_of_other_numbers(dtype, tmp_path):
    array = numbers(dtype, 3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    np.testing.assert_array_equal(channels_last(opened(tmp_path / "a.tif").read(0)), array)


def test_without_tifffile_the_error_says_what_the_file_is(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsight.data.tiff.library", lambda: None)
    tifffile.imwrite(tmp_path / "a.tif", numbers("u1", 5), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ValueError, match=r"a TIFF of 5 samples a pixel of 8 bits.*convert it to \.npy"):
        opened(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("suffix", ["png", "jp2"])
def test_png_and_jpeg_2000(dtype, channels, suffix, tmp_path):
    array = numbers(dtype, *channels)
    encode = imagecodecs.png_encode if suffix == "png" else lambda array: imagecodecs.jpeg2k_encode(array, level=0)
    (tmp_path / f"a.{suffix}").write_bytes(encode(array))
    pixels = channels_last(opened(tmp_path / f"a.{suffix}").read(0)).astype(int)
    if channels and dtype == "u2":  # Pillow keeps 8 bits of deep colour, and the log says so
        assert np.abs(pixels - array / 257).max() < 2
    else:
        np.testing.assert_array_equal(pixels, array)


@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_in_sixteen(bits, tmp_path):
    array = numbers("u2") >> (16 - bits)
    tifffile.imwrite(tmp_path / "a.tif", array)
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(array, level=0, bitspersample=bits))
    for name in ("a.tif", "a.jp2"):
        np.testing.assert_array_equal(channels_last(opened(tmp_path / name).read(0)), array)


def test_signed_jpeg_2000(tmp_path):
    array = numbers("i2")
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(array, level=0))
    np.testing.assert_array_equal(channels_last(opened(tmp_path / "a.jp2").read(0)), array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_as_every_number_of_channels(mode, channels, tmp_path):
    image = Image.fromarray(picture(24, 20)).convert(mode if mode != "PA" else "P").convert(mode)
    suffix = "png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "tif"
    path = tmp_path / f"a.{suffix if mode != 'PA' else 'png'}"
    image = image.convert("RGBA") if mode == "PA" else image
    image.save(path)
    pixels = channels_last(opened(path, channels=channels).read(0)).astype(int)
    expected = np.asarray(image.convert("RGB").convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).astype(int)
    assert np.abs(pixels - expected).max() <= 1


def test_cmyk_jpeg_as_opencv_reads_it(tmp_path):
    Image.fromarray(picture(48, 40)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)  # with Adobe's inversion
    ours = channels_last(opened(tmp_path / "a.jpg").read(0)).astype(int)
    theirs = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1].astype(int)
    assert np.abs(ours - theirs).mean() < 2


def test_lab_is_converted_by_its_definition(tmp_path):
    lab = cv2.cvtColor((picture(16, 16) / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1] % 256, lab[..., 2] % 256], -1).round().astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="cielab")
    ours = channels_last(opened(tmp_path / "a.tif").read(0)).astype(int)
    assert np.abs(ours - picture(16, 16)).mean() < 6  # another white point


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation(turn, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(picture(32, 48)).save(
        tmp_path / f"a.{suffix}", exif=exif, **({"quality": 95} if suffix == "jpg" else {"lossless": True})
    )
    source = opened(tmp_path / f"a.{suffix}")
    ours = channels_last(source.read(0)).astype(int)
    stored = picture(32, 48)
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1), 7: np.rot90(stored, 2).transpose(1, 0, 2), 8: np.rot90(stored),
    }[turn]  # fmt: skip
    assert source.shape(0) == upright.shape[:2] == ours.shape[:2]
    assert np.abs(ours - upright).mean() < (8 if suffix == "jpg" else 0.5)


@pytest.mark.parametrize("turn", [2, 6, 7])
def test_exif_orientation_of_sixteen_bits(turn, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = turn
    array = numbers("u2")
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    turned = {2: array[:, ::-1], 6: np.rot90(array, -1), 7: np.rot90(array, 2).T}[turn]
    np.testing.assert_array_equal(channels_last(opened(tmp_path / "a.png").read(0)), turned)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_is_read_and_said(suffix, tmp_path, caplog):
    frames = [Image.fromarray(picture(16, 16, seed=seed)).quantize(64) for seed in (0, 1)]
    frames = frames if suffix == "gif" else [frame.convert("RGB") for frame in frames]
    options = {} if suffix in ("gif", "tif") else {"lossless": True}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    pixels = channels_last(opened(tmp_path / f"a.{suffix}").read(0))
    np.testing.assert_array_equal(pixels, np.asarray(frames[0].convert("RGB")))
    assert "1 of 1 images looked at have several frames or pages" in caplog.text


def test_what_is_left_out_is_said_with_counts(tmp_path, caplog):
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(numbers("u2", 3)))
    tifffile.imwrite(tmp_path / "extra.tif", numbers("u1", 4), photometric="rgb", extrasamples=["unspecified"])
    Image.fromarray(numbers("u1", 3)).save(tmp_path / "profile.png", icc_profile=b"a wide gamut" * 20)
    Image.fromarray(numbers("u1", 4), "RGBA").save(tmp_path / "clear.png")
    Image.fromarray(numbers("u1")).save(tmp_path / "grey.png")
    caplog.set_level(logging.INFO)
    open_source(tmp_path)
    for said in (
        "16 bits a channel",
        "more samples a pixel",
        "(ICC)",
        "the alpha channel is dropped",
        "are grey and 4",
    ):
        assert [line for line in caplog.messages if said in line and "1 of 5 images looked at" in line], said


def test_other_numbers_among_eight_bits_are_bad_images(tmp_path):
    for i in range(3):
        Image.fromarray(numbers("u1")).save(tmp_path / f"{i}.png")
    tifffile.imwrite(tmp_path / "z.tif", numbers("f4"))
    source = open_source(tmp_path)
    with pytest.raises(UnreadableImage, match=r"z\.tif: it holds floats, and the others uint8"):
        source.read(3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, before it raises
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "gif", "jp2", "ppm", "tga", "qoi", "ico"])
def test_a_file_that_is_cut_is_bad_or_whole(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(40, 37)).save(path)
    whole = path.read_bytes()
    source = opened(path)
    expected = source.read(0)
    for cut in (4, 20, *(len(whole) * part // 8 for part in range(1, 8)), len(whole) - 13, len(whole) - 1):
        path.write_bytes(whole[:cut])
        try:
            pixels = source.read(0)
        except UnreadableImage as error:
            assert path.name in str(error)
        else:
            torch.testing.assert_close(pixels, expected)


def test_every_suffix_that_pillow_opens_is_an_image():
    assert {".jpg", ".png", ".jp2", ".avif", ".gif", ".ppm", ".tga", ".jfif", ".mpo", ".ico", ".tif"} <= {
        *IMAGE_SUFFIXES
    }
    assert not {".pdf", ".eps", ".h5", ".mpg", ".npy"} & {*IMAGE_SUFFIXES}


def test_capital_suffixes(tmp_path):
    Image.fromarray(picture(8, 8)).save(tmp_path / "A.PNG")
    assert len(open_source(tmp_path)) == 1
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    with open(arrays / "A.NPY", "wb") as file:
        np.save(file, numbers("u1"))
    assert open_source(arrays).read(0).shape == (1, *SHAPE)


@pytest.mark.parametrize("shape", [(500, 2), (2, 500), (1, 1), (1, 40)])
@pytest.mark.parametrize("kind", ["png", "npy", "array"])
@pytest.mark.parametrize("lane", ["resident", "streaming"])
def test_thin_images_give_views(shape, kind, lane, tmp_path):
    from selfsight.data import open_lane
    from selfsight.views import two_views

    images = RANDOM.integers(0, 256, (4, *shape, 3), dtype=np.uint8)
    if kind != "array":
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{i}.png") if kind == "png" else np.save(tmp_path / f"{i}", image)
    options = {"channels": 3} if shape[0] <= 4 else {}
    source = open_source(images if kind == "array" else tmp_path, **({} if kind == "png" else options))
    if shape[0] != 3:
        assert source.read(0).shape == (3, *shape)
    batches = list(open_lane(source, 2, lane=lane, view_size=16, workers=0 if lane == "streaming" else 1))
    views = two_views(16)(batches[0], torch.Generator().manual_seed(0)).views
    assert all(view.shape == (2, 3, 16, 16) and view.isfinite().all() for view in views)
