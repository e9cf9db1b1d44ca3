"""Masked autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, Wants
from selfsight.nets import Encoder, PatchDecoder, draw_as_mae, fix_positions
from selfsight.views import Augmentation, Batch, RandomPatches, Size, ViewSet, random_view


class MAE(Method):
    """Reconstruct the hidden patches of an image from the few visible ones; needs a ViT.

    He, Chen, Xie, Li, Dollar, Girshick: Masked Autoencoders Are Scalable Vision Learners (CVPR
    2022), section 3.

    keep: share of the patches that the encoder sees.
    decoder_width, decoder_depth, decoder_heads: of the light transformer that predicts pixels.
    normalise_patches: standardise each target patch, the paper's better variant.

    Weights are drawn as the authors draw them and positions are fixed sines and cosines, in the encoder too,
    unless it starts from weights.
    """

    optimisation = Optimisation(lr=1.5e-4, weight_decay=0.05, warmup_epochs=40, betas=(0.9, 0.95))
    augmentation = Augmentation(scale=(0.2, 1.0), jitter_p=0.0, grayscale=0.0, blur=0.0)
    wants = Wants(views=1, smallest_batch=1)

    def __init__(
        self,
        encoder: Encoder,
        *,
        keep: float = 0.25,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        normalise_patches: bool = True,
    ):
        if not encoder.takes_keep:
            raise ValueError(
                f"MAE hides patches from a vision transformer and {encoder.spec.name!r} has none: "
                f"choose one with --encoder, such as 'vit_small_image'"
            )
        super().__init__(encoder)
        draw_as_mae(encoder)
        fix_positions(encoder)
        self.keep, self.normalise_patches = keep, normalise_patches
        self.decoder = PatchDecoder(
            encoder.width,
            encoder.grid(),
            encoder.patch,
            channels=encoder.spec.channels,
            dim=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
            prefix=encoder.prefix,
        )

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One crop, and the patches of it that stay visible."""
        visible = RandomPatches(self.encoder.grid(size), self.keep)
        return ViewSet((random_view(size, augmentation.of_view(0)),), {"visible": visible})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error over the hidden patches."""
        image, visible = batch.views[0], batch.draws["visible"]
        prediction = self.decoder(self.encoder.tokens(image, visible), visible)
        target = losses.patchify(image, self.encoder.patch)
        hidden = torch.ones(target.shape[:2], device=target.device).scatter(1, visible, 0.0)
        return {"loss": losses.masked_reconstruction(prediction, target, hidden, self.normalise_patches)}

    def embed(self, view: Tensor) -> Tensor:
        """Encoder features of the whole image: the decoder only paints."""
        return self.encoder(view)

    def progress(self, batch: Batch) -> Tensor:
        """Minus the reconstruction error."""
        return -self(batch)["loss"]
