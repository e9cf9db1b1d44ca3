"""From answers to records: each metric with its interval, and how far it lies from the untrained encoder's."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from selfsight.metrics import Estimate, Outcome, Resamples
from selfsight.metrics.resampling import by_percentiles, by_repetition
from selfsight.protocols._tasks import CHANCE, Answer, Task, scratch
from selfsight.protocols.base import Protocol

log = logging.getLogger(__name__)

Record = dict[str, Any]
Given = list[tuple[int, Task, Answer]]  # the number of the trial, its task, and an answer


def answers_of(protocol: Protocol, tasks: Sequence[Task]) -> Given:
    """All answers of a protocol to the trials, with chance where an encoder answered."""
    given: Given = []
    for number, task in enumerate(tasks):
        for note in task.notes:
            log.warning("%s", note)
        found = list(protocol(task))
        alike: dict[str, Answer] = {}
        for answer in found:  # one of chance beside those of each draw
            alike.setdefault(f"{answer.variant} {answer.draw}", answer)
        chance = task.chance()
        guesses = [
            Answer(CHANCE, chance, first.n_train, first.variant, draw=first.draw)
            for first in alike.values()
            if type(first.outcome) is type(chance)
        ]
        given += [(number, task, answer) for answer in (*found, *guesses)]
    return given


def records_of(
    name: str, protocol: Protocol, given: Given, baselines: Mapping[str, str], about: Mapping[str, Any]
) -> list[Record]:
    """A record for each variant, encoder and metric.

    baselines: by row, the row that it is compared with. about: what each record says beside it.
    """
    records = []
    for variant in {str(answer.variant): answer.variant for _, _, answer in given}.values():
        mine = [one for one in given if one[2].variant == variant]
        repeated = len({(number, answer.draw) for number, _, answer in mine}) > 1
        found = over_repetitions(mine, baselines) if repeated else over_images(mine, baselines)
        first = mine[0][1]
        known = [(task, answer) for number, task, answer in mine if answer.row == mine[0][2].row and answer.draw == 0]
        seeds = len({task.seed for task, _ in known})
        missing = [sum(counts) // seeds for counts in zip(*(task.unknown for task, _ in known), strict=True)]
        for row, metrics in found.items():
            settings = [answer.settings for _, _, answer in mine if answer.row == row]
            for metric, (estimate, difference) in order(metrics, protocol, mine[0][2].outcome).items():
                records.append(
                    {
                        "protocol": name,
                        "variant": variant,
                        "task": first.name,
                        "kind": first.kind,
                        "encoder": row,
                        "metric": metric,
                        "value": plain(estimate.value),
                        "low": plain(estimate.low),
                        "high": plain(estimate.high),
                        "better_by": difference and [plain(x) for x in dataclasses.astuple(difference)],
                        "than": None if difference is None else compared_with(row, baselines, found),
                        "interval": interval_over(mine, repeated),
                        "n_train": round(sum(answer.n_train for _, answer in known) / len(known)),
                        "n_test": sum(len(task.test) for task, _ in known) // seeds,
                        "left_out": missing,
                        **about,
                        "options": {
                            key: list(value) if isinstance(value, tuple) else value
                            for key, value in protocol.options.items()
                        },
                        "settings": settings[0] if len(settings) == 1 else {},
                    }
                )
    for record in records:
        if record["value"] is None and record["encoder"] != CHANCE:
            log.warning(
                "%s: %s is undefined for %s, it needs %s",
                name, record["metric"], record["encoder"], given[0][2].outcome.undefined.get(record["metric"], "more"),
            )  # fmt: skip
    return records


def interval_over(given: Given, repeated: bool) -> str:
    """What an interval is over."""
    group = given[0][1].trial.group
    if not repeated:
        return f"the values of {group!r}" if group is not None else "test images"
    counts = {
        "folds": len({(number, task.seed) for number, task, _ in given}) // len({task.seed for _, task, _ in given}),
        "draws": len({answer.draw for *_, answer in given}),
        "seeds": len({task.seed for _, task, _ in given}),
    }
    return " and ".join(name for name, count in counts.items() if count > 1)


def over_images(given: Given, baselines: Mapping[str, str]) -> dict[str, dict[str, tuple[Estimate, Estimate | None]]]:
    """Metrics by row with intervals over test images, or over the values of the column that groups them."""
    task = given[0][1]
    group = task.trial.group
    resamples = Resamples(len(task.test), task.seed, None if group is None else task.of_test(group))
    outcomes: dict[str, Outcome] = {answer.row: answer.outcome for _, _, answer in given}
    values = resamples.of(outcomes)

    def one(row: str, metric: str) -> tuple[Estimate, Estimate | None]:
        base = compared_with(row, baselines, values)
        other: Tensor | None = None if base is None else values[base][metric]
        mine = values[row][metric]
        return by_percentiles(mine), None if other is None else by_percentiles(mine - other)

    return {row: {metric: one(row, metric) for metric in values[row]} for row in values}


def over_repetitions(
    given: Given, baselines: Mapping[str, str]
) -> dict[str, dict[str, tuple[Estimate, Estimate | None]]]:
    """Metrics by row, means over folds and draws, with intervals over them."""
    values: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    for number, _, answer in given:
        plain_values = answer.outcome.values(ones(answer.outcome))
        for metric, value in plain_values.items():
            values.setdefault(answer.row, {}).setdefault(metric, {})[number, answer.draw] = float(value)
    bounds = given[0][2].outcome.bounds
    undefined = {metric: sum(map(math.isnan, each.values())) for metric, each in next(iter(values.values())).items()}
    for metric, count in undefined.items():
        if count:
            log.warning("%s is undefined in %d of %d repetitions, which are left out", metric, count,
                        len({(number, answer.draw) for number, _, answer in given}))  # fmt: skip

    def one(row: str, metric: str) -> tuple[Estimate, Estimate | None]:
        mine, other = values[row][metric], values.get(compared_with(row, baselines, values) or "", {}).get(metric)
        difference = None if other is None else by_repetition([mine[key] - other[key] for key in mine if key in other])
        return by_repetition(list(mine.values()), bounds), difference

    return {row: {metric: one(row, metric) for metric in values[row]} for row in values}


def compared_with(row: str, baselines: Mapping[str, str], rows: Iterable[str]) -> str | None:
    """The row of the same encoder untrained, or trained from scratch; None where there is none."""
    base = baselines.get(row)
    return next((one for one in (base, scratch(base)) if one in rows), None) if base is not None else None


def ones(outcome: Outcome) -> Tensor:
    """Every image once."""
    import torch

    return torch.ones(1, len(outcome))


def order(metrics: dict[str, Any], protocol: Protocol, outcome: Outcome) -> dict[str, Any]:
    """The metric that a table shows first."""
    first = protocol.shown or outcome.main
    return {name: metrics[name] for name in sorted(metrics, key=lambda name: name != first)}


def plain(value: float) -> float | None:
    """A number that JSON knows."""
    return float(value) if math.isfinite(value) else None


def table(records: Sequence[Record], wide: int = 4) -> str:
    """The main metric of each protocol by encoder, with intervals, and the differences to untrained encoders."""
    columns: dict[str, dict[str, Record]] = {}
    for record in records:
        if record["metric"] == main_metric(records, record):
            columns.setdefault(heading(record), {})[record["encoder"]] = record
    blocks = [list(columns)[start : start + wide] for start in range(0, len(columns), wide)]
    lines = [line for block in blocks for line in (*block_lines({name: columns[name] for name in block}), "")]
    for name, rows in columns.items():
        first = next(iter(rows.values()))
        said = ", ".join(f"{key} {value:g}" for key, value in first["settings"].items())
        learned, tested = first["left_out"]
        left = f" ({learned:,} and {tested:,} without an answer left out)" if learned or tested else ""
        lines.append(
            f"{name}: {first['n_train']:,} training and {first['n_test']:,} test images{left}"
            f"{f'; {said}' if said else ''}; 95 % intervals over {first['interval']}"
        )
    return "\n".join(lines)


def block_lines(columns: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """A few columns beside each other."""
    rows = list(dict.fromkeys(row for some in columns.values() for row in some))
    compared = [row for row in rows if any(some[row]["better_by"] for some in columns.values() if row in some)]
    lines = [["", *columns]]
    lines += [[row, *(shown(some.get(row)) for some in columns.values())] for row in rows]
    than = {row: next(some[row]["than"] for some in columns.values() if row in some) for row in compared}
    lines += [[f"{row} above {than[row]}", *(better(some.get(row)) for some in columns.values())] for row in compared]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) + 1)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def heading(record: Record) -> str:
    """What a column is of."""
    variant = "".join(f" {key} {value:g}" for key, value in record["variant"].items())
    task = "" if record["task"] == "label" else f" {record['task']}"
    return f"{record['protocol']}{task}{variant} {record['metric']}"


def main_metric(records: Iterable[Record], record: Record) -> str:
    """The first metric of the record's protocol."""
    return next(one["metric"] for one in records if one["protocol"] == record["protocol"])


def shown(record: Record | None) -> str:
    """A figure with its interval."""
    if record is None:
        return ""
    if record["value"] is None:
        return "undefined"
    if record["low"] is None:
        return f"{record['value']:.4f}"
    return f"{record['value']:.4f} ({record['low']:.4f} to {record['high']:.4f})"


def better(record: Record | None) -> str:
    """A difference with its interval."""
    if record is None or record["better_by"] is None or record["better_by"][0] is None:
        return ""
    value, low, high = record["better_by"]
    return f"{value:+.4f}" + ("" if low is None else f" ({low:+.4f} to {high:+.4f})")
