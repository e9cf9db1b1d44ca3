"""What every method must pass, each a function of a method and its case that raises `AssertionError`.

Each seeds torch; `check_method` leaves torch's seed as it was.
"""

from __future__ import annotations

import io
import re
from collections import Counter

import torch
from torch import Tensor

from selfsight.methods.base import Method
from selfsight.testing.case import Build, Case
from selfsight.testing.images import IMAGES, SIZE, small_batches
from selfsight.testing.training import (
    begin_epoch,
    clusters,
    encoder_of,
    health,
    losses_of,
    prepare,
    tensors,
    train,
)
from selfsight.views import Batch

MOST_ALIKE = 0.9


def require(holds: bool | Tensor, message: str) -> None:
    """Raise an `AssertionError`, under `python -O`, too."""
    if not holds:
        raise AssertionError(message)


def check_gradients(method: Build, case: Case) -> None:
    """Gradients reach all that is trained, are finite, and never reach a teacher."""
    built = case.build(method)
    teacher = {key for key, _ in built.named_parameters() if key.startswith("teacher")}
    built(small_batches(built, count=1)[0])["loss"].backward()
    for key, parameter in built.named_parameters():
        if key in teacher:
            kept = not parameter.requires_grad and parameter.grad is None
            require(kept, f"{key} belongs to the teacher, which no gradient should reach: build it with Teacher")
        elif parameter.requires_grad:
            gradient = parameter.grad
            if gradient is None:
                raise AssertionError(f"no gradient reaches {key}: use it in the loss, or set requires_grad to False")
            require(gradient.isfinite().all(), f"the gradient of {key} is not finite")
            require(parameter.ndim < 2 or gradient.abs().sum() > 0, f"the gradient of {key} is zero")


def check_optimiser(method: Build, case: Case) -> None:
    """`param_groups` gives the optimiser each trained parameter once."""
    built = case.build(method)
    names = {parameter: key for key, parameter in built.named_parameters()}
    given = [parameter for group in built.param_groups() for parameter in group["params"]]
    trained = {parameter for parameter in built.parameters() if parameter.requires_grad}
    twice = sorted(names.get(parameter, "a stranger") for parameter, times in Counter(given).items() if times > 1)
    require(not twice, f"param_groups gives twice: {', '.join(twice)}")
    missing = sorted(names[parameter] for parameter in trained - set(given))
    require(not missing, f"param_groups leaves out what is trained: {', '.join(missing)}")
    others = sorted(names.get(parameter, "a stranger") for parameter in set(given) - trained)
    require(not others, f"param_groups gives what is not trained: {', '.join(others)}")


def check_learns(method: Build | Method, case: Case | None = None) -> list[float]:
    """A short training closes a fifth of the way to perfect progress, or as much as the case says, without a
    collapse. The loss says nothing: a collapsed method has a low one. Answers the losses."""
    case = case or Case()
    recipe = case.learns
    built = method if isinstance(method, Method) else case.build(method, **recipe.options)
    draws = recipe.steps // 2 if recipe.redrawn else 1
    batches = [batch for seed in range(draws) for batch in small_batches(built, seed=seed)]
    seen = small_batches(built, watched=True)
    begin_epoch(built)
    before, _ = health(built, seen)
    history = train(built, batches, recipe.steps, recipe.lr, draws)
    after, spread = health(built, seen)
    best = 0.0 if before < 0 else 1.0
    require(spread > recipe.spread, f"the embeddings collapsed: spread {spread:.3f}, not above {recipe.spread}")
    require(before < best, f"progress is {before:.3f} before any training: it does not measure what is learned")
    require(
        after - before > (best - before) * recipe.least,
        f"progress went from {before:.3f} to {after:.3f} only, less than {recipe.least:.0%} of the way to {best:.0f}: "
        f"give the method a recipe that suits it with Case(learns=Learn(steps=..., lr=...)), "
        f"and a progress of its own where its task is not to match views",
    )
    return history


def check_memory(method: Build, case: Case) -> None:
    """What the case names as `state` changes in training and differs from image to image."""
    built = case.build(method)
    fresh = {key: value.clone() for key, value in tensors(built).items()}
    buffers = [key for key, _ in built.named_buffers()]
    train(built, small_batches(built), steps=3)
    for name in case.state:
        own = {key: value for key, value in tensors(built).items() if key.startswith(name)}
        require(bool(own), f"the case names the state {name!r}, and the method has {', '.join(buffers)}")
        moved = any(not _equal(value, fresh.get(key)) for key, value in own.items())
        require(moved, f"the state {name!r} is after three steps what it was before the first")
        _require_varied(own)


def check_clusters(method: Build, case: Case) -> None:
    """`before_epoch`, where there is one, leaves in the state what it found, tells the images apart, is not misled by
    one that cannot be read; and the loss depends on it."""
    built = case.build(method)
    if not clusters(built):
        return
    images = 2 * IMAGES
    built.before_epoch(encoder_of(built, images, unknown=(5,)))
    wild = [key for key, value in tensors(built).items() if not value.isfinite().all()]
    require(not wild, f"an image that cannot be read makes {', '.join(wild)} infinite: leave out what is not known")
    begin_epoch(built)
    first = {key: value.clone() for key, value in tensors(built).items()}
    trained = {f"encoder.{key}" for key, _ in built.encoder.named_parameters()}
    with torch.no_grad():
        for parameter in built.encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    begin_epoch(built)
    now = tensors(built)
    moved = any(not _equal(value, first.get(key)) for key, value in now.items() if key not in trained)
    require(moved, "before_epoch changes no buffer, though the encoder has changed: keep there what it finds")
    _require_varied({key: value for key, value in now.items() if value.ndim and len(value) == images})
    _require_assigned(built)


def _require_assigned(built: Method) -> None:
    """The loss is another where images have each other's place, if it looks anything up by their index."""
    (batch,) = small_batches(built, count=1)
    index = batch.index
    own = built(batch)["loss"].item()
    batch.index = index.roll(1)
    if built(batch)["loss"].item() != own:
        return
    batch.index = index + 10**6
    try:
        built(batch)
    except (IndexError, RuntimeError):
        raise AssertionError(
            "the loss is the same whichever image has which cluster: are all images assigned to one?"
        ) from None


def _require_varied(state: dict[str, Tensor]) -> None:
    """No more than nine tenths of the rows of a tensor, or of the numbers of one row, are the same."""
    for key, value in state.items():
        values = value.flatten(1) if value.ndim > 1 and len(value) > 1 else value.reshape(-1, 1)
        if len(values) > 1:
            share = values.unique(dim=0, return_counts=True)[1].max().item() / len(values)
            require(
                share <= MOST_ALIKE,
                f"{share:.0%} of the rows of {key!r} are the same, which tells nothing apart: "
                f"are all images assigned to one cluster?",
            )


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def check_half_precision(method: Build, case: Case) -> None:
    """Under bfloat16 autocast the loss is a float32, and all that is logged and all gradients are finite."""
    built = case.build(method)
    for batch in small_batches(built):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outcome = built(batch)
        outcome["loss"].backward()
        built.end_backward()
        built.after_step(1)
        loss = outcome["loss"]
        require(loss.dtype == torch.float32, f"the loss is {loss.dtype} under autocast: use full_precision")
        for name, value in outcome.items():
            require(value.ndim == 0, f"{name!r} is no scalar, but {tuple(value.shape)}")
            require(value.isfinite(), f"{name!r} is {value.item()} under autocast")
    wild = [key for key, p in built.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wild, f"under autocast the gradient is not finite in {', '.join(wild)}")


def check_state(method: Build, case: Case) -> None:
    """All that the next losses depend on is in `state_dict`, and can be loaded into a fresh method."""
    built = case.build(method)
    batches = small_batches(built)
    train(built, batches, steps=3)
    file = io.BytesIO()
    torch.save(built.state_dict(), file)
    file.seek(0)
    other = case.build(method, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    prepare(other.train(), steps=3)
    other.step = built.step
    once, again = losses_of(built, batches), losses_of(other, batches)
    require(once == again, f"losses are {once}, and {again} once the state is loaded: register as buffers what is kept")
    loaded = tensors(other)
    changed = [key for key, value in tensors(built).items() if not _equal(value, loaded.get(key))]
    require(not changed, f"the state is another once it is loaded: {', '.join(changed)}")


def check_same_seed(method: Build, case: Case) -> None:
    """Two trainings from the same seed have the same losses."""
    histories = []
    for _ in range(2):
        built = case.build(method)
        histories.append(train(built, small_batches(built), steps=3))
    require(histories[0] == histories[1], f"the same seed gives the losses {histories[0]} and {histories[1]}")


def check_randomness(method: Build, case: Case) -> None:
    """What a step draws is a function of the batch, not of torch's generator, so that it is the same however ranks
    share the batch: neither loss nor state depend on torch's seed."""
    losses, states = [], []
    for seed in (1, 2):
        built = case.build(method)
        (batch,) = small_batches(built, count=1)
        torch.manual_seed(seed)
        losses.append(losses_of(built, [batch])[0])
        built.after_step(1)
        states.append(tensors(built))
    cure = "draw from batch.seed, batch.shared_seed or what the view set draws, and leave out dropout"
    require(losses[0] == losses[1], f"torch's seed makes the loss of one batch {losses[0]} or {losses[1]}: {cure}")
    drawn = [key for key, value in states[0].items() if not _equal(value, states[1].get(key))]
    require(not drawn, f"torch's seed changes the state after a step, {', '.join(drawn)}: {cure}")


def check_number_of_views(method: Build, case: Case) -> None:
    """A wrong number of views is refused by name."""
    built = case.build(method)
    (batch,) = small_batches(built, count=1)
    batch.views = batch.views[:1] if len(batch.views) > 1 else batch.views * 2
    _require_refusal(built, batch, rf"{type(built).__name__} wants \d+( or more)? views .* `views\(", "views")


def check_small_crops(method: Build, case: Case) -> None:
    """Two small crops join in, unless views are the method's own: `--views.crops 2,2`."""
    built = case.build(method)
    (batch,) = small_batches(built, count=1, crops=True)
    if not case.own_views:
        joined = len(batch.views) == 4 and batch.views[-1].shape[-1] < SIZE
        require(joined, "small crops do not join its views: let them, or say Case(own_views=True)")
    built(batch)["loss"].backward()
    wild = [key for key, p in built.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wild, f"with small crops the gradient is not finite in {', '.join(wild)}")


def check_batch_of_one(method: Build, case: Case) -> None:
    """One image gives a finite loss where the smallest batch is one, and is refused by name elsewhere."""
    built = case.build(method)
    batch = small_batches(built, count=1)[0][:1]
    if built.wants.smallest_batch == 1:
        require(built(batch)["loss"].isfinite(), "the loss of one image is not finite: raise the smallest batch")
    else:
        _require_refusal(built, batch, r"wants at least \d.* raise batch_size", "a batch of one")


def check_missing_metadata(method: Build, case: Case) -> None:
    """Missing labels and columns are refused by name where the method wants them, and not missed elsewhere."""
    built = case.build(method)
    (batch,) = small_batches(built, count=1)
    batch.metadata = {}
    wants = built.wants
    if wants.label or wants.columns:
        _require_refusal(built, batch, "label=" if wants.label else "columns=", "missing metadata")
    else:
        require(built(batch)["loss"].isfinite(), "without metadata the loss is not finite")


def _require_refusal(built: Method, batch: Batch, pattern: str, what: str) -> None:
    try:
        built(batch)
    except ValueError as error:
        require(re.search(pattern, str(error)) is not None, f"{what} should be refused with /{pattern}/, not {error}")
    else:
        raise AssertionError(f"{what}: no ValueError says what is wanted; declare it in `wants`")
