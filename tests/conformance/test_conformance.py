"""The battery that every method passes; a new method joins by its file and a line in `battery.SMALL`."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from conformance.battery import (
    IMAGES,
    SIZE,
    SMALL,
    STEPS,
    TRANSFORMERS,
    check_learns,
    prepare,
    rows,
    small_batches,
    small_encoder,
    small_method,
    train,
)
from conformance.hooked import Hooked
from selfsight import distributed
from selfsight.data.canvas import full_canvas
from selfsight.methods import method_names
from selfsight.methods.base import Method, Plan
from selfsight.nets import Encoder, mlp
from selfsight.views import Batch

OWN_VIEWS = {"cpc_v2", "deep_infomax", "exemplar", "mae", "mean_shift", "mv_mr", "npid", "pirl", "rotation"}
"""Methods whose views are part of them."""
MEMORIES = ("queue", "centre", "bank", "contrast")
"""Parts of the state that must be the same on every rank."""

every_method = pytest.mark.parametrize("name", method_names())


def test_every_method_is_tried():
    assert sorted(SMALL) == method_names()


@every_method
def test_gradients_reach_the_student_and_never_the_teacher(name):
    method = small_method(name)
    teacher = {key for key, _ in method.named_parameters() if key.startswith("teacher")}
    method(small_batches(method, count=1)[0])["loss"].backward()
    for key, parameter in method.named_parameters():
        if key in teacher:
            assert not parameter.requires_grad and parameter.grad is None, f"{key} belongs to the teacher"
        elif parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), f"no gradient reaches {key}"
            assert parameter.ndim < 2 or parameter.grad.abs().sum() > 0, f"the gradient of {key} is zero"


@every_method
def test_the_optimiser_gets_each_trained_parameter_once(name):
    method = small_method(name)
    given = [parameter for group in method.param_groups() for parameter in group["params"]]
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    assert len(given) == len(set(given))
    assert set(given) == set(trained)


@every_method
def test_learns_without_collapse(name):
    check_learns(small_method(name), steps=STEPS.get(name, 40))


def test_dino_learns_with_a_transformer():
    check_learns(small_method("dino", encoder="vit"))


class Collapsing(Method):
    """Pulls two views together and nothing apart."""

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, 64, 32, norm=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        za, zb = map(self.embed, batch.views)
        return {"loss": -torch.cosine_similarity(za, zb).mean()}

    def embed(self, view: Tensor) -> Tensor:
        return self.projector(self.encoder(view))


def test_a_collapse_is_noticed_though_its_loss_falls():
    torch.manual_seed(0)
    method = Collapsing(small_encoder())
    batches = small_batches(method)
    with pytest.raises(AssertionError, match=r"collapsed|progress"):
        check_learns(method)
    assert method(batches[0])["loss"] < -0.9


@every_method
def test_finite_in_half_precision(name):
    method = small_method(name)
    for batch in small_batches(method):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outcome = method(batch)
        outcome["loss"].backward()
        method.end_backward()
        method.after_step(1)
        assert outcome["loss"].dtype == torch.float32
        assert all(value.isfinite() and value.ndim == 0 for value in outcome.values())
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


@every_method
def test_no_step_waits_for_the_device(name):
    """Tensors without values: whatever reads one on the host, or lets a shape depend on one, raises."""
    method = small_method(name)
    (batch,) = small_batches(method, count=1)
    method(batch)  # constants that are made once are made of values
    with FakeTensorMode(allow_non_fake_inputs=True) as no_values:
        batch.views = [no_values.from_tensor(view) for view in batch.views]
        batch.index = no_values.from_tensor(batch.index)
        batch.metadata = {key: no_values.from_tensor(column) for key, column in batch.metadata.items()}
        batch.draws = {key: no_values.from_tensor(mask) for key, mask in batch.draws.items()}
        loss = method(batch)["loss"]
        with pytest.raises(DataDependentOutputException):
            loss.item()
        loss.backward()
        method.end_backward()
        method.after_step(1)


@every_method
def test_state_makes_the_round_trip(name):
    method = small_method(name)
    batches = small_batches(method)
    train(method, batches, steps=3)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = small_method(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    prepare(other.train(), steps=3)
    other.step = method.step
    assert losses_of(other, batches) == losses_of(method, batches)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in tensors(method).items())


def losses_of(method: Method, batches: list[Batch]) -> list[float]:
    """Of micro-batches in turn, so that later ones meet what the hooks stored of earlier ones."""
    losses = []
    for batch in batches:
        losses.append(method(batch)["loss"])
        losses[-1].backward()
        method.end_backward()
    return [loss.item() for loss in losses]


@every_method
def test_same_seed_same_result(name):
    histories = []
    for _ in range(2):
        method = small_method(name)
        histories.append(train(method, small_batches(method), steps=3))
    assert histories[0] == histories[1]


def losses_and_gradients(name: str, state: dict[str, Any], batches: list[Batch], part: slice | None) -> Any:
    """Of two micro-batches, so that the second meets the queues and centres that the first left;
    the mean over ranks when each sees its own part of the batches."""
    torch.set_num_threads(1)
    method = small_method(name, seed=1, **for_ranks(name)).double()
    method.load_state_dict(state)
    if part is not None:
        method = distributed.convert_sync_batchnorm(method)
        half = len(batches[0]) // distributed.world_size()
        batches = [rows(batch, slice(distributed.rank() * half, (distributed.rank() + 1) * half)) for batch in batches]
    losses = torch.tensor(losses_of(method, batches), dtype=torch.float64)
    gradients = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    with torch.no_grad():
        return (
            distributed.reduce_mean(losses),
            {key: distributed.reduce_mean(gradient) for key, gradient in gradients.items()},
            {
                key: value
                for key, value in tensors(method).items()
                if key.startswith(("queue", "centre", "bank", "contrast"))
            },
        )


def for_ranks(name: str) -> dict[str, Any]:
    """Options with which groups of keys do not straddle ranks, and noise is drawn."""
    groups = {"key_group": IMAGES // 4}
    options = {"moco_v1": groups, "moco_v2": groups, "npid": {"noise": 16}, "pirl": {"noise": 16}}
    return options.get(name, {})


def tensors(method: Method) -> dict[str, Tensor]:
    """The state without what is no tensor."""
    return {key: value for key, value in method.state_dict().items() if isinstance(value, Tensor)}


@every_method
def test_two_ranks_are_one(name, gloo_pool):
    method = small_method(name, **for_ranks(name)).double()
    batches = small_batches(method)
    for batch in batches:
        batch.views = [view.double() for view in batch.views]
    state = method.state_dict()
    loss, gradients, memory = losses_and_gradients(name, state, batches, None)
    for results in gloo_pool.run(losses_and_gradients, name, state, batches, slice(0)):
        torch.testing.assert_close(results[0], loss)
        assert results[1].keys() == gradients.keys()
        for key, gradient in gradients.items():
            torch.testing.assert_close(
                results[1][key], gradient, rtol=1e-6, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}"
            )
        for key, value in memory.items():
            torch.testing.assert_close(results[2][key], value)


@every_method
def test_wrong_number_of_views_is_named(name):
    method = small_method(name)
    batch = small_batches(method, count=1)[0]
    batch.views = batch.views[:1] if len(batch.views) > 1 else batch.views * 2
    with pytest.raises(ValueError, match=rf"{type(method).__name__} wants \d+( or more)? views .* `views\("):
        method(batch)


@every_method
def test_small_crops_join_in_unless_the_views_are_the_methods_own(name):
    """`--views.crops 2,6` is for every method that compares pairs of views."""
    method = small_method(name)
    (batch,) = small_batches(method, count=1, crops=True)
    if name not in OWN_VIEWS:
        assert len(batch.views) == 4 and batch.views[-1].shape[-1] < SIZE
    method(batch)["loss"].backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


# What learns from each image without the others of its batch.
BY_THEMSELVES = {"cpc_v2", "exemplar", "mae", "npid", "pirl", "rotation"}


@every_method
def test_a_batch_of_one_is_named_or_fine(name):
    method = small_method(name)
    batch = rows(small_batches(method, count=1)[0], slice(1))
    if name in BY_THEMSELVES:
        assert method(batch)["loss"].isfinite()
    else:
        with pytest.raises(ValueError, match=r"wants at least \d.* raise batch_size"):
            method(batch)


@every_method
def test_missing_labels_and_columns_are_named_where_they_matter(name):
    method = small_method(name)
    batch = small_batches(method, count=1)[0]
    batch.metadata = {}
    if method.wants.label or method.wants.columns:
        with pytest.raises(ValueError, match="label=" if method.wants.label else "columns="):
            method(batch)
    else:
        assert method(batch)["loss"].isfinite()


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_a_convolutional_encoder_is_refused_where_patches_are_needed(name):
    with pytest.raises(ValueError, match="vit_small_image"):
        small_method(name, encoder="resnet")


def test_every_hook_serves_a_method_that_clusters():
    torch.manual_seed(0)
    method = Hooked(small_encoder())
    pixels = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8)
    views = method.views(SIZE, method.augmentation).normalised((0.5,) * 3, (0.25,) * 3)
    batch = views([full_canvas(pixels)], torch.Generator().manual_seed(0))
    method.prepare(Plan(samples=IMAGES, steps=20, epochs=1, batch=IMAGES))
    with torch.no_grad():
        method.before_epoch(lambda function: (function(pixels / 255.0), torch.ones(IMAGES, dtype=torch.bool)))
    assert method.bank.shape == (IMAGES, method.encoder.width)
    before = method.progress(batch)
    train(method, [batch], steps=20)
    assert method.progress(batch) > before
    assert method.calls == {"prepare": 2, "before_epoch": 1, "after_backward": 20, "after_step": 20}
