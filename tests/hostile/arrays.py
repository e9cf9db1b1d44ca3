"""Kinds 5, 6 and 11: arrays of any type, shape and layout, in files and in memory, and values that are no numbers."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.random import Generator

from hostile.case import BAD, Case, Expect, Parts, Raw, Reads, Trial, either, one_of, refused
from hostile.formats import noise
from hostile.images import FAULTS

TYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
    ">u2", ">i2", ">i4", ">f4", ">f8", "longdouble",
)  # fmt: skip
NO_IMAGES = ("complex64", "complex128", "datetime64[s]", "timedelta64[s]", "S3", "U3", "V4")
ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "turned": lambda array: np.ascontiguousarray(array.T).T,
    "backwards": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    "every-second": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "read-only": lambda array: frozen(array.copy()),
}


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def values(rng: Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values that every reader can hold: whole numbers stay within 40 bits, floats in what float16 knows."""
    kind = np.dtype(dtype)
    if kind.kind in "iu" and kind.itemsize > 4:
        return rng.integers(0, 2**40, shape).astype(kind)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, shape, endpoint=True, dtype=kind.newbyteorder("=")).astype(kind)
    return (
        rng.integers(0, 2, shape).astype(bool) if kind.kind == "b" else (rng.integers(-99, 99, shape) / 8).astype(kind)
    )


# One image a file, or all in one.


def one_a_file(dtype: str, axes: str) -> Callable[[Path, Generator], Trial]:
    shape = {"grey": (6, 5), "first": (3, 6, 5), "last": (6, 5, 3), "one-first": (1, 6, 5), "one-last": (6, 5, 1)}[axes]

    def build(folder: Path, rng: Generator) -> Trial:
        answers = {}
        for number in range(3):
            array = values(rng, shape, dtype)
            np.save(folder / f"{number}.npy", array)
            answers[f"{number}.npy"] = channels_first(array)
        return Trial(folder, Reads(answers))

    return build


def channels_first(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        return array[None]
    return np.moveaxis(array, -1, 0) if array.shape[-1] in (1, 3) and array.shape[0] not in (1, 3) else array


def all_in_one(dtype: str, order: str, held: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = ORDERS[order](values(rng, (5, 6, 7, 3), dtype))
        answers = {str(number): channels_first(np.asarray(image)) for number, image in enumerate(array)}
        data: Any = array
        if held == "npy":
            data = folder / "images.npy"
            np.save(data, array)
        elif held == "npz":
            data = folder / "images.npz"
            np.savez(data, images=array)
        elif held == "memmap":
            np.save(folder / "images.npy", array)
            data = np.load(folder / "images.npy", mmap_mode="r")
        return Trial(data, Reads(answers))

    return build


def no_image(dtype: str, held: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = np.zeros((4, 6, 5), dtype)
        data: Any = array
        if held == "npy":
            data = folder / "images.npy"
            np.save(data, array, allow_pickle=True)
        elif held == "npz":
            data = folder / "images.npz"
            np.savez(data, images=array)
        elif held == "files":
            data = folder
            np.save(folder / "a.npy", array[0])
        return Trial(data, refused())

    return build


# Shapes.

# shape of one image, channels asked for, the axis of channels (0, -1, None for grey), or "refused"
SHAPES: list[tuple[tuple[int, ...], int | None, Any]] = [
    ((6, 5), None, None), ((6, 5), 1, None), ((6, 5), 3, "refused"), ((500, 2), None, None), ((1, 1), None, None),
    ((3, 20, 20), None, 0), ((20, 20, 3), None, -1), ((1, 20, 20), None, 0), ((20, 20, 1), None, -1),
    ((4, 20, 20), None, 0), ((20, 20, 4), None, -1), ((2, 20, 20), None, 0), ((20, 20, 2), None, -1),
    ((3, 20, 3), None, "refused"), ((3, 20, 3), 3, "refused"), ((3, 20, 4), None, 0), ((4, 20, 3), None, -1),
    ((1, 20, 4), None, 0), ((2, 20, 4), None, "refused"), ((2, 20, 4), 4, -1), ((2, 20, 4), 2, 0),
    ((5, 20, 20), None, "refused"), ((5, 20, 20), 5, 0), ((20, 20, 5), 5, -1), ((20, 20, 5), None, "refused"),
    ((8, 20, 24), 8, 0), ((20, 24, 8), 8, -1), ((13, 20, 24), 13, 0), ((20, 24, 13), 13, -1),
    ((20, 24, 13), 12, "refused"), ((13, 20, 24), None, "refused"), ((6, 6, 6), None, None),
    ((6, 6, 6), 6, "refused"), ((20, 20, 20), None, None),
    ((20, 20, 20), 1, None), ((20, 24, 22), None, None), ((20, 24, 22), 1, None), ((20, 64, 64), None, "refused"),
    ((20, 64, 64), 1, None), ((20, 64, 64), 20, 0), ((2, 20, 20, 20), None, 0), ((20, 20, 20, 2), None, -1),
    ((5, 20, 20, 20), 5, 0), ((20, 20, 20, 5), 5, -1), ((5, 20, 20, 20), None, "refused"), ((1, 20, 20, 20), None, 0),
    ((7,), None, "refused"), ((2, 3, 4, 5, 6), None, "refused"), ((0, 5), None, "refused"),
    ((3, 0, 5), None, "refused"), ((6, 5, 0), None, "refused"), ((6, 5, 3), 4, "refused"), ((6, 5, 3), 1, None),
    ((6, 5), 0, "refused"),
]  # fmt: skip


def shaped(number: int, held: str) -> Callable[[Path, Generator], Trial]:
    shape, channels, axis = SHAPES[number]

    def build(folder: Path, rng: Generator) -> Trial:
        array = noise(rng, (4, *shape))
        data: Any = array
        keys = [str(index) for index in range(4)]
        if held == "npy":
            data = folder / "images.npy"
            np.save(data, array)
        elif held == "files":
            data, keys = folder, [f"{index}.npy" for index in range(4)]
            for index in range(4):
                np.save(folder / keys[index], array[index])
        if axis == "refused":
            expect: Expect = refused("channels", "axis", "shape", "pixels", "NaN", "image")
        else:
            right = {
                key: image[None] if axis is None else np.moveaxis(image, axis, 0)
                for key, image in zip(keys, array, strict=True)
            }
            expect = Reads(right, channels=len(right[keys[0]]))
        if held == "memory" and array.ndim == 4 and axis is None and channels is None and 0 not in shape:
            expect = either(expect, refused("channels"))
        return Trial(data, expect, {} if channels is None else {"channels": channels})

    return build


def bands(samples: int, plan: str, given: bool) -> Callable[[Path, Generator], Trial]:
    """TIFFs of many channels, as satellites send them."""

    def build(folder: Path, rng: Generator) -> Trial:
        answers = {}
        for number in range(3):
            shape = (samples, 12, 14) if plan == "separate" else (12, 14, samples)
            array = noise(rng, shape, np.uint16)
            tifffile.imwrite(folder / f"{number}.tif", array, photometric="minisblack", planarconfig=plan)
            answers[f"{number}.tif"] = array if plan == "separate" else np.moveaxis(array, -1, 0)
        return Trial(folder, Reads(answers, channels=samples), {"channels": samples} if given else {})

    return build


# Values that are no numbers.

ODD_VALUES = {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf, "no-data": -3.4e38, "huge": 1e38}
PLACES = {"first": 0, "last": -1, "middle": 17}


def odd_value(value: str, place: str, held: str, dtype: str) -> Callable[[Path, Generator], Trial]:
    """One value of one image is no number."""

    def build(folder: Path, rng: Generator) -> Trial:
        array = rng.random((6, 8, 9)).astype(dtype)
        if dtype == "float16" and not np.isnan(ODD_VALUES[value]):
            array[3].flat[PLACES[place]] = np.copysign(np.inf, ODD_VALUES[value])
        else:
            array[3].flat[PLACES[place]] = ODD_VALUES[value]
        keys = [str(number) for number in range(6)]
        data: Any = array
        if held == "npy":
            data = folder / "images.npy"
            np.save(data, array)
        elif held == "npz":
            data = folder / "images.npz"
            np.savez(data, images=array)
        elif held in ("files", "tif"):
            data, keys = folder, [f"{number}.{'npy' if held == 'files' else 'tif'}" for number in range(6)]
            for key, image in zip(keys, array, strict=True):
                if held == "files":
                    np.save(folder / key, image)
                else:
                    tifffile.imwrite(folder / key, image)
        elif held == "dataset":
            data = [(image, 0) for image in array]
        elif held == "tensor":
            import torch

            data = torch.from_numpy(array)
        answers: dict[str, Any] = {key: Raw(image[None], 1e-6) for key, image in zip(keys, array, strict=True)}
        answers[keys[3]] = BAD
        return Trial(data, Reads(answers))

    return build


def all_odd(value: str, held: str) -> Callable[[Path, Generator], Trial]:
    """No image holds numbers alone."""

    def build(folder: Path, rng: Generator) -> Trial:
        array = np.full((4, 5, 5), ODD_VALUES[value], np.float32)
        data: Any = array
        if held != "memory":
            data = folder
            for number, image in enumerate(array):
                if held == "files":
                    np.save(folder / f"{number}.npy", image)
                else:
                    tifffile.imwrite(folder / f"{number}.tif", image)
        return Trial(data, refused("numbers", "readable"))

    return build


# Broken files.


def npy_bytes(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def header(text: str, size: int = 400) -> bytes:
    body = f"{{{text}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + bytes(size)


NPY: dict[str, tuple[Callable[[np.ndarray, Generator], bytes], str]] = {
    "version-1": (lambda a, r: npy_bytes(a, (1, 0)), "read"),
    "version-2": (lambda a, r: npy_bytes(a, (2, 0)), "read"),
    "version-3": (lambda a, r: npy_bytes(a, (3, 0)), "read"),
    "version-9": (lambda a, r: npy_bytes(a).replace(b"NUMPY\x01", b"NUMPY\x09", 1), "bad"),
    "claims-more": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': (9000, 9000)"), "bad"),
    "claims-terabyte": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': (10**6, 10**6)"), "bad"),
    "claims-exabyte": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': (10**18, 3)"), "bad"),
    "claims-memory": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 999999)"), "bad"),
    "claims-negative": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': (-8, 9)"), "bad"),
    "claims-text": (lambda a, r: header("'descr': '|u1', 'fortran_order': False, 'shape': ('8', 9)"), "bad"),
    "no-shape": (lambda a, r: header("'descr': '|u1', 'fortran_order': False"), "bad"),
    "odd-type": (lambda a, r: header("'descr': 'zz9', 'fortran_order': False, 'shape': (8, 9)"), "bad"),
    "not-python": (lambda a, r: header("'descr': open('/etc/passwd')"), "bad"),
    "nested-header": (lambda a, r: header("(" * 110), "bad"),
    "pickle": (lambda a, r: npy_bytes_pickled(a), "bad"),
    "zip": (lambda a, r: npz_bytes(a), "bad"),
    "text-numbers": (lambda a, r: b"1 2 3\n4 5 6\n", "bad"),
}  # fmt: skip


def npy_bytes_pickled(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([array, None], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npz_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, images=array)
    return stream.getvalue()


def broken_npy(name: str, alone: bool) -> Callable[[Path, Generator], Trial]:
    """A broken `.npy` among sound ones, or as the whole data."""
    change, effect = NPY[name] if name in NPY else (lambda a, r: FAULTS[name][0](npy_bytes(a), r), FAULTS[name][1])

    def build(folder: Path, rng: Generator) -> Trial:
        if alone:
            array = noise(rng, (4, 8, 9))
            (folder / "x.npy").write_bytes(change(array, rng))
            reads = Reads({str(number): image[None] for number, image in enumerate(array)})
            right: Expect = {"bad": refused("x.npy"), "read": reads}.get(effect) or either(reads, refused("x.npy"))
            return Trial(folder / "x.npy", right)
        answers: dict[str, Any] = {}
        for number in range(3):
            array = noise(rng, (8, 9))
            np.save(folder / f"{number}.npy", array)
            answers[f"{number}.npy"] = array[None]
        array = noise(rng, (8, 9))
        (folder / "x.npy").write_bytes(change(array, rng))
        answers["x.npy"] = {"bad": BAD, "read": array[None]}.get(effect, one_of(BAD, array[None]))
        return Trial(folder, Reads(answers))

    return build


# Archives.


def archive(name: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        train, test = noise(rng, (6, 5, 7, 3)), noise(rng, (4, 5, 7, 3))
        marks, more = np.arange(6) % 2, np.arange(4) % 2
        answers = {str(number): np.moveaxis(image, -1, 0) for number, image in enumerate(train)}
        others = {str(number): np.moveaxis(image, -1, 0) for number, image in enumerate(test)}
        labels = {str(number): str(mark) for number, mark in enumerate(marks)}
        parts = Parts({"train": Reads(answers, labels), "test": Reads(others)})
        one = Reads(answers, labels)
        odd: dict[str, tuple[dict[str, Any], Expect]] = {
            "images-labels": ({"images": train, "labels": marks}, one),
            "x-y": ({"x": train, "y": marks}, one),
            "X-Y": ({"X": train, "Y": marks}, one),
            "data-target": ({"data": train, "target": marks}, one),
            "images-alone": ({"images": train}, Reads(answers)),
            "medmnist": ({"train_images": train, "train_labels": marks[:, None], "test_images": test,
                          "test_labels": more[:, None]}, parts),
            "keras": ({"x_train": train, "y_train": marks, "x_test": test, "y_test": more}, parts),
            "capitals": ({"X_Train": train, "Y_Train": marks, "X_Test": test, "Y_Test": more}, parts),
            "validation": ({"training_images": train, "training_labels": marks, "validation_images": test,
                            "validation_labels": more}, Parts({"train": Reads(answers, labels), "val": Reads(others)})),
            "words": ({"images": train, "labels": np.array(list("ababab"))}, Reads(answers, {"0": "a", "1": "b"})),
            "one-hot": ({"images": train, "labels": np.eye(2)[marks]}, one),
            "too-few-labels": ({"images": train, "labels": marks[:4]}, refused("labels")),
            "label-number": ({"images": train, "labels": np.array(3)}, refused("labels")),
            "labels-objects": ({"images": train, "labels": np.array([{}, 1, None, 2, 3, 4], object)},
                               refused("read", "pickle")),
            "labels-nan": ({"images": train, "labels": np.array([0, 1, np.nan, 1, 0, 1])},
                           Reads(answers, {"0": "0", "1": "1", "2": None})),
            "labels-inf": ({"images": train, "labels": np.array([0, 1, np.inf, 1, 0, 1])}, refused("infinite")),
            "labels-scale": ({"images": train, "labels": marks + 0.5}, Reads(answers, {"0": 0.5, "1": 1.5})),
            "labels-minus": ({"images": train, "labels": marks - 1}, Reads(answers, {"0": None, "1": "0"})),
            "labels-bool": ({"images": train, "labels": marks == 1},
                            Reads(answers, {"0": one_of("False", "0"), "1": one_of("True", "1")})),
            "labels-bytes": ({"images": train, "labels": np.array([b"a", b"b"] * 3)},
                             Reads(answers, {"0": "a", "1": "b"})),
            "no-images": ({"a": train, "b": marks}, refused("images")),
            "empty": ({}, refused()),
            "no-rows": ({"images": train[:0], "labels": marks[:0]}, refused()),
            "images-of-objects": ({"images": np.array([train[0], None], object)}, refused("read", "pickle")),
            "one-image": ({"images": train[0]}, refused()),
            "number": ({"images": np.array(3)}, refused()),
            "other-channels": ({"train_images": train, "test_images": test[..., :1]},
                               either(refused("channels"), Parts({"train": Reads(answers), "test": Reads()}))),
            "other-size": ({"train_images": train, "test_images": noise(rng, (4, 9, 9, 3))},
                           Parts({"train": Reads(answers), "test": Reads()})),
            "two-names": ({"images": train, "image": train, "labels": marks}, either(one, refused("images"))),
            "part-labels-alone": ({"train_images": train, "test_labels": more}, either(refused(), Reads(answers))),
            "masks-too": ({"images": train, "masks": noise(rng, (6, 5, 7)), "labels": marks}, one),
        }  # fmt: skip
        arrays, expect = odd[name.removesuffix("-packed")]
        (np.savez_compressed if name.endswith("-packed") else np.savez)(folder / "t.npz", **arrays, allow_pickle=True)
        return Trial(folder / "t.npz", expect)

    return build


ARCHIVES = (
    "images-labels", "images-labels-packed", "x-y", "X-Y", "data-target", "images-alone", "medmnist", "medmnist-packed",
    "keras", "capitals", "validation", "words", "one-hot", "too-few-labels", "label-number", "labels-objects",
    "labels-nan", "labels-inf", "labels-scale", "labels-minus", "labels-bool", "labels-bytes", "no-images", "empty",
    "no-rows", "images-of-objects", "one-image", "number", "other-channels", "other-size", "two-names",
    "part-labels-alone", "masks-too",
)  # fmt: skip


def broken_npz(fault: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = noise(rng, (4, 8, 9))
        data = npz_bytes(array)
        if fault == "flipped":
            changed = bytearray(data)
            changed[len(data) // 2] ^= 1
            data = bytes(changed)
        elif fault == "text-inside":
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w") as made:
                made.writestr("images.npy", "no array")
            data = stream.getvalue()
        elif fault == "locked":
            place = data.index(b"PK\x01\x02") + 8
            data = data[:place] + b"\x01" + data[place + 1 :]
        else:
            data = FAULTS[fault][0](data, rng)
        (folder / "t.npz").write_bytes(data)
        reads = Reads({str(number): image[None] for number, image in enumerate(array)})
        sound = FAULTS.get(fault, ("", "bad"))[1] == "maybe"
        return Trial(folder / "t.npz", either(reads, refused("t.npz")) if sound else refused("t.npz"))

    return build


def cases() -> Iterator[Case]:
    for dtype in TYPES:
        for axes in ("grey", "first", "last", "one-first", "one-last"):
            yield Case(f"arrays/files/{dtype}/{axes}", 5, one_a_file(dtype, axes))
        for order in ORDERS:
            for held in ("memory", "npy", "npz", "memmap") if order in ("C", "F") else ("memory",):
                yield Case(f"arrays/together/{dtype}/{order}/{held}", 5, all_in_one(dtype, order, held))
    for dtype in NO_IMAGES:
        for held in ("memory", "npy", "npz", "files"):
            yield Case(f"arrays/no-image/{dtype}/{held}", 5, no_image(dtype, held))
    for number, (shape, channels, _) in enumerate(SHAPES):
        for held in ("memory", "npy", "files"):
            name = f"arrays/shape/{'x'.join(map(str, shape))}/{channels or 'any' if channels != 0 else 0}/{held}"
            yield Case(name, 11, shaped(number, held))
    for samples in (2, 5, 6, 8, 10, 12, 13):
        for plan in ("contig", "separate"):
            for given in (False, True):
                name = f"arrays/bands/{samples}/{plan}/{'given' if given else 'told'}"
                yield Case(name, 11, bands(samples, plan, given))
    for value in ODD_VALUES:
        for held in ("memory", "npy", "npz", "files", "tif", "dataset", "tensor"):
            for dtype in ("float16", "float32", "float64") if held not in ("tif",) else ("float32",):
                for place in PLACES if dtype == "float32" else ("middle",):
                    yield Case(f"arrays/odd/{value}/{held}/{dtype}/{place}", 6, odd_value(value, place, held, dtype))
        for held in ("memory", "files", "tif"):
            yield Case(f"arrays/all-odd/{value}/{held}", 6, all_odd(value, held))
    for name in (*NPY, *FAULTS):
        for alone in (False, True):
            yield Case(f"arrays/npy/{name}/{'alone' if alone else 'among'}", 5, broken_npy(name, alone))
    for name in ARCHIVES:
        yield Case(f"arrays/npz/{name}", 5, archive(name))
    for fault in (*FAULTS, "flipped", "text-inside", "locked"):
        yield Case(f"arrays/npz-broken/{fault}", 5, broken_npz(fault))
