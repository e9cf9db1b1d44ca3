import contextlib

import pytest
import torch
from torch import nn

from selfsight.data import ResidentLane, open_source, subset
from selfsight.engine.monitor import Buffers, Monitor, Ration, Sizes, affordable, batches
from selfsight.methods import find_method
from selfsight.nets import build_encoder, evaluating
from selfsight.probes import KNN
from selfsight.views import Augmentation, original, two_views


@pytest.fixture
def method():
    torch.manual_seed(0)
    encoder = build_encoder("resnet_slim", image_size=8, channels=1)
    return find_method("simclr")(encoder, projector=(32, 16)).train()


def lane(part):
    return ResidentLane(subset(open_source("digits"), part), 100, shuffle=False, drop_last=False)


def make_monitor(method, held=range(150), bank=range(200, 400)):
    pair = two_views(8, Augmentation(jitter_p=0.0, grayscale=0.0)).normalised((0.5,), (0.3,))
    plain = original(8).normalised((0.5,), (0.3,))
    buffers = Buffers(lane(held), lane(bank) if bank is not None else None)
    return Monitor(method, buffers, pair=pair, plain=plain, for_progress=pair, autocast=contextlib.nullcontext)


def test_measures_what_it_says(method):
    monitor = make_monitor(method)
    values = monitor.measure((True, True), torch.device("cpu"))
    kinds = ("rank", "spread", "alignment", "uniformity")
    places = [f"{place}_{kind}" for place in ("encoder", "projector") for kind in kinds]
    assert list(values) == ["progress", *places, "knn", "ridge"]
    assert 0 <= values["projector_alignment"] <= 4 and values["encoder_uniformity"] < 0

    method.eval()
    with torch.no_grad():
        both = [[], []]
        for part in (range(150), range(200, 400)):
            for canvases in batches(lane(part)):
                batch = monitor.plain(canvases, torch.Generator())
                both[part.start > 0].append((method.exported(batch.views[0]), batch.metadata["label"]))
    (x, y), (bank, labels) = (tuple(torch.cat(column) for column in zip(*rows, strict=True)) for rows in both)
    assert values["knn"] == pytest.approx(KNN().fit(bank, labels).score(x, y))


def test_measures_the_same_again(method):
    monitor = make_monitor(method)
    first = monitor.measure_health(torch.device("cpu"))
    torch.rand(5)
    assert monitor.measure_health(torch.device("cpu")) == first


def test_encoder_and_projector_come_from_one_pass_where_embed_runs_the_encoder(method):
    view = torch.randn(6, 1, 8, 8)
    monitor = make_monitor(method)
    calls = []
    method.encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad(), evaluating(method):
        features, projected = monitor._features_and_embeddings(view)
        assert len(calls) == 1
        assert torch.equal(features, method.encoder(view)) and torch.equal(projected, method.embed(view))
        method.embed = lambda view: view.flatten(1)
        assert torch.equal(monitor._features_and_embeddings(view)[0], features)


def test_training_is_not_touched(method):
    method.projector.eval()  # a part that is at rest stays so
    state = {name: value.clone() for name, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    torch.manual_seed(1)
    random = torch.get_rng_state()
    make_monitor(method).measure((True, True), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), random)
    assert modes == [module.training for module in method.modules()]
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_without_labels_health_alone(method):
    values = make_monitor(method, bank=None).measure((True, True), torch.device("cpu"))
    assert "encoder_rank" in values and "knn" not in values


def test_health_looks_at_the_first_images_alone():
    assert [len(canvases[0]) for canvases in batches(lane(range(700)), 250)] == [100] * 3


def test_a_measurement_is_as_large_as_the_run_can_pay_for():
    assert affordable(10**7) == Sizes(512, 2048, 4096)
    assert affordable(1_000) == Sizes(64, 128, 256)
    seen = 50_000
    sizes = affordable(seen)
    assert sizes.bank < 4096
    assert 2 * (4 * sizes.health + sizes.queries + sizes.bank) <= 0.03 * 6 * seen


def test_collapse_shows(method):
    method.projector = nn.Sequential(method.projector, nn.Linear(16, 8))
    nn.init.zeros_(method.projector[-1].weight)
    values = make_monitor(method).measure_health(torch.device("cpu"))
    assert values["projector_spread"] < 1e-3 < values["encoder_spread"]
    assert values["projector_rank"] == pytest.approx(1, abs=0.01)


def test_rations():
    ration = Ration(0.03)
    assert ration.allows(0.0)
    ration.spent = ration.last = 3.0
    assert not ration.allows(199.0)
    assert ration.allows(201.0)
    with ration.use():
        pass
    assert ration.last < 1 and ration.spent > 3.0


def test_an_exhausted_ration_measures_nothing_unless_it_must(method):
    monitor = make_monitor(method)
    spent = {"share": 0.01, "spent": 9.0, "last": 9.0}
    monitor.set_rations({"health": spent, "accuracy": spent})
    assert monitor.allowed(10.0) == (False, False)
    assert monitor.allowed(10.0, due=True) == (False, False)  # nine seconds are too many for ten times a run
    assert monitor.allowed(10.0, always=True) == (True, True)
    assert monitor.measure((False, False), torch.device("cpu")) == {}
    assert list(monitor.measure((False, True), torch.device("cpu"))) == ["knn", "ridge"]


def test_a_cheap_measurement_is_made_when_it_is_due(method):
    monitor = make_monitor(method)
    cheap = {"share": 0.01, "spent": 9.0, "last": 2.0}
    monitor.set_rations({"health": cheap, "accuracy": cheap})
    assert monitor.allowed(10.0) == (False, False) and monitor.allowed(10.0, due=True) == (True, True)
