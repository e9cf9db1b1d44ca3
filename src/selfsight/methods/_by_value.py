"""What methods share whose positives count by how near a number, such as age, lies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from selfsight import losses
from selfsight.methods.base import Method, Plan, Wants, all_decayed, together, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch

log = logging.getLogger(__name__)

LOOKED_AT = 512
NEARLY, FEW = 0.01, 0.001
TIES = 0.05  # where more pairs of images than this have the same number, numbers are classes


class ByValue(Method):
    """Views of images, the numbers in some columns, and a loss of both with a kernel."""

    loss: ClassVar[Callable[..., Tensor]]

    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(
        self,
        encoder: Encoder,
        *,
        columns: str | Sequence[str] = ("target",),
        kernel: Literal["rbf", "gaussian", "cauchy", "epanechnikov", "linear", "cosine"] = "rbf",
        bandwidth: float | Sequence[float] | Literal["scott", "silverman"] = "scott",
        projector: Sequence[int] = (512, 128),
        temperature: float = 0.1,
    ):
        super().__init__(encoder)
        self.names = (columns,) if isinstance(columns, str) else tuple(columns)
        if not self.names:
            raise ValueError(f'{type(self).__name__} learns from numbers: name a column or more with columns=("age",)')
        if kernel not in losses.KERNELS:
            raise ValueError(f"no kernel {kernel!r}: there are {', '.join(losses.KERNELS)}")
        self.wants = Wants(views=2, or_more=True, columns=self.names)
        self.kernel, self.bandwidth, self.temperature = kernel, bandwidth, temperature
        if isinstance(bandwidth, str) and bandwidth not in losses.RULES:
            rules = " or ".join(map(repr, losses.RULES))
            raise ValueError(f"bandwidth {bandwidth!r} is no rule: give {rules}, a number, or one for each column")
        self.widths = None if isinstance(bandwidth, str) else losses.each_column(bandwidth, len(self.names))
        self.projector = mlp(encoder.width, *projector, norm=False)

    def prepare(self, plan: Plan) -> None:
        """Choose the bandwidth by the values of all images, and warn where it tells none of them apart."""
        super().prepare(plan)
        if not plan.metadata:
            return  # of a method that is loaded and learns no more
        self.wants.check_columns(plan.metadata, type(self).__name__)
        values = self.values(plan.metadata)
        if isinstance(self.bandwidth, str):
            rule = losses.rule_of_thumb(values, self.bandwidth)
            self.widths = losses.each_column(rule, len(self.names))
            chosen = ", ".join(f"{width:.3g} for {name}" for name, width in zip(self.names, rule, strict=True))
            log.info("bandwidth by the rule of %s: %s", self.bandwidth, chosen)
        self.warn_of_a_useless_bandwidth(values)

    def warn_of_a_useless_bandwidth(self, values: Tensor) -> None:
        """Weights that are all 0 leave an image its own views; weights that are all 1 make all images alike."""
        known = values[values.isfinite().all(1)].double()
        some = known[torch.linspace(0, len(known) - 1, min(LOOKED_AT, len(known))).long()]
        assert self.widths is not None
        for name, width, column in zip(self.names, self.widths, some.unbind(1), strict=True):
            differ = column[:, None] != column  # the same number weighs 1 at any bandwidth
            weights = losses.kernel_weights(column, column, self.kernel, width)[differ]
            weights = weights / losses.kernel_weights(column[:1], column[:1], self.kernel, width)
            classes = differ.double().mean() < 1 - TIES
            for extreme, fix in ((0, "raise"), (1, "lower")):
                near = ((weights - extreme).abs() > NEARLY).double().mean() < FEW
                if near and not (extreme == 0 and classes):
                    log.warning(
                        "with bandwidth %.3g nearly all weights of %s are %d, whose standard deviation is %.3g: "
                        "%s bandwidth", width, name, extreme, float(column.std()), fix,
                    )  # fmt: skip

    def values(self, metadata: Mapping[str, Tensor]) -> Tensor:
        """The columns `(N, C)` in float32, NaN where a value is missing, as is a label of -1 among whole numbers."""
        found = []
        for name in self.names:
            column, values = metadata[name], metadata[name].float()
            classes = name == "label" and not column.is_floating_point()
            found.append(values.masked_fill(column < 0, torch.nan) if classes else values)
        return torch.stack(found, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or more, and the values of each image."""
        assert self.widths is not None, "prepare precedes forward"
        z, values = together(self.embed, batch.views), self.values(batch.metadata)
        return {"loss": type(self).loss(z, values, self.temperature, self.kernel, self.widths)}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def progress(self, batch: Batch) -> Tensor:
        """How much nearer in value than any image of the batch is the one whose second view is nearest,
        by cosine, to an image's first: 1 where the values are the same, 0 at chance. Images without
        values are left out; where there are no columns, view matching."""
        if not set(self.names) <= set(batch.metadata):
            return super().progress(batch)
        first, second = map(unit, together(self.embed, batch.views[:2]))
        values = self.values(batch.metadata)
        known = values.isfinite().all(1)
        weight = known.float() / known.sum().clamp(min=1)
        nearest = (first @ second.T).masked_fill(~known, -torch.inf).argmax(1)
        values = values.nan_to_num()
        values = functional.normalize((values - weight @ values) * known[:, None], dim=0)
        apart = torch.cdist(values, values, p=1)
        chance = (weight[:, None] * weight * apart).sum()
        found = (weight * apart.gather(1, nearest[:, None])[:, 0]).sum()
        return (1 - found / chance.clamp(min=1e-12)).clamp(min=0)

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
