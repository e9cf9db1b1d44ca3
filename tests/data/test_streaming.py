from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch

from selfsight.data import ArraySource, FolderSource, ResidentLane, StreamingLane, streaming

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


class Counted(ArraySource):
    """Counts the images that any process reads."""

    def __init__(self, count):
        super().__init__(torch.zeros(count, 1, 2, 2))
        self.reads = multiprocessing.Value("i", 0)

    def read(self, index, size=None):
        with self.reads.get_lock():
            self.reads.value += 1
        return super().read(index, size)


def at_rest(reads):
    """The number of reads, once there are no more for a while."""
    found, since = reads.value, time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.02)
        if reads.value != found:
            found, since = reads.value, time.monotonic()
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_two_batches_a_worker_are_read_ahead_and_no_more(workers):
    source = Counted(400)
    batches = iter(StreamingLane(source, 4, workers=workers, seed=7))
    for taken in (1, 2, 3):
        next(batches)
        assert at_rest(source.reads) == 4 * (taken + 2 * workers)


def test_without_workers_nothing_is_read_ahead():
    source = Counted(400)
    batches = iter(StreamingLane(source, 4, workers=0, seed=7))
    for taken in (1, 2, 3):
        next(batches)
        assert source.reads.value == 4 * taken


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


def assert_same_batches(lane, expected):
    for batch, other in zip(lane, expected, strict=True):
        for canvas, same in zip(batch, other, strict=True):
            assert torch.equal(canvas.pixels, same.pixels) and torch.equal(canvas.index, same.index)


@pytest.mark.parametrize("broken", ["full", "filling"])
def test_too_little_shared_memory_is_said_and_changes_nothing(monkeypatch, caplog, broken):
    if broken == "full":
        monkeypatch.setattr(streaming, "free_shared_memory", lambda: 0.0)
    else:

        def refuse(self):
            raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

        monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    assert_same_batches(StreamingLane(numbers(40), 4, workers=2, seed=7), ResidentLane(numbers(40), 4, seed=7))
    assert caplog.text.count("shared memory (/dev/shm") == 1 and "--shm-size" in caplog.text


@pytest.mark.parametrize(("number", "named"), [(signal.SIGKILL, "out of memory"), (signal.SIGBUS, "shared memory")])
def test_a_killed_worker_is_named_where_its_batch_is_wanted(number, named):
    lane = StreamingLane(numbers(4000), 4, workers=1, seed=7)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(lane)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before  # nothing is raised in the middle of a step
    (worker,) = lane.loader._iterator._workers
    os.kill(worker.pid, number)
    worker.join()
    with pytest.raises(RuntimeError, match=rf"worker that reads images was ended by signal {number.name}.*{named}"):
        for _ in batches:
            pass


def test_a_worker_killed_between_two_epochs_is_named():
    lane = StreamingLane(numbers(12), 4, workers=1, seed=7)
    epoch(lane)
    (worker,) = lane.loader._iterator._workers
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with pytest.raises(RuntimeError, match="ended by signal SIGKILL"):
        epoch(lane)


def test_a_worker_leaves_signals_to_its_parent():
    lane = StreamingLane(numbers(4000), 4, workers=1, seed=7)
    batches = iter(lane)
    next(batches)
    (worker,) = lane.loader._iterator._workers
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(worker.pid, number)
    for _ in range(20):
        next(batches)
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=20)
    assert worker.exitcode == -signal.SIGTERM
