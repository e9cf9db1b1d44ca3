import os

import pytest

from selfsight.engine.claim import Claim
from selfsight.engine.run_folder import Run, config_hash, open_run

CONFIG = {
    "data": "images",
    "method": "simclr",
    "encoder": "resnet18",
    "epochs": 3,
    "view_options": {"blur": 0.0},
    "workers": None,
}


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "run"
    with Claim(path, "simclr") as claim:
        claim.take(CONFIG)
    return path


def test_a_config_that_is_no_settings_is_refused_in_one_line(filled):
    file = filled / "config.yaml"
    for content in (b"words", b"- 1", b"a: [", b"\xff\xfe\xff", b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="choose another run") as raised:
            _ = Run(filled).config
        assert "\n" not in str(raised.value)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match="is no file"):
        _ = Run(filled).config


def test_the_hash_follows_what_is_computed():
    assert config_hash(CONFIG) == config_hash({**CONFIG, "workers": 8})
    assert config_hash(CONFIG) != config_hash({**CONFIG, "epochs": 4})


def test_open_run(filled, tmp_path):
    run = open_run(filled)
    assert run == Run(filled) and run.config == CONFIG
    assert run.summary == {} and run.metrics.empty and not run.finished
    with pytest.raises(ValueError, match="holds no run"):
        open_run(tmp_path)


def test_a_table_that_diverged_or_was_torn_is_read(filled):
    (filled / "metrics.csv").write_text("step,epoch,loss,knn\n1,1,nan,\n2,2,inf,0.5\n\0\0\0\n3,3,-inf,0.5\nx,1,1,1\n4,")
    metrics = open_run(filled).metrics
    assert metrics["step"].tolist() == [1, 2, 3] and metrics["step"].dtype == int
    assert metrics["loss"].tolist()[1:] == [float("inf"), -float("inf")] and metrics["loss"].isna()[0]
    assert metrics["knn"].isna().tolist() == [True, False, False]
