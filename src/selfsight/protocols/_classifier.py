"""An encoder that is trained on with labels."""

from __future__ import annotations

import logging
from typing import Any

from timm.optim._param_groups import param_groups_layer_decay
from torch import Tensor, nn

from selfsight.nets import Encoder

log = logging.getLogger(__name__)


class Classifier(nn.Module):
    """An encoder with a linear head, which starts small."""

    def __init__(self, encoder: Encoder, outputs: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))

    def groups(self, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
        """Parameters by depth, where the net says how deep each lies; vectors have no weight decay."""
        head: list[dict[str, Any]] = [
            {"params": [self.head.weight], "weight_decay": weight_decay},
            {"params": [self.head.bias], "weight_decay": 0.0},
        ]
        if hasattr(self.encoder.model, "group_matcher"):
            return [*param_groups_layer_decay(self.encoder.model, weight_decay, layer_decay=layer_decay), *head]
        if layer_decay != 1:
            log.info("the encoder does not say how deep its layers lie: one rate for all")
        learned = [part for part in self.encoder.parameters() if part.requires_grad]
        plain = [
            {"params": [part for part in learned if (part.ndim > 1) == decayed], "weight_decay": decay}
            for decayed, decay in ((True, weight_decay), (False, 0.0))
        ]
        return [*(group for group in plain if group["params"]), *head]
