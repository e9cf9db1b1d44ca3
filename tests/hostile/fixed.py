"""Kind 1: values, channels and classes are those of the training data or of the encoder, whatever lies beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image

import selfsight
from hostile.case import Case, Expect, Failed, Parts, Problem, Reads, Trial, Unit, either, refused
from hostile.formats import noise, saved
from hostile.tables import as_csv
from selfsight.data import open_source
from selfsight.nets import Encoder, build_encoder
from selfsight.probes.subjects import as_encoder_reads

# Values of images, and the range that an encoder was trained with.

VALUES: dict[str, tuple[str, float, float]] = {
    "uint8": ("uint8", 0, 256), "uint8-dark": ("uint8", 0, 20), "uint16": ("uint16", 0, 65536),
    "uint16-12-bits": ("uint16", 0, 4096), "uint16-as-8": ("uint16", 0, 256), "unit": ("float32", 0, 1),
    "unit-double": ("float64", 0, 1), "unit-half": ("float16", 0, 1), "float-255": ("float32", 0, 255),
    "signed": ("float32", -1, 1), "ct": ("int16", -1000, 2000), "ct-bone": ("int16", 200, 1800),
    "int-255": ("int32", 0, 256), "counts": ("int32", 0, 100_000), "kelvin": ("float32", 250, 320),
    "tiny": ("float32", 0, 1e-3), "beyond": ("float32", 0, 1.02), "below": ("int16", -20, 255),
}  # fmt: skip
RANGES = {"8": (0.0, 255.0), "16": (0.0, 65535.0), "unit": (0.0, 1.0), "ct": (-1000.0, 2000.0), "digits": (0.0, 16.0)}
FULL = [RANGES["8"], RANGES["16"], RANGES["unit"]]
COUNT = 6


def some_values(rng: Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a type, spread over its interval, the lowest and the highest among them in every image."""
    dtype, low, high = VALUES[name]
    drawn = rng.uniform(low, high, shape)
    drawn.reshape(len(drawn), -1)[:, 0] = low
    drawn.reshape(len(drawn), -1)[:, 1] = high if dtype.startswith("float") else high - 1
    return drawn.astype(dtype)


def range_of(name: str) -> tuple[float, float]:
    """The range that these values have by themselves."""
    dtype, low, high = VALUES[name]
    if dtype in ("uint8", "uint16"):
        return (0.0, float(np.iinfo(dtype).max))
    if dtype.startswith("float") and low >= 0 and high <= 1:
        return (0.0, 1.0)
    return (float(low), float(high if dtype.startswith("float") else high - 1))


def right_answer(arrays: np.ndarray, name: str, wanted: tuple[float, float]) -> Expect:
    """Each image as shares of the range it must be read in, or a refusal."""
    own = range_of(name)
    values = arrays.astype(np.float64)
    if own == wanted or (own in FULL and wanted in FULL):
        low, high = own
        return InRange((values - low) / (high - low), own, () if own == wanted else ("[0, 1]",))
    low, high = wanted
    outside = float(((values < low) | (values > high)).mean())
    clipped = InRange((values.clip(low, high) - low) / (high - low), wanted, ("range",))
    if outside > 0.5:
        return refused("range", "values")
    narrow = own[1] - own[0] < 0.03 * (high - low)
    return either(clipped, refused("range", "values")) if outside > 0.3 or narrow else clipped


@dataclasses.dataclass(frozen=True)
class InRange:
    """Shares `(N, H, W)` of a range in which images are read, with words that must be said."""

    shares: np.ndarray
    value_range: tuple[float, float]
    words: tuple[str, ...] = ()

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        found, value_range = outcome.value
        if not np.allclose(value_range, self.value_range, rtol=1e-3):
            return f"read in {value_range}, must be {self.value_range}"
        difference = np.abs(found[:, 0] - self.shares).max()
        if difference > 3e-3:
            return f"pixels differ by {difference:g} of the range"
        text = "\n".join(outcome.said)
        return None if not self.words or any(word in text for word in self.words) else f"says none of {self.words}"


def as_read(data: Any, folder: Path, *, encoder: Encoder) -> tuple[np.ndarray, tuple[float, float]]:
    """Images as an encoder gets them, as shares of the range."""
    source = as_encoder_reads(open_source(data, channels=encoder.spec.channels), encoder.spec)
    low, high = source.value_range
    images = np.stack([source.read(index).numpy().astype(np.float64) for index in range(len(source))])
    return (images - low) / (high - low), source.value_range


def of_range(value_range: tuple[float, float], channels: int = 1) -> Encoder:
    encoder = build_encoder("resnet_slim", image_size=8, channels=channels).eval()
    encoder.spec = dataclasses.replace(
        encoder.spec, value_range=value_range, mean=(0.4,) * channels, std=(0.3,) * channels
    )
    encoder.prepared = True
    return encoder


def held(folder: Path, arrays: np.ndarray, form: str) -> Any:
    """The arrays in memory, or in files of some form."""
    if form == "memory":
        return arrays
    for number, array in enumerate(arrays):
        if form == "npy":
            np.save(folder / f"{number}.npy", array)
        else:
            tifffile.imwrite(folder / f"{number}.tif", array)
    return folder


def trained_on(values: str, wanted: str, form: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        arrays = some_values(rng, values, (COUNT, 24, 25))
        right = right_answer(arrays, values, RANGES[wanted])
        data = held(folder, arrays, form)
        return Trial(data, right, {"encoder": of_range(RANGES[wanted])}, act=as_read)

    return build


# Parts of one data set.


def other_test_part(train: str, test: str, form: str) -> Callable[[Path, Generator], Trial]:
    """The test part is read in the training part's range, and clipped, whatever it holds itself."""

    def build(folder: Path, rng: Generator) -> Trial:
        parts = {"train": some_values(rng, train, (COUNT, 9, 8)), "test": some_values(rng, test, (COUNT, 9, 8))}
        if form == "memory":
            data: Any = parts
        elif form == "npz":
            data = folder / "d.npz"
            np.savez(data, train_images=parts["train"], test_images=parts["test"])
        else:
            data = folder
            for name, arrays in parts.items():
                (folder / name).mkdir()
                held(folder / name, arrays, "npy")
        return Trial(data, SameRange(range_of(train), range_of(test)))

    return build


@dataclasses.dataclass(frozen=True)
class SameRange:
    """Both parts have the training part's range, unless both fill the whole of a type's; or it is refused."""

    train: tuple[float, float]
    test: tuple[float, float]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return None if "range" in str(outcome.error) else f"refused: {outcome.error}"
        found = {name: part.value_range for name, part in outcome.parts.items()}
        own = self.train in FULL and self.test in FULL
        wanted = {"train": self.train, "test": self.test if own else self.train}
        return None if all(np.allclose(found[name], wanted[name], rtol=1e-3) for name in wanted) else f"ranges {found}"


# Classes.


def classes_of(train: str, test: str, form: str) -> Callable[[Path, Generator], Trial]:
    """Parts with other classes: one list, and codes that mean the same in both."""

    def build(folder: Path, rng: Generator) -> Trial:
        names = {"train": train.split(), "test": test.split()}
        both = sorted({*names["train"], *names["test"]}, key=lambda name: (len(name), name))
        reads = {}
        rows = [["path", "label", "split"]]
        for part, classes in names.items():
            labels = {}
            for number, name in enumerate(classes * 2):
                path = f"{part}/{name}/{number}.png" if form == "folder" else f"{part}{number}.png"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(saved(Image.fromarray(noise(rng, (5, 5, 3))), "PNG"))
                labels[path] = name
                rows.append([path, name, part])
            reads[part] = Reads(None, labels, both)
        data: Any = folder
        if form == "table":
            data = folder / "t.csv"
            data.write_text(as_csv(rows))
        elif form == "tables":
            data = {}
            for part in names:
                data[part] = folder / f"{part}.csv"
                data[part].write_text(as_csv([rows[0][:2], *(row[:2] for row in rows[1:] if row[2] == part)]))
        return Trial(data, Parts(reads))

    return build


def judged_on(unknown: bool, fewer: bool, form: str) -> Callable[[Path, Generator], Trial]:
    """`evaluate` on a test part of other classes: those that were not learned are named, and codes agree."""

    def build(folder: Path, rng: Generator) -> Trial:
        corner = {"ant": 0, "bee": 1, "cat": 2, "dog": 3}
        names = {"train": ["bee", "cat", "dog"], "test": ["cat", "dog"] if fewer else ["bee", "cat", "dog"]}
        names["test"] += ["ant"] if unknown else []
        known = [name for name in names["test"] if name != "ant"]
        parts: dict[str, Any] = {}
        for part, classes in names.items():
            images = rng.integers(0, 40, (4 * len(classes), 8, 8), dtype=np.uint8)
            for number, name in enumerate(classes):
                row, column = divmod(corner[name], 2)
                images[4 * number : 4 * number + 4, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 200
            parts[part] = images, [name for name in classes for _ in range(4)]
        data: Any = parts
        if form == "folder":
            data = folder
            for part, (images, labels) in parts.items():
                for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                    (folder / part / label).mkdir(parents=True, exist_ok=True)
                    (folder / part / label / f"{number}.png").write_bytes(saved(Image.fromarray(image), "PNG"))
        share = len(known) / len(names["test"])
        return Trial(data, Accuracy(share, ("ant",) if unknown else ()), act=pixels_judged)

    return build


def pixels_judged(data: Any, folder: Path) -> float:
    """kNN's accuracy on pixels."""
    records = selfsight.evaluate(
        "resnet_slim", data, protocols="knn", protocol_options={"knn": {"k": 3}}, image_size=8, workers=0, devices="cpu"
    )
    (record,) = [record for record in records if (record["encoder"], record["metric"]) == ("pixels", "top1")]
    return float(record["value"])


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A certain accuracy, with words that must be said."""

    share: float
    words: tuple[str, ...]

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        if abs(outcome.value - self.share) > 0.01 and abs(outcome.value - 100 * self.share) > 1:
            return f"accuracy {outcome.value}, must be {self.share}"
        return None if all(word in "\n".join(outcome.said) for word in self.words) else f"does not name {self.words}"


# Channels.

MODES = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2, "P": 3, "1": 1, "CMYK": 3}


def channels_of(mode: str, channels: int) -> Callable[[Path, Generator], Trial]:
    """Files of some mode, read with as many channels as the encoder has."""

    def build(folder: Path, rng: Generator) -> Trial:
        answers = []
        for number in range(3):
            image = Image.fromarray(noise(rng, (8, 8, 3))).convert("RGBA").convert("RGB").convert(mode)
            kind = "TIFF" if mode == "CMYK" else "PNG"
            (folder / f"{number}.{kind.lower()}").write_bytes(saved(image, kind))
            if channels == 1:
                grey = image.convert("L") if mode in ("L", "LA", "1") else image.convert("RGB").convert("L")
                answers.append(np.asarray(grey)[..., None])
            else:
                answers.append(np.asarray(image.convert("RGB" if channels == 3 else "RGBA")))
        shares = np.stack(answers).transpose(0, 3, 1, 2) / 255
        right = Shares(shares) if channels in (1, 3, 4) else refused("channels")
        return Trial(folder, right, {"encoder": of_range((0.0, 255.0), channels)}, act=as_read)

    return build


@dataclasses.dataclass(frozen=True)
class Shares:
    shares: np.ndarray

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        found = outcome.value[0]
        if found.shape != self.shares.shape:
            return f"shape {found.shape}, must be {self.shares.shape}"
        difference = np.abs(found - self.shares).max()
        return None if difference < 1.5 / 255 else f"pixels differ by {difference * 255:g} of 255"


def mixed(coloured: int, grey: int, alpha: int) -> Callable[[Path, Generator], Trial]:
    """Files of mixed channels: RGB unless nearly all are grey, and it is said."""

    def build(folder: Path, rng: Generator) -> Trial:
        modes = ["RGB"] * coloured + ["L"] * grey + ["RGBA"] * alpha
        answers = {}
        channels = 3 if coloured + alpha >= 0.1 * len(modes) else 1
        for number, mode in enumerate(modes):
            array = noise(rng, (6, 5, 4))
            image = Image.fromarray(array).convert(mode)
            (folder / f"{number:03}.png").write_bytes(saved(image, "PNG"))
            plain = Image.fromarray(array[..., :3]) if mode == "RGBA" else image
            pixels = np.asarray(plain.convert("RGB" if channels == 3 else "L"))
            answers[f"{number:03}.png"] = Unit((pixels / 255).reshape(6, 5, channels).transpose(2, 0, 1))
        words = ("are grey", "coloured") if grey and coloured + alpha else ("transparent",) if alpha else ()
        return Trial(folder, Reads(answers, said=words, channels=channels))

    return build


def array_channels(shape: tuple[int, ...], channels: int) -> Callable[[Path, Generator], Trial]:
    """An array of other channels than the encoder's: refused, in words that fit a verb whose user named none."""

    def build(folder: Path, rng: Generator) -> Trial:
        return Trial(
            noise(rng, (20, *shape)), Misfit(channels), {"encoder": of_range((0.0, 255.0), channels)}, act=embedded
        )

    return build


def embedded(data: Any, folder: Path, *, encoder: Encoder) -> Any:
    return selfsight.embed(encoder, data, out="x.npz", workers=0, devices="cpu")


@dataclasses.dataclass(frozen=True)
class Misfit:
    """Refused in a line that names the channels, and does not advise what was never given."""

    channels: int

    def __call__(self, outcome: Any) -> Problem:
        if not isinstance(outcome, Failed):
            return f"taken: {outcome.value}"
        text = str(outcome.error)
        if "leave it out" in text or "leave channels out" in text:
            return f"advises to leave out what was not given: {text}"
        return None if "channels" in text and str(self.channels) in text else f"names no channels: {text}"


def cases() -> Iterator[Case]:
    for values in VALUES:
        for wanted in RANGES:
            for form in ("memory", "npy"):
                yield Case(f"fixed/range/{values}/{wanted}/{form}", 1, trained_on(values, wanted, form))
    for values in ("uint8", "uint16", "unit", "float-255", "ct", "uint16-12-bits"):
        for wanted in RANGES:
            yield Case(f"fixed/range/{values}/{wanted}/tif", 1, trained_on(values, wanted, "tif"))
    for train in ("unit", "float-255", "ct", "uint8", "uint16", "int-255"):
        for test in ("unit", "float-255", "signed", "ct", "beyond", "below", "uint8", "uint16", "counts"):
            for form in ("memory", "npz", "folder"):
                yield Case(f"fixed/parts/{train}-{test}/{form}", 1, other_test_part(train, test, form))
    for train, test in (("b c", "a c"), ("a b", "b c d"), ("a b c", "c"), ("b c", "a d"), ("1 2 10", "2 3"), ("a", "b"),
                        ("b a", "a b"), ("2 10", "1")):  # fmt: skip
        for form in ("folder", "table", "tables"):
            yield Case(f"fixed/classes/{train}-{test}/{form}", 1, classes_of(train, test, form))
    for unknown in (False, True):
        for fewer in (False, True):
            for form in ("memory", "folder"):
                name = f"fixed/judged/{'unknown' if unknown else 'known'}-{'fewer' if fewer else 'all'}/{form}"
                yield Case(name, 1, judged_on(unknown, fewer, form))
    for mode in MODES:
        for channels in (1, 2, 3, 4):
            yield Case(f"fixed/channels/{mode}-{channels}", 1, channels_of(mode, channels))
    for coloured, grey, alpha in ((3, 3, 0), (1, 8, 0), (1, 30, 0), (0, 3, 3), (3, 0, 3), (2, 2, 2), (0, 5, 0)):
        yield Case(f"fixed/mixed/{coloured}-{grey}-{alpha}", 1, mixed(coloured, grey, alpha))
    for shape in ((8, 8), (3, 8, 8), (8, 8, 3), (8, 8, 1), (8, 8, 4), (5, 8, 8), (8, 8, 13)):
        for channels in (1, 2, 3, 4, 5):
            own = shape[0] if len(shape) == 3 and shape[0] < 8 else shape[-1] if len(shape) == 3 else 1
            if own != channels:
                shown = "x".join(map(str, shape))
                yield Case(f"fixed/array-channels/{shown}-{channels}", 1, array_channels(shape, channels))
