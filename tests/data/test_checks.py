from __future__ import annotations

import logging

import pytest

from selfsight.data import BadImages, FolderSource, ResidentLane, StreamingLane


@pytest.mark.parametrize(
    ("max_bad", "total", "allowed"), [(None, 100, 10), (None, 5000, 50), (3, 100, 3), (0, 9, 0), (0.2, 50, 10)]
)
def test_how_many_are_borne(max_bad, total, allowed):
    assert BadImages(max_bad).allowed(total) == allowed


@pytest.mark.parametrize("Lane", [ResidentLane, lambda *args, **options: StreamingLane(*args, workers=0, **options)])
def test_bad_images_are_skipped_named_once_and_counted(broken, caplog, Lane):
    lane = Lane(FolderSource(broken), 4, seed=1)
    with caplog.at_level(logging.WARNING):
        seen = [index for _ in range(2) for batch in lane for canvas in batch for index in canvas.index.tolist()]
    assert not {1, 3, 5} & set(seen)
    assert [name.split(": ")[0][-6:] for name in lane.bad.names] == ["01.png", "03.png", "05.png"]
    assert "the file is empty" in lane.bad.names[0]
    assert "this is not an image" in lane.bad.names[2]
    assert sum("skipped an unreadable image" in message for message in caplog.messages) <= 3


@pytest.mark.parametrize("Lane", [ResidentLane, lambda *args, **options: StreamingLane(*args, workers=0, **options)])
def test_too_many_bad_images_are_an_error(broken, Lane):
    with pytest.raises(ValueError, match=r"3 of 12 images are unreadable, more than max_bad allows \(2\)"):
        list(Lane(FolderSource(broken), 12, bad=BadImages(2), drop_last=False))


def test_no_readable_image_is_an_error(pictures):
    source = FolderSource(pictures)
    for path in source.paths:
        open(path, "wb").close()
    with pytest.raises(ValueError, match=r"no readable image: all 12 fail, such as .*the file is empty"):
        ResidentLane(source, 4, bad=BadImages(1.0))


def test_resident_batch_counts_only_what_is_readable(broken):
    with pytest.raises(ValueError, match=r"a batch of 10 is larger than .* 9 readable images of 12, .*at most 9"):
        ResidentLane(FolderSource(broken), 10)


def test_streaming_keeps_its_batch_size_in_training_only(broken):
    source = FolderSource(broken)
    full = StreamingLane(source, 4, workers=0)
    assert [sum(map(len, batch)) for batch in full] == [4, 4, 4]
    once = StreamingLane(source, 4, workers=0, shuffle=False, drop_last=False)
    seen = [index for batch in once for canvas in batch for index in canvas.index.tolist()]
    assert seen == [0, 2, 4, 6, 7, 8, 9, 10, 11]
