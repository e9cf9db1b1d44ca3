"""The memory of past embeddings."""

from __future__ import annotations

import pytest
import torch

from selfsight.losses import blocks
from selfsight.methods._queue import Queue


def numbers(queue):
    return queue.rows[:, 0].tolist()


def test_it_starts_as_the_same_noise_on_the_sphere_in_a_run():
    torch.manual_seed(1)
    first, _, second = Queue(8, 3), torch.rand(5), Queue(8, 3)
    assert torch.equal(first.rows, second.rows)
    torch.manual_seed(2)
    assert not torch.isclose(first.rows, Queue(8, 3).rows).any()
    torch.testing.assert_close(first.rows.norm(dim=1), torch.ones(8))
    assert not first.full


def test_the_oldest_give_way_first():
    queue = Queue(5, 1)
    for start in (0, 3, 6):
        queue.push(torch.arange(start, start + 3.0)[:, None])
        assert queue.full == (start > 0)
    assert numbers(queue) == [5, 6, 7, 8, 4]


def test_the_place_travels_with_the_state():
    queue, other = Queue(5, 1), Queue(5, 1)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]))
    other.load_state_dict(queue.state_dict())
    for twin in (queue, other):
        twin.push(torch.tensor([[4.0], [5.0], [6.0]]))
    assert numbers(queue) == numbers(other) == [6, 2, 3, 4, 5]


def test_a_batch_longer_than_the_queue_is_named():
    with pytest.raises(ValueError, match=r"queue of 2 cannot hold a batch of 3: lengthen it with queue="):
        Queue(2, 1).push(torch.zeros(3, 1))


def test_nearest_rows_come_in_order_and_by_cosine(monkeypatch):
    queue = Queue(7, 3)
    z = 10 * torch.randn(5, 3)
    nearest = queue.nearest(z, 3)
    similarity = torch.nn.functional.cosine_similarity(z[:, None], queue.rows, dim=2)
    assert torch.equal(nearest, queue.rows[similarity.argsort(1, descending=True)[:, :3]])
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", 14)
    assert torch.equal(queue.nearest(z, 3), nearest)
    assert torch.equal(queue.nearest(queue.rows)[:, 0], queue.rows)


def test_nearest_rows_are_found_in_full_precision():
    queue, z = Queue(64, 3), torch.randn(16, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(queue.nearest(z), queue.nearest(z.double().float()))
        assert queue.nearest(z.bfloat16()).dtype == torch.float32
    assert not queue.nearest(z.requires_grad_()).requires_grad


def test_a_length_that_cannot_work_is_refused_and_one_that_meets_itself_is_told(caplog):
    with pytest.raises(ValueError, match=r"queue of 4 cannot hold a batch of 6: lengthen it with queue="):
        Queue(4, 1).check(samples=100, batch=6)
    Queue(6, 1).check(samples=6, batch=6)
    assert not caplog.records
    Queue(7, 1).check(samples=6, batch=6)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "queue of 7" in record.message and "6 images" in record.message


def shares():
    torch.manual_seed(0)
    queue = Queue(7, 2)
    queue.push(torch.full((2, 2), float(torch.distributed.get_rank())))
    return queue.rows, queue.share


def test_ranks_hold_the_same_and_share_the_whole(gloo_pool):
    (rows, first), (same, second) = gloo_pool.run(shares)
    assert torch.equal(rows, same) and torch.equal(torch.cat([first, second]), rows)
    assert rows[:4, 0].tolist() == [0, 0, 1, 1]
