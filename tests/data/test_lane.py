from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from selfsight.data import ArraySource, FolderSource, Lane, ResidentLane, StreamingLane


def resident(source, batch_size, **options):
    return ResidentLane(source, batch_size, **options)


def streaming(source, batch_size, **options):
    return StreamingLane(source, batch_size, workers=0, **options)


def numbers(count):
    """Images whose pixels tell their position."""
    return ArraySource(torch.arange(count, dtype=torch.int16)[:, None, None, None].expand(-1, 1, 2, 2))


def indices(batch):
    return [index for canvas in batch for index in canvas.index.tolist()]


def epoch(lane):
    return [indices(batch) for batch in lane]


@pytest.mark.parametrize("Lane", [resident, streaming])
class TestOrder:
    def test_follows_from_seed_and_epoch(self, Lane):
        source = numbers(23)
        lane = Lane(source, 5, seed=3)
        first, second = epoch(lane), epoch(lane)
        assert len(lane) == len(first) == 4
        assert first != second
        assert len(set(chain(*first))) == 20
        again = Lane(source, 5, seed=3)
        again.set_epoch(1)
        assert epoch(again) == second
        assert epoch(Lane(source, 5, seed=4)) != first

    def test_without_shuffling_or_dropping_every_image_comes_in_order(self, Lane):
        lane = Lane(numbers(23), 5, shuffle=False, drop_last=False)
        assert list(chain(*epoch(lane))) == list(range(23)) == list(chain(*epoch(lane)))

    def test_index_names_the_pixels(self, Lane):
        for batch in Lane(numbers(12), 4):
            for canvas in batch:
                assert canvas.pixels[:, 0, 0, 0].tolist() == canvas.index.tolist()

    def test_an_epoch_cut_short_is_followed_by_the_next(self, Lane):
        whole = Lane(numbers(20), 4)
        expected = [epoch(whole) for _ in range(2)]
        lane = Lane(numbers(20), 4)
        start = iter(lane)
        iter(lane)  # Lightning asks more than once before it takes anything
        start = iter(lane)
        assert [indices(next(start)) for _ in range(5)] == expected[0]  # never exhausted
        assert lane.state_dict() == {"epoch": 1, "position": 0}
        assert epoch(lane) == expected[1]

    @pytest.mark.parametrize("taken", [0, 1, 3, 5])
    def test_resuming_hands_out_exactly_the_rest(self, Lane, taken):
        whole = Lane(numbers(20), 4, seed=1)
        epoch(whole)
        expected = [epoch(whole), epoch(whole)]
        lane = Lane(numbers(20), 4, seed=1)
        lane.set_epoch(1)
        batches = iter(lane)
        for _ in range(taken):
            next(batches)
        resumed = Lane(numbers(20), 4, seed=1)
        resumed.load_state_dict(lane.state_dict())
        iter(resumed)
        if taken < 5:
            assert epoch(resumed) == expected[0][taken:]
        assert epoch(resumed) == expected[1]

    def test_set_epoch_in_an_epoch_changes_nothing(self, Lane):
        lane = Lane(numbers(20), 4)
        lane.load_state_dict({"epoch": 2, "position": 3})
        lane.set_epoch(2)
        assert len(epoch(lane)) == 2

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_ranks_together_are_one_process(self, Lane, world_size):
        one = epoch(Lane(numbers(26), 4 * world_size, seed=5))
        ranks = [epoch(Lane(numbers(26), 4, seed=5, rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert [list(chain(*step)) for step in zip(*ranks, strict=True)] == one

    def test_ranks_stay_equal_when_the_last_batch_is_kept(self, Lane):
        ranks = [epoch(Lane(numbers(11), 4, rank=rank, world_size=2, drop_last=False)) for rank in range(2)]
        assert [[len(batch) for batch in rank] for rank in ranks] == [[4, 2], [4, 2]]
        assert set(chain(*chain(*ranks))) == set(range(11))

    def test_batch_larger_than_the_data(self, Lane):
        with pytest.raises(ValueError, match=r"a batch of 16 is larger than the data, 12 readable images"):
            Lane(numbers(12), 16)
        with pytest.raises(ValueError, match=r"on each of 2 processes .* at most 6"):
            Lane(numbers(12), 7, world_size=2)
        assert len(Lane(numbers(12), 16, drop_last=False)) == 1

    def test_waiting_is_measured(self, Lane):
        lane = Lane(numbers(12), 4)
        epoch(lane)
        assert 0 < lane.wait < 5


def test_lanes_hand_out_the_same(ragged):
    source = FolderSource(ragged)
    for one, other in zip(ResidentLane(source, 6, seed=2, size=13), streaming(source, 6, seed=2, size=13), strict=True):
        for first, second in zip(one, other, strict=True):
            assert torch.equal(first.pixels, second.pixels)
            assert torch.equal(first.extent, second.extent)
            assert torch.equal(first.index, second.index)
            assert first.uniform == second.uniform


def test_metadata_follows_the_images(pictures):
    source = FolderSource(pictures)
    for lane in (ResidentLane(source, 5), streaming(source, 5)):
        for batch in lane:
            for canvas in batch:
                np.testing.assert_array_equal(canvas.metadata["label"], source.labels[canvas.index])
                assert canvas.value_range == (0.0, 255.0)


def test_images_are_drawn_by_weights():
    source = ArraySource(np.zeros((40, 1, 4, 4), np.uint8))
    lane = Lane(source, 4, members=np.arange(2, 40), seed=3)
    plain = lane.order(0)
    weights = torch.zeros(40)
    weights[5], weights[7] = 1.0, 3.0
    lane.draw_by(weights)
    drawn = np.concatenate([lane.order(epoch) for epoch in range(50)])
    assert set(drawn) == {5, 7} and abs((drawn == 7).mean() - 0.75) < 0.03
    assert (lane.order(4) == lane.order(4)).all() and (lane.order(4) != lane.order(5)).any()
    lane.draw_by(None)
    assert (lane.order(0) == plain).all()


@pytest.mark.parametrize("weights", [torch.ones(39), torch.zeros(40), -torch.ones(40), torch.full((40,), torch.nan)])
def test_weights_that_cannot_be_are_refused(weights):
    lane = Lane(ArraySource(np.zeros((40, 1, 4, 4), np.uint8)), 4)
    with pytest.raises(ValueError, match="weights"):
        lane.draw_by(weights)
