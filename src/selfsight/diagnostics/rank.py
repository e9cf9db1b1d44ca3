"""How many dimensions features really use."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def rank_me(features: Tensor, eps: float = 1e-7) -> Tensor:
    """Exponential of the entropy of the normalised singular values of `(N, D)`, not centred.

    Between 1 and `min(N, D)`; compare only for the same `N`, which should be many times `D`. NaN where a feature is
    not finite.

    Garrido, Balestriero, Najman, LeCun: RankMe (ICML 2023), eq. 1-2.
    """
    # Eigenvalues of the smaller Gram matrix take half the time of singular values, or less; squares
    # of singular values need double precision to be told from nothing.
    rows = features.double()
    gram = rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T
    finite = gram.isfinite().all()
    singular = torch.linalg.eigvalsh(torch.where(finite, gram, 0.0)).clamp(min=0).sqrt().to(features.dtype)
    shares = singular / singular.sum().clamp(min=torch.finfo(singular.dtype).tiny) + eps
    return torch.where(finite, (-(shares * shares.log()).sum()).exp(), torch.nan)
