import pytest

from selfsight.engine.run_folder import (
    Run,
    check_folder,
    check_same_run,
    choose_folder,
    claim_folder,
    config_hash,
    open_run,
)

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
    claim_folder(path, CONFIG, overwrite=False)
    return path


def test_a_fresh_folder_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = choose_folder(None, "vicreg")
    first.mkdir(parents=True)
    assert [str(first), str(choose_folder(None, "vicreg"))] == ["runs/vicreg-1", "runs/vicreg-2"]
    assert str(choose_folder("mine", "vicreg")) == "mine"
    with pytest.raises(ValueError, match="name one with out"):
        choose_folder(None, "vicreg", several=True)


def test_a_folder_with_something_in_it_is_refused(filled, tmp_path):
    check_folder(tmp_path / "new", resume=False, overwrite=False)
    check_folder(filled, resume=True, overwrite=False)
    check_folder(filled, resume=False, overwrite=True)
    with pytest.raises(ValueError, match=r"not empty: resume goes on.*overwrite deletes"):
        check_folder(filled, resume=False, overwrite=False)
    with pytest.raises(ValueError, match="choose one"):
        check_folder(filled, resume=True, overwrite=True)


def test_what_is_no_run_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds no run"):
        check_folder(tmp_path, resume=False, overwrite=True)
    with pytest.raises(ValueError, match="is a file"):
        check_folder(tmp_path / "thesis.tex", resume=False, overwrite=True)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        ValueError, match=r"cannot make the folder .*thesis.tex.run \(Not a directory\): choose another"
    ):
        claim_folder(tmp_path / "thesis.tex" / "run", CONFIG, overwrite=False)


def test_overwrite_deletes_the_former_run(filled):
    (filled / "metrics.csv").write_text("step\n")
    claim_folder(filled, {**CONFIG, "epochs": 9}, overwrite=True)
    assert not (filled / "metrics.csv").exists() and open_run(filled).config["epochs"] == 9


def test_resuming_names_what_differs(filled):
    claim_folder(filled, {**CONFIG, "workers": 4}, overwrite=False)  # changes nothing that is computed
    with pytest.raises(ValueError, match=r"settings: epochs was 3, now 4; view_options.blur was 0.0, now 0.5\. Repeat"):
        claim_folder(filled, {**CONFIG, "epochs": 4, "view_options": {"blur": 0.5}}, overwrite=False)
    with pytest.raises(ValueError, match=r"settings: method was 'simclr', now 'vicreg'\. Repeat"):
        claim_folder(filled, {**CONFIG, "method": "vicreg", "lr": 9}, overwrite=False)
    check_same_run(CONFIG, CONFIG, filled)


def test_the_hash_follows_what_is_computed():
    assert config_hash(CONFIG) == config_hash({**CONFIG, "workers": 8})
    assert config_hash(CONFIG) != config_hash({**CONFIG, "epochs": 4})


def test_open_run(filled, tmp_path):
    run = open_run(filled)
    assert run == Run(filled) and run.config == CONFIG
    assert run.summary == {} and run.metrics.empty and not run.finished
    with pytest.raises(ValueError, match="holds no run"):
        open_run(tmp_path)
