import pytest

from selfsight.engine.metrics import Metrics, read_rows


@pytest.fixture
def metrics(tmp_path):
    made = Metrics(tmp_path)
    yield made
    made.close()


def test_columns_grow_and_rows_stay(metrics):
    metrics.log(1, {"loss": 2.0})
    metrics.log(2, {"loss": 1.5, "knn": 0.25})
    metrics.log(3, {"loss": 1.0})
    columns, rows = read_rows(metrics.path)
    assert columns == ["step", "loss", "knn"]
    assert [row["loss"] for row in rows] == ["2", "1.5", "1"]
    assert [row["knn"] for row in rows] == ["", "0.25", ""]


def test_cut_back_to_a_checkpoint_and_over_a_half_written_row(metrics, tmp_path):
    for step in (10, 20, 30):
        metrics.log(step, {"loss": step / 10})
    with open(metrics.path, "a") as file:
        file.write("40,4.")
    again = Metrics(tmp_path)
    again.cut_back(20)
    again.log(25, {"loss": 9.0})
    again.close()
    assert [row["step"] for row in read_rows(metrics.path)[1]] == ["10", "20", "25"]


def test_tensorboard_gets_the_same_numbers(metrics, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics.log(5, {"loss": 0.5, "seconds": 9.0})
    metrics.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(5, 0.5)]
