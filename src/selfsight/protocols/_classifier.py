"""An encoder that is trained on with labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from selfsight.nets import Encoder
from selfsight.protocols._training import layer_groups, plain_groups


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
        """Parameters by depth, the head's at the full rate; vectors have no weight decay."""
        return [
            *layer_groups(self.encoder, weight_decay, layer_decay),
            *plain_groups(self.head, weight_decay=weight_decay),
        ]
