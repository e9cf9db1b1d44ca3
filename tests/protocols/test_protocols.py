"""Every protocol: the known answer, the same again, whatever the order of the rows, and what nobody knows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import balanced_accuracy_score

from selfsight.data import subset
from selfsight.metrics import Classes
from selfsight.metrics.retrieval import expected_by_chance, search
from selfsight.protocols import build_protocols, describe_protocols, find_protocol, protocol_names
from selfsight.protocols._records import answers_of, records_of, table

OPTIONS = {
    "regression": {"of": "age"},
    "multilabel": {"of": "red,blue"},
    "groups": {"of": "site"},
    "few_labels": {"shares": (0.2, 0.5), "draws": 2},
    "few_shot": {"shots": (2, 5), "draws": 3},
    "linear": {"epochs": 20},
    "logistic": {"folds": 3},
}
ENCODERS = {"robustness"}  # which asks for encoders beside features
NAMES = [name for name in protocol_names() if find_protocol(name).wants_features and name not in ENCODERS]


def judge(name, trial, **options):
    protocol = build_protocols(name, {name: {**OPTIONS.get(name, {}), **options}})[name]
    given = answers_of(protocol, [protocol.task(trial)])
    return records_of(name, protocol, given, {"told": "noise"}, {})


def main(records, row):
    return next(record for record in records if record["encoder"] == row)


@pytest.mark.parametrize("name", NAMES)
def test_what_features_tell_is_found_and_chance_is_chance(name, trial):
    records = judge(name, trial)
    told, noise, chance = (main(records, row) for row in ("told", "noise", "chance"))
    assert told["value"] > 0.9 > noise["value"] + 0.2
    assert abs(noise["value"] - chance["value"]) < 0.25
    assert told["better_by"][1] > 0.2 and told["than"] == "noise"
    for record in records:
        assert record["low"] is None or record["low"] <= record["value"] <= record["high"]
        assert record["n_test"] == 120 and record["left_out"] == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_again(name, trial):
    assert judge(name, trial) == judge(name, trial)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_rows_does_not_matter(name, trial):
    rng = np.random.default_rng(1)
    shuffled = dataclasses.replace(
        trial, **{side: subset(getattr(trial, side), rng.permutation(120)) for side in ("train", "test")}
    )
    random = {"linear", "few_shot", "few_labels", "logistic"}  # which rows a seed draws depends on where they stand
    for one, other in zip(judge(name, trial), judge(name, shuffled), strict=True):
        within = 0.1 if name in random else 1e-5
        assert one["value"] == pytest.approx(other["value"], abs=within), one["metric"]


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_knows_is_left_out_and_counted(name, trial):
    hidden = {}
    for side, count in (("train", 7), ("test", 9)):
        source = subset(getattr(trial, side), np.arange(120))
        table = source.metadata.copy()
        table.loc[: count - 1, "label"] = -1
        table.loc[: count - 1, "age"] = np.nan
        for column in ("site", "red", "blue"):
            table[column] = table[column].astype(object)
            table.loc[: count - 1, column] = None
        source.metadata = table
        hidden[side] = source
    records = judge(name, dataclasses.replace(trial, **hidden))
    learned_from = 0 if name == "retrieval" else 7
    assert {tuple(record["left_out"]) for record in records} == {(learned_from, 9)}
    assert {record["n_test"] for record in records} == {111}
    assert main(records, "told")["value"] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_feature_is_answered_with_chance(name, trial):
    flat = dataclasses.replace(trial, rows={"flat": "flat"})
    flat.store.made["flat"] = torch.ones(240, 4)
    records = judge(name, flat)
    value = main(records, "flat")["value"]
    assert value is None or abs(value - main(records, "chance")["value"]) < 0.25


@pytest.mark.parametrize("name", ["knn", "ridge", "linear", "logistic", "few_shot", "few_labels", "groups"])
def test_one_class_is_refused(name, trial):
    column = OPTIONS.get(name, {}).get("of", "label")
    source = subset(trial.train, np.arange(120))
    source.metadata = source.metadata.assign(**{column: source.metadata[column].iloc[0]})
    other = subset(trial.test, np.arange(120))
    with pytest.raises(ValueError, match="at least two classes are wanted and the training images have"):
        judge(name, dataclasses.replace(trial, train=source, test=other))


@pytest.mark.parametrize("name", ["knn", "ridge", "linear", "logistic", "few_shot"])
def test_one_image_a_class_is_enough(name, trial):
    labels = trial.train.labels
    rows = [np.flatnonzero(labels == number)[0] for number in range(3)]
    records = judge(name, dataclasses.replace(trial, train=subset(trial.train, rows)))
    assert main(records, "told")["value"] > 0.8


@pytest.mark.parametrize("name", ["knn", "ridge", "linear", "logistic", "few_shot"])
def test_a_class_that_training_lacks_counts_as_wrong(name, trial):
    two = subset(trial.train, np.flatnonzero(trial.train.labels < 2))
    records = judge(name, dataclasses.replace(trial, train=two))
    share = float((trial.test.labels < 2).mean())
    assert main(records, "told")["value"] == pytest.approx(share, abs=0.03)


def test_regression_is_that_of_scikit_learn(trial):
    found = main(judge("regression", trial), "told")
    x = [trial.store.features(side)["told"].double().numpy() for side in (trial.train, trial.test)]
    y = [side.metadata["age"].to_numpy() for side in (trial.train, trial.test)]
    mean, std = x[0].mean(axis=0), x[0].std(axis=0)
    model = SklearnRidge(found["settings"]["alpha"]).fit((x[0] - mean) / std, y[0])
    assert found["metric"] == "r2"
    assert found["value"] == pytest.approx(model.score((x[1] - mean) / std, y[1]), abs=1e-5)


def test_groups_are_shown_by_balanced_accuracy(trial):
    records = judge("groups", trial)
    assert main(records, "told")["metric"] == "balanced"
    assert main(records, "chance")["value"] == 0.5


def test_tags_in_one_column_of_words(trial):
    records = judge("multilabel", trial, of="tags")
    assert main(records, "told")["value"] > 0.9
    with pytest.raises(ValueError, match="wants to know its tags"):
        judge("multilabel", trial, of="")
    with pytest.raises(ValueError, match="'age' is one of several tags"):
        judge("multilabel", trial, of="red,age")


def test_retrieval_by_hand():
    """On a line, by angle: each query's order is known."""
    angle = torch.tensor([0.0, 0.1, 0.25, 0.9])
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = search(features, torch.tensor([0, 1, 0, 5]))
    # of 0: order 1, 2, 3, the second is right; of 2: order 1, 0, 3; 1 and 3 have no like
    assert found["map"].tolist() == pytest.approx([0.5, math.nan, 0.5, math.nan], nan_ok=True)
    assert found["recall@1"].tolist() == pytest.approx([0, math.nan, 0, math.nan], nan_ok=True)
    assert found["recall@5"].tolist() == pytest.approx([1, math.nan, 1, math.nan], nan_ok=True)


def test_chance_of_retrieval_is_the_mean_over_random_orders():
    identity = torch.tensor([0] * 3 + [1] * 9)
    orders = [search(torch.randn(12, 64), identity) for _ in range(400)]
    same = torch.bincount(identity)[identity] - 1
    expected = expected_by_chance(same.numpy(), 11)
    for name, values in expected.items():
        mean = torch.stack([order[name] for order in orders]).mean()
        assert float(mean) == pytest.approx(float(values.mean()), abs=0.02)


def test_few_shot_draws_so_many_of_each_class(trial):
    task = trial.classes()
    few = task.few(4, seed=1)
    assert torch.bincount(few.train).tolist() == [4, 4, 4]
    assert not torch.equal(few.train_rows, task.few(4, seed=2).train_rows)
    assert torch.isin(task.few(2, seed=1).train_rows, few.train_rows).all()
    assert torch.equal(few.train, task.train[torch.isin(task.train_rows, few.train_rows)])


def test_few_labels_nests_its_shares_and_says_when_they_are_too_few(trial):
    task = trial.classes()
    order = task.order(seed=3)
    assert torch.bincount(task.train[order[:12]]).min() >= 3
    with pytest.raises(ValueError, match=r"few_labels.shares 0.01 of 120 training images are 1.2, and there are 3"):
        judge("few_labels", trial, shares=(0.01,))


def test_intervals_over_patients_are_wider_than_over_scans(make_trial):
    rng = np.random.default_rng(0)
    patient = np.arange(600) // 6
    label = rng.integers(0, 2, 100)[patient]
    wrong = rng.random(100)[patient] < 0.25  # all scans of a patient alike
    told = torch.from_numpy(np.where(wrong, 1 - label, label)[:, None].astype(np.float32)) * 4
    columns = {"label": label, "patient": patient}
    records = [
        main(judge("ridge", make_trial({"told": told}, columns, patient % 2 == 1, group=group)), "told")
        for group in (None, "patient")
    ]
    width = [record["high"] - record["low"] for record in records]
    assert width[1] > 1.8 * width[0]  # the root of 6 is 2.4
    assert records[1]["interval"] == "the values of 'patient'"


def test_numbers_are_no_classes_and_words_no_numbers(trial):
    with pytest.raises(ValueError, match="'age' holds numbers on a scale"):
        judge("groups", trial, of="age")
    with pytest.raises(ValueError, match=r"'site' holds '(there|here)', which is no number"):
        judge("regression", trial, of="site")
    with pytest.raises(ValueError, match="no column 'agee': did you mean 'age'"):
        judge("regression", trial, of="agee")


def test_an_undefined_metric_is_said(trial, caplog):
    ones = subset(trial.test, np.flatnonzero(trial.test.labels == 1))
    records = judge("ridge", dataclasses.replace(trial, test=ones))
    (auc,) = (one for one in records if one["metric"] == "auc" and one["encoder"] == "told")
    assert auc["value"] is None and main(records, "told")["value"] > 0.9
    assert "auc is undefined for told, it needs images of more than one class" in caplog.text


def test_repetitions_in_which_a_metric_is_undefined_are_counted(trial, caplog):
    ones = dataclasses.replace(trial, test=subset(trial.test, np.flatnonzero(trial.test.labels == 1)))
    protocol = build_protocols("ridge")["ridge"]
    given = answers_of(protocol, [protocol.task(one) for one in (trial, ones)])
    records = records_of("ridge", protocol, given, {}, {})
    assert "auc is undefined in 1 of 2 repetitions, which are left out" in caplog.text
    assert next(one for one in records if one["metric"] == "auc")["value"] > 0.9
    assert records[0]["interval"] == "folds"


def test_a_table_shows_intervals_and_differences(trial):
    lines = table([*judge("knn", trial), *judge("few_shot", trial), *judge("regression", trial)]).splitlines()
    assert lines[0].split("  ")[-1].strip() == "regression age r2" and "few_shot shots 2 top1" in lines[0]
    assert lines[1].startswith("told") and " to " in lines[1]
    assert any(line.startswith("told above noise") and "+0." in line for line in lines)
    assert any("120 training and 120 test images; k 20; 95 % intervals over test images" in line for line in lines)
    assert any(line.startswith("few_shot shots 2 top1: 6 training") and "over draws" in line for line in lines)


def test_every_protocol_says_what_it_is():
    assert all(len(text) > 40 for text in describe_protocols().values())


def test_scores_of_some_classes_are_spread_over_all(trial):
    answer = trial.classes().answer("a", torch.tensor([[0.2, 0.8]]).expand(120, 2), torch.tensor([0, 2]))
    assert isinstance(answer.outcome, Classes)
    assert answer.outcome.scores[0].tolist() == pytest.approx([0.2, -math.inf, 0.8])
    assert balanced_accuracy_score(trial.test.labels, answer.outcome.predicted) == pytest.approx(1 / 3)


def test_a_column_may_hold_the_same_numbers_as_text(trial):
    source = subset(trial.train, np.arange(120))
    source.metadata = source.metadata.assign(age=source.metadata["age"].astype(str))
    other = subset(trial.test, np.arange(120))
    other.metadata = other.metadata.assign(age=pd.Series(other.metadata["age"]).astype(str))
    found = judge("regression", dataclasses.replace(trial, train=source, test=other))
    assert main(found, "told")["value"] == pytest.approx(main(judge("regression", trial), "told")["value"])
