"""Protocols by name, found by their files: what is asked of encoders, and how it is answered.

A protocol is a file of this package that holds one public class, a `Protocol`; the file's name is the protocol's name,
its fields are its options.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight.by_file import ByFile
from selfsight.naming import nearest

if TYPE_CHECKING:
    from selfsight.protocols.base import Answer, ClassTask, NumberTask, Protocol, TagTask, Task, Trial

__all__ = [
    "Answer",
    "ClassTask",
    "NumberTask",
    "Protocol",
    "TagTask",
    "Task",
    "Trial",
    "build_protocols",
    "describe_protocols",
    "find_protocol",
    "protocol_names",
]

PROTOCOLS = ByFile(__name__, Path(__file__).parent, "protocol")


def protocol_names() -> list[str]:
    """Names of all protocols, in alphabetical order."""
    return PROTOCOLS.names()


def describe_protocols() -> dict[str, str]:
    """The first sentence of each protocol's docstring, by name; imports none of them."""
    return PROTOCOLS.describe()


def find_protocol(name: str) -> type[Protocol]:
    """The class of a name ("knn") or of a dotted path ("mypackage.NearestMean").

    Raises:
        ValueError: where there is none, with the nearest name, or where it is no protocol.
    """
    from selfsight.protocols.base import Protocol

    found = PROTOCOLS.find(name)
    if not (isinstance(found, type) and issubclass(found, Protocol)):
        raise ValueError(f"{name!r} is no protocol: give a name, or a class that derives from Protocol")
    return found


def build_protocols(
    asked: str | Protocol | Sequence[str | Protocol], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Protocol]:
    """Protocols by name, each once, in their order.

    asked: names, dotted paths and protocols, or names in one text with commas. options: of each by its name:
    `{"knn": {"k": 200}}`.

    Raises:
        ValueError: for a name or an option that is not there, and for options of what is not asked for.
    """
    from selfsight.protocols.base import Protocol

    given: Any = asked.split(",") if isinstance(asked, str) else [asked] if isinstance(asked, Protocol) else asked
    if not isinstance(given, Sequence) or not all(isinstance(one, str | Protocol) for one in given):
        raise ValueError(f"protocols are names, some of {', '.join(protocol_names())}, and not {asked!r}")
    named = {one.strip() if isinstance(one, str) else PROTOCOLS.name_of(one): one for one in given}
    if not named:
        raise ValueError(f"no protocol was asked for: name some of {', '.join(protocol_names())}")
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"protocol_options are {{protocol: {{option: value}}}}, and not {options!r}")
    options = dict(options or {})
    for name, some in options.items():
        if not isinstance(some, Mapping):
            raise ValueError(f"protocol_options of {name!r} are {{option: value}}, and not {some!r}")
        if name not in named:
            raise ValueError(
                f"{', '.join(map(str, some)) or 'an option'} is of {name}, which is not among the protocols "
                f"{', '.join(named)}: add it, or leave the option out"
            )
    built = {}
    for name, one in named.items():
        some = options.get(name, {})
        if isinstance(one, Protocol):
            if some:
                raise ValueError(f"{name} is given as a protocol with its options, and with more: give them to it")
            built[name] = one
            continue
        found = find_protocol(one.strip())
        known = [field.name for field in dataclasses.fields(found)]
        for option in some:
            if option not in known:
                raise ValueError(f"{name} has no option {option!r}{nearest(str(option), known)}")
        built[name] = found(**some)
    return built


def __getattr__(name: str) -> Any:
    """`Protocol` and what it is given, and every protocol's class, imported when first asked for."""
    if name in __all__ and name[0].isupper():
        return getattr(importlib.import_module(f"{__name__}.base"), name)
    found = None if name.startswith("_") else PROTOCOLS.named(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
