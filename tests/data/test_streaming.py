from __future__ import annotations

import pytest
import torch

from selfsight.data import FolderSource, ResidentLane, StreamingLane

from .test_lane import epoch, indices, numbers

# Python 3.12 warns of any fork beside threads, and workers are forked
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(scope="module")
def lane():
    return StreamingLane(numbers(40), 4, workers=2, seed=7)


def test_workers_change_nothing_and_live_on(lane):
    expected = ResidentLane(numbers(40), 4, seed=7)
    assert epoch(lane) == epoch(expected)
    workers = [worker.pid for worker in lane.loader._iterator._workers]
    assert epoch(lane) == epoch(expected)
    assert [worker.pid for worker in lane.loader._iterator._workers] == workers


def test_prefetched_batches_do_not_count(lane):
    lane.load_state_dict({"epoch": 5, "position": 0})
    batches = iter(lane)
    taken = [indices(next(batches)) for _ in range(3)]
    state = lane.state_dict()
    assert state == {"epoch": 5, "position": 3}
    resumed = StreamingLane(numbers(40), 4, workers=0, seed=7)
    resumed.load_state_dict(state)
    rest = epoch(resumed)
    lane.load_state_dict(state)  # the same workers drop what they had ahead
    assert epoch(lane) == rest
    assert not {tuple(batch) for batch in taken} & {tuple(batch) for batch in rest}


def test_global_generator_is_left_alone(lane):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(iter(lane))
    assert torch.equal(torch.rand(3), expected)


def test_bad_images_are_reported_by_workers(broken):
    lane = StreamingLane(FolderSource(broken), 4, workers=1)
    epoch(lane)
    assert len(lane.bad) == 3
