"""Write an encoder for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from selfsight.logs import speaking

if TYPE_CHECKING:
    from selfsight.engine import Run
    from selfsight.nets import Encoder

TOLERANCE = 1e-4
SUFFIXES = {"onnx": (".onnx",), "state_dict": (".pt", ".pth"), "safetensors": (".safetensors",)}


@speaking
def export(
    model: str | Path | Encoder | Run,
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

    model: a run folder, an `encoder.safetensors`, or in Python an Encoder.
    out: the file to write.
    format: onnx, state_dict or safetensors.
    opset: version of ONNX's operators; by default the exporter's own.
    overwrite: replace `out` where it exists.
    """
    import copy

    from selfsight.nets import Encoder, load_encoder
    from selfsight.probes.subjects import is_name, subject_of

    out = Path(out)
    check_target(out, format, opset, overwrite)
    subject = subject_of(model)
    if is_name(subject) and not isinstance(subject, Encoder):
        raise ValueError(f"no encoder at {subject}: give a run folder, a .safetensors file or an Encoder")
    if isinstance(subject, Encoder):
        encoder = copy.deepcopy(subject).cpu().eval()
    else:
        check_itself(out, subject)
        encoder = load_encoder(subject)
    if format == "state_dict" and encoder.spec.custom:
        raise ValueError("only its author can rebuild a module of their own in plain timm: use another format")
    if format == "onnx":
        write_onnx(encoder, out, opset)
    elif format == "state_dict":
        write_state_dict(encoder, out)
    else:
        write_safetensors(encoder, out)
    return out


def check_target(out: Path, format: str, opset: int | None, overwrite: bool) -> None:
    """Raise a `ValueError` unless `out` can be written in `format`, with what is written beside it."""
    from selfsight.outputs import check_output
    from selfsight.probes.options import check_numbers, check_switches

    if format not in SUFFIXES:
        raise ValueError(f"format is one of {', '.join(SUFFIXES)}, not {format!r}")
    if out.suffix not in SUFFIXES[format]:
        raise ValueError(
            f"out is a file that ends in {' or '.join(SUFFIXES[format])} in format {format!r}, not {str(out)!r}"
        )
    if opset is not None and format != "onnx":
        raise ValueError(f"opset is of the format onnx, not of {format}: leave it out")
    check_numbers(opset=opset)
    check_switches(overwrite=overwrite)
    check_output(out, overwrite=overwrite)
    beside = out.with_suffix(".json")
    if format == "safetensors" and beside.exists():
        if not overwrite:
            raise ValueError(f"{beside}, which belongs to {out.name}, exists: set overwrite, or choose another out")
        if not describes_an_encoder(beside):
            raise ValueError(f"{beside} exists and does not describe an encoder: choose another out")
    if format == "onnx":
        need_onnx()
        import onnx

        if opset is not None and opset > onnx.defs.onnx_opset_version():
            raise ValueError(f"opset is at most {onnx.defs.onnx_opset_version()} here, not {opset}")


def describes_an_encoder(file: Path) -> bool:
    """Whether a JSON is what selfsight writes beside an encoder."""
    from selfsight.nets import read_spec

    try:
        read_spec(file.with_suffix(".safetensors"))
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def check_itself(out: Path, model: str | Path) -> None:
    """Refuse to write over the encoder that is read."""
    from selfsight.nets.storage import weights_file

    if out.exists() and out.samefile(weights_file(model)):
        raise ValueError(f"{out} is the encoder itself: choose another out")


def write_onnx(encoder: Encoder, out: Path, opset: int | None = None) -> None:
    """One ONNX file with a free batch axis, kept only if onnxruntime agrees with torch."""
    from selfsight.nets.to_onnx import onnx_difference, onnx_graph
    from selfsight.outputs import write_atomically

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
    from selfsight.outputs import write_atomically

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
