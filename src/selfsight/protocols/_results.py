"""The file of an encoder's results: what was found before, and what is added."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsight.nets.storage import WEIGHTS, weights_file
from selfsight.outputs import check_output, replacing
from selfsight.probes.subjects import on_disk

log = logging.getLogger(__name__)

CHOSEN = (
    "data",
    "images",
    "label",
    "group",
    "limit",
    "folds",
    "leave_out",
    "layer",
    "pool",
    "image_size",
    "precision",
    "seed",
)


@dataclass(frozen=True)
class Results:
    """The file of an encoder's results, if any.

    shared: whether it gathers results on other data and with other settings, too. again: whether what is there is
    found once more.
    """

    path: Path | None
    shared: bool = False
    again: bool = False

    @classmethod
    def of(cls, subjects: Mapping[str, Any], out: str | Path | None, overwrite: bool) -> Results:
        """`out`, or the file that belongs to an encoder on disk. Raises `ValueError` where it cannot be written."""
        if out is not None:
            kept = Path(out).is_file() and not overwrite and is_results(Path(out))
            check_output(Path(out), overwrite=overwrite or kept)
            results_in(Path(out))
            return cls(Path(out), again=overwrite)
        (subject, *others) = subjects.values()
        if others or not on_disk(subject):
            if overwrite:
                raise ValueError("overwrite replaces the file that out names, and none is named: leave it out")
            return cls(None)
        file = weights_file(subject)
        name = "evaluation.json" if file.name == WEIGHTS else f"{file.stem}.evaluation.json"
        results = cls(file.with_name(name), shared=True, again=overwrite)
        check_output(file.with_name(name), overwrite=True)
        results_in(file.with_name(name))
        return results

    def known(self, name: str, options: Mapping[str, Any], about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """What a protocol found before of the same weights, images and settings, or None.

        Raises:
            ValueError: where `out` holds results of anything else.
        """
        former = [] if self.again or self.path is None else results_in(self.path)
        same = [record for record in former if all(same_value(record.get(key), about[key]) for key in about)]
        if not self.shared and len(same) < len(former):
            raise ValueError(f"{self.path} exists and holds other results: set overwrite, or choose another out")
        mine = [one for one in same if one["protocol"] == name and same_value(one.get("options"), dict(options))]
        if mine:
            log.info("%s: found before, in %s; overwrite finds it again", name, self.path)
        return mine or None

    def add(self, records: list[dict[str, Any]], replace: bool) -> None:
        """Write the records, in place of those of the same data and settings. replace: and of all others that are no
        longer wanted."""

        if self.path is None:
            return
        ours = {setting(record) for record in records}
        kept = [] if replace else [record for record in results_in(self.path) if setting(record) not in ours]
        with replacing(self.path) as stream:
            stream.write(json.dumps([*kept, *records], indent=2).encode() + b"\n")

    def say(self, records: list[dict[str, Any]]) -> None:
        """Where the records lie."""
        if self.path is not None:
            others = len(results_in(self.path)) - len(records)
            beside = f", beside {others} records on other data or with other settings" if others > 0 else ""
            log.info("written to %s%s", self.path, beside)


def is_results(path: Path) -> bool:
    """Whether a file holds results of `evaluate`."""
    try:
        return bool(results_in(path))
    except ValueError:
        return False


def results_in(path: Path) -> list[dict[str, Any]]:
    """The records in a file, none where there is no file. Raises `ValueError` where it holds anything else."""
    if not path.is_file():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        records = None
    if not isinstance(records, list) or not all(isinstance(one, dict) and "protocol" in one for one in records):
        raise ValueError(f"{path} holds no results of evaluate: move it, or name another file with out")
    return records


def setting(record: Mapping[str, Any]) -> str:
    """All that one chooses of an evaluation, and what of it the record is."""
    chosen = [record.get(name) for name in (*CHOSEN, "protocol", "options", "variant", "encoder", "metric")]
    return json.dumps(chosen, sort_keys=True)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same once they were written."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
