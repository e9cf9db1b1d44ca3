"""Exported files are read by the world without selfsight, and compute the same."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsight.export import export
from selfsight.nets import build_encoder, load_encoder, save_encoder

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def run_folder(folder, name="resnet_slim", size=32, **options):
    """A folder with an encoder, and that encoder."""
    torch.manual_seed(0)
    encoder = build_encoder(name, image_size=size, **options)
    encoder.spec = replace(encoder.spec, mean=MEAN, std=STD)
    encoder(torch.randn(8, 3, size, size))
    save_encoder(encoder, folder / "run")
    return folder / "run", encoder.eval()


@pytest.mark.parametrize(
    ("name", "size", "options", "opset"),
    [
        ("resnet_slim", 32, {}, 18),
        ("vit_small_image", 32, {"depth": 1}, None),
        ("eva02_tiny_patch14_224", 56, {"embed_dim": 48, "depth": 1, "num_heads": 2}, None),
    ],
)
def test_onnx_takes_images_in_unit_range_of_any_number(name, size, options, opset, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    run, encoder = run_folder(tmp_path, name, size, **options)
    file = export(run, out=tmp_path / "deep" / "encoder.onnx", opset=opset)
    assert os.listdir(file.parent) == ["encoder.onnx"]
    assert "from torch" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = np.random.default_rng(batch).random((batch, 3, size, size), dtype=np.float32)
        shape = (3, 1, 1)
        normal = (images.astype(np.float64) - np.reshape(MEAN, shape)) / np.reshape(STD, shape)
        with torch.no_grad():
            expected = encoder(torch.from_numpy(normal).float()).numpy()
        np.testing.assert_allclose(session.run(["features"], {"images": images})[0], expected, atol=1e-4)
    graph = onnx.load(file)
    meta = {entry.key: entry.value for entry in graph.metadata_props}
    assert meta["size"] == f"{size} {size}" and meta["width"] == str(encoder.width)
    assert opset in (None, graph.opset_import[0].version)


def test_a_graph_that_differs_or_has_another_opset_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from selfsight.nets import to_onnx

    run, encoder = run_folder(tmp_path)
    with pytest.raises(ValueError, match="asked for opset 12, torch wrote"):
        export(run, out=tmp_path / "encoder.onnx", opset=12)
    graph = to_onnx.onnx_graph(encoder)
    save_encoder(build_encoder("resnet_slim", image_size=32), run)
    monkeypatch.setattr(to_onnx, "onnx_graph", lambda encoder, opset: graph)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export(run, out=tmp_path / "encoder.onnx")
    assert os.listdir(tmp_path) == ["run"]


def test_without_the_extra_the_fix_is_named(tmp_path, monkeypatch):
    run, _ = run_folder(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install selfsight\[onnx\]"):
        export(run, out=tmp_path / "encoder.onnx")


def test_the_printed_lines_rebuild_the_net(tmp_path, capsys):
    run, encoder = run_folder(tmp_path)
    file = export(run, format="state_dict", out=tmp_path / "encoder.pt")
    assert set(torch.load(file, weights_only=True)) == set(encoder.model.state_dict())
    printed = capsys.readouterr().out
    snippet = printed[printed.index("import timm") :]
    images = torch.randn(2, 3, 32, 32)
    names = {}
    exec(snippet, names)
    assert torch.equal(names["model"].eval()(images), encoder(images))


def test_safetensors_are_loaded_from_their_new_place(tmp_path):
    run, encoder = run_folder(tmp_path)
    file = export(run / "encoder.safetensors", format="safetensors", out=tmp_path / "mine.safetensors")
    images = torch.randn(2, 3, 32, 32)
    loaded = load_encoder(file)
    assert torch.equal(loaded(images), encoder(images))
    assert loaded.spec == encoder.spec


def test_mistakes_are_named_before_anything_is_read(tmp_path):
    for settings, message in (
        ({"format": "tflite", "out": "x.tflite"}, "one of onnx, state_dict, safetensors"),
        ({"format": "onnx", "out": "x.pt"}, r"ends in \.onnx"),
        ({"format": "state_dict", "out": "x.onnx"}, r"ends in \.pt or \.pth"),
        ({"format": "onnx", "out": "x.onnx", "overwrite": 1}, "overwrite is True or False"),
    ):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "nowhere", **settings)
    there = tmp_path / "there.onnx"
    there.touch()
    with pytest.raises(ValueError, match="overwrite"):
        export(tmp_path / "nowhere", out=there)
    with pytest.raises(ValueError, match="no encoder at"):
        export(tmp_path / "nowhere", out=there, overwrite=True)


def test_the_verb_is_imported_without_torch():
    path = os.path.dirname(os.path.dirname(inspect.getfile(export)))
    script = f"import sys; sys.path.insert(0, {path!r}); import selfsight.export; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_encoder_in_memory_is_exported_and_stays_as_it_is(tmp_path):
    encoder = build_encoder("resnet_slim", image_size=32).train()
    file = export(encoder, format="safetensors", out=tmp_path / "mine.safetensors")
    assert encoder.training and load_encoder(file).spec == encoder.spec


def test_nothing_beside_a_chosen_file_is_overwritten(tmp_path):
    run, encoder = run_folder(tmp_path)
    beside = tmp_path / "mine.json"
    beside.write_text("my own")
    for overwrite, message in ((False, "set overwrite"), (True, "does not describe an encoder")):
        with pytest.raises(ValueError, match=message):
            export(run, format="safetensors", out=tmp_path / "mine.safetensors", overwrite=overwrite)
    assert beside.read_text() == "my own"
    with pytest.raises(ValueError, match="is the encoder itself"):
        export(run, format="safetensors", out=run / "encoder.safetensors", overwrite=True)
    with pytest.raises(ValueError, match="opset is of the format onnx"):
        export(run, format="state_dict", out=tmp_path / "x.pt", opset=18)
    with pytest.raises(ValueError, match="opset is at least 1"):
        export(run, out=tmp_path / "x.onnx", opset=0)
    assert encoder.spec.mean == MEAN
