from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from selfsight.data.decoding import decode, encoded_shape, scaled_shape, shrink
from selfsight.data.kinds import ImageFormat, Kind, common_format, is_deep, kind_of

from .conftest import picture


def encoded(array, suffix, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array.squeeze())
    stream = BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_are_exact(suffix, channels):
    array = picture(11, 17, channels)
    data = encoded(array, suffix, **({"lossless": True} if suffix == "webp" else {}))
    pixels = decode(data, ImageFormat(channels))
    assert pixels.dtype == torch.uint8
    torch.testing.assert_close(pixels, torch.from_numpy(array).permute(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pil_decodes(channels):
    data = encoded(picture(40, 56, channels), "jpeg", quality=95)
    expected = np.asarray(Image.open(BytesIO(data)), dtype=np.float32).reshape(40, 56, channels)
    difference = decode(data, ImageFormat(channels)).permute(1, 2, 0).numpy() - expected
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("suffix", ["jpeg", "tiff"])
def test_exif_rotation_is_undone(suffix, tmp_path):
    array = picture(16, 48)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    data = encoded(array, suffix, exif=exif, **({"quality": 95} if suffix == "jpeg" else {}))
    pixels = decode(data, ImageFormat(3)).permute(1, 2, 0).numpy().astype(int)
    upright = np.rot90(array, -1).astype(int)
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).mean() < 6
    (tmp_path / "turned").write_bytes(data)
    assert encoded_shape(str(tmp_path / "turned")) == (48, 16)


def test_palette_and_its_transparency():
    image = Image.fromarray(picture(8, 8)).quantize(16)
    opaque = encoded(image, "png")
    torch.testing.assert_close(
        decode(opaque, ImageFormat(3)), torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    )
    clear = Image.open(BytesIO(encoded(image, "png", transparency=bytes([0] + [255] * 15))))
    assert kind_of(Image.open(BytesIO(opaque))) == Kind(grey=False)
    assert kind_of(clear) == Kind(grey=False, transparent=True)
    assert common_format([kind_of(clear)], None).channels == 3


def test_sixteen_bits_survive():
    array = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    data = encoded(array, "png")
    pixels = decode(data, common_format([kind_of(Image.open(BytesIO(data)))], None))
    assert pixels.dtype == torch.uint16
    np.testing.assert_array_equal(pixels[0].numpy(), array)
    np.testing.assert_array_equal(decode(data, ImageFormat(1))[0].numpy(), array >> 8)
    tripled = decode(data, ImageFormat(3, torch.uint16))
    np.testing.assert_array_equal(tripled[2].numpy(), array)


def test_float_tiff_survives():
    array = np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)
    data = encoded(array, "tiff")
    np.testing.assert_array_equal(decode(data, common_format([GREY_FLOAT], None))[0].numpy(), array)


GREY, COLOUR, CLEAR = Kind(True), Kind(False), Kind(False, transparent=True)
GREY_16, GREY_FLOAT, GREY_SIGNED = Kind(True, "16"), Kind(True, "float"), Kind(True, "int")


@pytest.mark.parametrize(
    ("kinds", "channels", "dtype"),
    [
        ([GREY], 1, torch.uint8),
        ([GREY, COLOUR], 3, torch.uint8),
        ([GREY] * 3 + [COLOUR] * 80, 3, torch.uint8),
        ([GREY] * 80 + [COLOUR] * 3, 1, torch.uint8),
        ([CLEAR] + [COLOUR] * 80, 3, torch.uint8),
        ([CLEAR], 3, torch.uint8),
        ([GREY_16], 1, torch.uint16),
        ([GREY_16, GREY], 1, torch.uint8),
        ([GREY_16] * 3 + [GREY], 1, torch.uint16),
        ([GREY_FLOAT] * 3 + [GREY], 1, torch.float32),
        ([GREY_SIGNED], 1, torch.int32),
        ([GREY_SIGNED, Kind(True, "wide")], 1, torch.int64),
    ],
)
def test_most_images_decide_the_format(kinds, channels, dtype):
    assert common_format(kinds, None) == ImageFormat(channels, dtype)


def test_four_channels_are_asked_for():
    assert common_format([CLEAR], 4).channels == 4


def test_impossible_channels_name_the_way_out():
    with pytest.raises(ValueError, match=r"not 5: use \.npy"):
        common_format([COLOUR], 5)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((100, 200), 50, (50, 100)),
        ((100, 1000), 50, (15, 150)),
        ((40, 60), 50, (40, 60)),
        ((40, 300), 50, (20, 150)),
        ((64, 80, 96), 32, (32, 40, 48)),
        ((7, 9), None, (7, 9)),
    ],
)
def test_scaled_shape_is_undistorted_and_bounded(shape, size, expected):
    assert scaled_shape(shape, size) == expected


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float32])
def test_shrinking_does_not_alias(dtype):
    stripes = (torch.arange(96) % 2 * 100).expand(1, 96, 96).to(dtype)
    small = shrink(stripes, 24).float()
    assert small.shape == (1, 24, 24)
    assert (small - 50).abs().max() <= 12  # PIL's triangle filter leaves as much at the borders


def test_shrinking_a_volume_keeps_its_mean():
    volume = torch.rand(1, 40, 48, 44)
    small = shrink(volume, 10)
    assert small.shape == (1, 10, 12, 11)
    torch.testing.assert_close(small.mean(), volume.mean(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [30, 100, 250])
def test_scaled_jpeg_looks_like_the_shrunk_one(size):
    array = picture(300, 400)
    data = encoded(array, "jpeg", quality=95)
    pixels = decode(data, ImageFormat(3), size).permute(1, 2, 0).numpy().astype(int)
    expected = Image.fromarray(array).resize((round(size * 4 / 3), size), Image.Resampling.BILINEAR)
    assert pixels.shape == (size, round(size * 4 / 3), 3)
    assert np.abs(pixels - np.asarray(expected).astype(int)).mean() < 3


@pytest.mark.parametrize("most", [1, 255, 256, 65535])
def test_a_coloured_ppm_is_deep_beyond_a_byte(most):
    pixels = bytes(2 * 2 * 3 * (1 if most < 256 else 2))
    assert is_deep(Image.open(BytesIO(b"P6 2 2 %d\n" % most + pixels))) == (most > 255)
