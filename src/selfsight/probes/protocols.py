"""Evaluation protocols by name, and the rows that each result stands beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from selfsight.naming import nearest
from selfsight.probes.knn import KNN
from selfsight.probes.linear import Linear
from selfsight.probes.ridge import Ridge

Record = dict[str, Any]

# How to build each probe from the options of a protocol, and what of it to report.
PROTOCOLS: dict[str, tuple[Callable[[Mapping[str, Any]], Any], tuple[str, ...]]] = {
    "knn": (lambda options: KNN(options["k"], options["temperature"]), ("k_", "temperature")),
    "ridge": (lambda options: Ridge(), ("alpha_",)),
    "linear": (lambda options: Linear(seed=options["seed"]), ("lr_", "weight_decay_", "epochs", "batch_size")),
}


def protocol_names(protocols: str | Sequence[str]) -> list[str]:
    """The protocols in a list or a comma-separated string, each known."""
    given = protocols.split(",") if isinstance(protocols, str) else protocols
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"protocols are names, some of {', '.join(PROTOCOLS)}, not {protocols!r}")
    names = [name.strip() for name in given]
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f"unknown protocol {name!r}{nearest(name, PROTOCOLS)}")
    if not names:
        raise ValueError(f"no protocol was asked for: name some of {', '.join(PROTOCOLS)}")
    return list(dict.fromkeys(names))


def judge(
    protocol: str,
    train: Mapping[str, Tensor],
    train_labels: Tensor,
    test: Mapping[str, Tensor],
    test_labels: Tensor,
    options: Mapping[str, Any],
    about: Mapping[str, Any],
) -> list[Record]:
    """One record for each encoder's features (by name, `(N, D)`), and one for guessing the commonest class.

    about: what else each record says, such as the data.
    """
    common = {"n_train": len(train_labels), "n_test": len(test_labels), "seed": options["seed"], **about}
    build, reported = PROTOCOLS[protocol]
    records = []
    for encoder in train:
        probe = build(options).fit(train[encoder], train_labels)
        top1 = probe.score(test[encoder], test_labels)
        settings = {name.rstrip("_"): getattr(probe, name) for name in reported}
        records.append({"protocol": protocol, "encoder": encoder, "top1": top1, **common, **settings})
    guess = train_labels.mode().values
    chance = (test_labels == guess).double().mean().item()
    return [*records, {"protocol": protocol, "encoder": "chance", "top1": chance, **common}]


def table(records: Sequence[Record]) -> str:
    """Records as text: a row an encoder, a column a protocol, then the settings of each."""
    protocols = list(dict.fromkeys(record["protocol"] for record in records))
    encoders = list(dict.fromkeys(record["encoder"] for record in records))
    top1 = {(record["encoder"], record["protocol"]): record["top1"] for record in records}
    lines = ["top-1     " + "".join(f"{protocol:>9}" for protocol in protocols)]
    lines += [f"{name:<10}" + "".join(f"{top1[name, protocol]:>9.4f}" for protocol in protocols) for name in encoders]
    first = records[0]
    lines += ["", f"{first['n_train']:,} training and {first['n_test']:,} test images, seed {first['seed']}"]
    chance = next(record for record in records if record["encoder"] == "chance")
    for record in records:
        if record["encoder"] == first["encoder"]:
            settings = ", ".join(f"{key} {value:g}" for key, value in record.items() if key not in chance)
            lines.append(f"{record['protocol']}: {settings}")
    return "\n".join(lines)
