"""Cross-attention of a learned query of each head, and a linear classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AttentiveHead(nn.Module):
    """Scores `(B, classes)` of tokens `(B, N, D)`."""

    def __init__(self, width: int, heads: int, classes: int):
        super().__init__()
        self.heads = max(count for count in range(1, heads + 1) if width % count == 0)
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.query = nn.Parameter(torch.empty(self.heads, width // self.heads))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        keys, values = (one(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for one in (self.key, self.value))
        queries = self.query[None, :, None].expand(len(x), -1, -1, -1)
        return self.head(F.scaled_dot_product_attention(queries, keys, values).flatten(1))
