"""An encoder as one ONNX graph, and proof that it computes the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.nets.encoder import Encoder

LARGEST = 2**31  # bytes that one protobuf message holds


class FromUnitRange(nn.Module):
    """An encoder fed with images `(B, C, *S)` in [0, 1]: the normalisation of its spec, then the encoder."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        shape = (-1, *(1 for _ in encoder.spec.size))
        self.register_buffer("mean", torch.tensor(encoder.spec.mean).view(shape))
        self.register_buffer("std", torch.tensor(encoder.spec.std).view(shape))

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder((images - self.mean) / self.std)


def onnx_graph(encoder: Encoder, opset: int | None = None) -> Any:
    """ONNX's `ModelProto` from "images" `(batch, C, *S)` in [0, 1] to "features" `(batch, width)`, batch free.

    Its metadata tell how to feed it. Raises `ValueError` where one file cannot hold the weights,
    and for an `opset` that torch cannot write.
    """
    import onnx

    size = sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
    if size > LARGEST:
        raise ValueError(f"weights of {size / 1e9:.1f} GB do not fit one ONNX file: use format safetensors")
    with _quiet("onnxscript", "onnx_ir", "torch.onnx"):
        program = torch.onnx.export(
            FromUnitRange(encoder).eval(),
            (sample_images(encoder, 2),),
            dynamo=True,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    written = max(entry.version for entry in graph.opset_import if entry.domain == "")
    if opset not in (None, written):
        raise ValueError(
            f"asked for opset {opset}, torch wrote {written}: leave opset out, or ask for one that it knows"
        )
    onnx.helper.set_model_props(graph, describe(encoder))
    return graph


@torch.no_grad()
def onnx_difference(encoder: Encoder, content: bytes, batches: tuple[int, ...] = (1, 2, 5)) -> float:
    """Largest difference of features between torch and onnxruntime, over batches of these sizes.

    It is absolute where features stay below one, and a share of the largest feature elsewhere.
    """
    import onnxruntime

    net = FromUnitRange(encoder).eval()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = []
    for batch in batches:
        images = sample_images(encoder, batch)
        expected = net(images)
        answer = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        differences.append((answer - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    return float(torch.stack(differences).max())


def sample_images(encoder: Encoder, count: int) -> Tensor:
    """Seeded noise `(count, C, *S)` in [0, 1], of the encoder's own size."""
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, encoder.spec.channels, *encoder.spec.size, generator=generator)


def describe(encoder: Encoder) -> dict[str, str]:
    """What an ONNX file says of itself, in words."""
    spec = encoder.spec
    return {
        "encoder": spec.name,
        "input": "float32 in [0, 1], normalised inside",
        "size": " ".join(map(str, spec.size)),
        "channels": str(spec.channels),
        "width": str(spec.width),
        "mean": " ".join(map(str, spec.mean)),
        "std": " ".join(map(str, spec.std)),
        "interpolation": spec.interpolation,
    }


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Hold back the exporter's notes on its own optimisations, and on a class that torch 2.11 itself deprecates."""
    levels = {logger: logger.level for logger in map(logging.getLogger, loggers)}
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
