import io

from selfsight.engine.progress import Progress, describe, duration


def test_one_line_an_epoch_without_a_terminal():
    stream = io.StringIO()
    progress = Progress(epochs=2, steps=4, stream=stream)
    for step in (1, 2):
        progress.update(step, 1, {"loss": 4.0})
    progress.update(2, 1, {"images_per_second": 12345.0, "knn": 0.412}, ended=True)
    progress.update(4, 2, {"loss": 3.0}, ended=True)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("epoch 1/2  loss 4  12,345 images/s  kNN 0.412") and lines[0].endswith("left")
    assert lines[1] == "epoch 2/2  loss 3  12,345 images/s (epoch 1)  kNN 0.412 (epoch 1)"


def test_a_terminal_sees_one_line_rewritten():
    stream = io.StringIO()
    stream.isatty = lambda: True
    progress = Progress(epochs=1, steps=2, stream=stream)
    progress._shown = 0.0
    progress.update(1, 1, {"loss": 4.0})
    progress.update(2, 1, ended=True)
    assert stream.getvalue().count("\r\x1b[2K") == 2 and stream.getvalue().count("\n") == 1


def test_the_last_epochs_values_are_marked_only_when_a_line_closes():
    stream = io.StringIO()
    stream.isatty = lambda: True
    progress = Progress(epochs=3, steps=3, stream=stream)
    progress.update(1, 1, {"loss": 4.0, "knn": 0.4}, ended=True)
    progress._shown = 0.0
    progress.update(2, 2, {"loss": 3.0})
    assert "kNN 0.400  " in stream.getvalue().split("\r")[-1]
    progress.update(2, 2, ended=True)
    assert "kNN 0.400 (epoch 1)" in stream.getvalue().split("\r")[-1]
    progress._shown = 0.0
    progress.update(3, 3, {"loss": 2.0})
    assert "loss 2  kNN 0.400 (epoch 1)" in stream.getvalue().split("\r")[-1]


def test_silent_ranks():
    Progress(epochs=1, steps=1, stream=None).update(1, 1, ended=True)


def test_only_what_was_measured_is_named():
    assert describe(3, 9, {"loss": 1.5, "projector_spread": 0.812, "data_wait": 0.04}) == (
        "epoch 3/9  loss 1.5  spread 0.81  data wait 4%"
    )


def test_durations():
    assert [duration(seconds) for seconds in (12, 300, 3 * 3600 + 300)] == ["12s", "5m", "3h05"]
