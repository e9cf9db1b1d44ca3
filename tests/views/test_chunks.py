import pytest
import torch

from selfsight.data.canvas import Canvas, full_canvas
from selfsight.views import Augmentation, chunks, multi_crop, original
from selfsight.views.chunks import cut

EVERY = Augmentation(solarize=0.3, noise=0.5, cutout=0.5)


@pytest.fixture
def threads():
    """Sets how many threads torch has, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def photographs(n, size, seed=0):
    pixels = torch.randint(0, 256, (n, 3, 6, 6), generator=torch.Generator().manual_seed(seed)).float()
    return full_canvas(torch.nn.functional.interpolate(pixels, size=(size, size), mode="bicubic").clamp(0, 255).byte())


@pytest.mark.parametrize(
    ("count", "values", "parts"), [(512, 3072, 4), (32, 3 * 256**2, 16), (80, 3072, 1), (1, 10**9, 1)]
)
def test_a_batch_is_cut_evenly_into_what_fits_the_cache(count, values, parts):
    canvas = Canvas(torch.empty(count, 1, 2, 2), torch.empty(count, 2), torch.arange(count))
    together = list(cut([canvas, canvas], [values, values]))
    assert len(together) == 2 * parts and max(len(chunk) for chunk, _ in together) == -(-count // parts)
    rows = [row for _, part in together for row in range(2 * count)[part]]
    assert rows == list(range(2 * count))
    assert all(chunk.index[0] == part.start % count for chunk, part in together)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("rows", [3, 11])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_neither_chunks_nor_threads_change_a_bit_of_the_views(size, rows, number, threads, monkeypatch):
    canvas = photographs(11, size)
    views = (multi_crop(size, EVERY) + original(size - 8)).normalised((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    threads(1)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 1 << 30)
    expected = views([canvas], torch.Generator().manual_seed(0)).views
    threads(number)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", rows * 4 * 3 * size**2)
    before = canvas.pixels.clone()
    for view, whole in zip(views([canvas], torch.Generator().manual_seed(0)).views, expected, strict=True):
        assert view.equal(whole)
    assert torch.get_num_threads() == number and canvas.pixels.equal(before)
