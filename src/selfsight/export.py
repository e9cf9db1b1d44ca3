"""Write an encoder for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from selfsight.nets import Encoder

TOLERANCE = 1e-4


def export(
    model: str | Path,
    *,
    out: str | Path,
    format: Literal["onnx", "state_dict", "safetensors"] = "onnx",
    opset: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an encoder as ONNX, as a state dict in timm's naming, or as safetensors.

    onnx: one file that maps images, float (batch, channels, height, width) in [0, 1], to features
    (batch, width); the normalisation is inside. It is compared with onnxruntime before it is kept.
    state_dict: a file that `torch.load(..., weights_only=True)` reads; the lines of plain timm that
    rebuild the net are printed.
    safetensors: the weights, and beside them a JSON that says how to build the net.

    model: a run folder or an `encoder.safetensors`.
    out: the file to write.
    format: onnx, state_dict or safetensors.
    opset: version of ONNX's operators; by default the exporter's own.
    overwrite: replace `out` where it exists.
    """
    from selfsight.nets import load_encoder

    out = Path(out)
    check_target(out, format, overwrite)
    encoder = load_encoder(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    if format == "onnx":
        write_onnx(encoder, out, opset)
    elif format == "state_dict":
        write_state_dict(encoder, out)
    else:
        write_safetensors(encoder, out)
    return out


def check_target(out: Path, format: str, overwrite: bool) -> None:
    """Raise a `ValueError` unless `out` can be written in `format`."""
    suffixes = {"onnx": (".onnx",), "state_dict": (".pt", ".pth"), "safetensors": (".safetensors",)}
    if format not in suffixes:
        raise ValueError(f"format is one of {', '.join(suffixes)}, not {format!r}")
    if out.suffix not in suffixes[format]:
        raise ValueError(f"a file in format {format!r} ends in {' or '.join(suffixes[format])}, got {str(out)!r}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another name, or overwrite it with --overwrite")


def write_onnx(encoder: Encoder, out: Path, opset: int | None = None) -> None:
    """One ONNX file with a free batch axis, kept only if onnxruntime agrees with torch."""
    need_onnx()
    from selfsight.nets.storage import write_atomically
    from selfsight.nets.to_onnx import onnx_difference, onnx_graph

    content = onnx_graph(encoder, opset).SerializeToString()
    difference = onnx_difference(encoder, content)
    if not difference < TOLERANCE:
        raise RuntimeError(f"onnxruntime differs from torch by {difference:.1e}, allowed is {TOLERANCE}: not written")
    write_atomically(out, content)
    print(f"wrote {out}: images in [0, 1] to features, at most {difference:.1e} from torch (onnxruntime, CPU)")


def write_state_dict(encoder: Encoder, out: Path) -> None:
    """A plain state dict, and on the screen how to rebuild the net in timm."""
    import io

    import torch

    from selfsight.nets import rebuild_snippet
    from selfsight.nets.storage import write_atomically

    content = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in encoder.model.state_dict().items()}, content)
    write_atomically(out, content.getvalue())
    print(f"wrote {out}; images in [0, 1] are normalised with mean {encoder.spec.mean} and std {encoder.spec.std}")
    print(f"plain timm reads it:\n\n{rebuild_snippet(encoder.spec, str(out))}")


def write_safetensors(encoder: Encoder, out: Path) -> None:
    """The weights and their JSON under another name."""
    from selfsight.nets import save_encoder

    save_encoder(encoder, out)
    print(f"wrote {out} and {out.with_suffix('.json').name}: selfsight.load_encoder({str(out)!r}) reads them")


def need_onnx() -> None:
    """Raise a `ValueError` that names the extra where one of its packages is missing."""
    from importlib.util import find_spec

    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise ValueError(f"exporting to ONNX needs {', '.join(missing)}: pip install selfsight[onnx]")
