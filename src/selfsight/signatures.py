"""A verb's signature and docstring, as jsonargparse reads them.

jsonargparse knows types, help, YAML and `--print_config`; here it gets signatures without the types
that cannot be typed on a shell, our docstrings in its sections, and its complaints become one line.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from selfsight.naming import nearest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

BUNDLES = {"method": "method_options", "encoder": "encoder_options", "views": "view_options", "debias": "debias"}
"""Heads of dotted options, and the keyword that gathers them."""

SCALARS = [bool, int, float, str, Path, Any]
CONTAINERS = [Literal, Sequence, Mapping, tuple, list, dict, Union, UnionType]


def build_parser(verb: Callable, prog: str) -> ArgumentParser:
    """jsonargparse's parser for the signature of `verb`; the docstring becomes its help."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=prog, description=summary(verb), epilog=epilog(verb), exit_on_error=False)
    shell = as_typed(verb)
    first: set[str | int] = {*words(verb)}
    options: set[str | int] = {name for name in parameters(verb) if name not in first}
    parser.add_function_arguments(shell, as_group=False, as_positional=True, fail_untyped=False, skip=options)
    parser.add_function_arguments(shell, as_group=False, fail_untyped=False, skip=first)
    parser.add_argument("--config", action="config", help="YAML file of options; the command line overrides it")
    return parser


def as_typed(target: Callable, only: Collection[str] | None = None) -> Callable:
    """A function or class as jsonargparse can read it: without the types that cannot be typed on a shell
    (`str | Path` of `str | Path | Tensor`), and with our docstring in the sections that it knows.

    only: the keywords to keep, all but the rest of any name where it is left out.
    """

    def shell(**settings):
        return target(**settings)

    namespace = vars(sys.modules[target.__module__])
    known = [
        item.replace(annotation=typeable(item.annotation, namespace))
        for item in parameters(target).values()
        if (only is None or item.name in only) and item.kind is not item.VAR_KEYWORD
    ]
    shell.__signature__ = inspect.Signature(known)  # type: ignore[attr-defined]
    shell.__annotations__ = {item.name: item.annotation for item in known}
    described = describe_parameters(target)
    shell.__doc__ = "\n".join(["Options.", "", "Args:", *(f"    {name}: {text}" for name, text in described.items())])
    return shell


def describe_parameters(target: Callable) -> dict[str, str]:
    """What the docstring's `name: text` or `name, other: text` lines say of each keyword."""
    known = "|".join(parameters(target))
    start = re.compile(rf"(?:^|(?<=[.;] ))((?:{known})(?:, (?:{known}))*): +")
    described: dict[str, str] = {}
    for paragraph in paragraphs(target.__doc__ or ""):
        parts = start.split(paragraph)[1:] if start.match(paragraph) else []
        for names, text in zip(parts[::2], parts[1::2], strict=True):
            described.update(dict.fromkeys(names.split(", "), text.strip().rstrip(";")))
    return described


def paragraphs(docstring: str) -> list[str]:
    """The docstring's lines, each with the deeper lines below it, as one; a section's own indent does not count."""
    joined: list[str] = []
    for section in re.split(r"\n(?:Args|Returns|Raises):\n", inspect.cleandoc(docstring)):
        for line in textwrap.dedent(section).splitlines():
            if line.startswith(" ") and joined:
                joined[-1] += f" {line.strip()}"
            else:
                joined.append(line)
    return joined


def typeable(annotation: Any, namespace: Mapping[str, Any] | None = None) -> Any:
    """The alternatives of an annotation that can be typed on a shell, or `str` where none is left.

    namespace: the globals of the annotation's module; what it imports for type checking alone is not
        there, so that reading a signature imports nothing.
    """
    if not isinstance(annotation, str):
        return annotation
    names = {
        **(namespace or {}),
        "Path": Path,
        "Any": Any,
        "Literal": Literal,
        "Sequence": Sequence,
        "Mapping": Mapping,
    }
    kept = []
    for part in alternatives(ast.parse(annotation, mode="eval").body):
        try:
            kept.append(eval(part, names))
        except NameError:
            continue
    chosen = [kind for kind in kept if kind in SCALARS or get_origin(kind) in CONTAINERS] or [str]
    return reduce(or_, [*chosen, None] if None in kept else chosen)


def typed_as(parameter: inspect.Parameter, namespace: Mapping[str, Any] | None = None) -> set[Any]:
    """The alternatives of a keyword's type that can be typed on a shell; `object` where nothing is said of it."""
    if parameter.annotation is parameter.empty:
        return {object}
    kind = typeable(parameter.annotation, namespace)
    return set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}


def alternatives(node: ast.expr) -> list[str]:
    """The parts of `a | b | c`, as source."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*alternatives(node.left), *alternatives(node.right)]
    return [ast.unparse(node)]


def summary(verb: Callable) -> str:
    """The first paragraph of a verb's docstring."""
    return inspect.cleandoc(verb.__doc__ or "").split("\n\n")[0]


def epilog(verb: Callable) -> str:
    """How options are typed that argparse cannot say."""
    bundles = [f"--{head}.KEY VALUE" for head, bundle in BUNDLES.items() if bundle in parameters(verb)]
    lines = ["Flags need no value (--resume, --no_monitor); lists are typed with commas (knn,linear)."]
    if bundles:
        lines.append(f"Dotted options fill the bundles: {', '.join(bundles)}.")
    if has_recipes(verb):
        lines.append("--recipe NAME takes the settings of a recipe (selfsight list recipes); --method NAME --help")
        lines.append("shows the options of a method.")
    return " ".join(lines)


def parameters(verb: Callable) -> Mapping[str, inspect.Parameter]:
    """The keywords of a verb, by name."""
    return inspect.signature(verb).parameters


def words(verb: Callable) -> list[str]:
    """The keywords of a verb that are typed first and without their names."""
    return [name for name, parameter in parameters(verb).items() if parameter.kind is not parameter.KEYWORD_ONLY]


def usage(verb: Callable, prog: str) -> str:
    """The words and the required options of a verb."""
    options = [
        name for name, item in parameters(verb).items() if item.default is item.empty and name not in words(verb)
    ]
    return " ".join([prog, *(word.upper() for word in words(verb)), *(f"--{name} {name.upper()}" for name in options)])


def has_recipes(verb: Callable) -> bool:
    """Whether recipes are settings for this verb: they are for the one that takes a method."""
    return "method" in parameters(verb)


def is_flag(parameter: inspect.Parameter | None) -> bool:
    """Whether a keyword is on or off."""
    return parameter is not None and isinstance(parameter.default, bool)


def is_sequence(parameter: inspect.Parameter | None) -> bool:
    """Whether a keyword takes several values."""
    return parameter is not None and any(word in str(parameter.annotation) for word in ("Sequence[", "tuple[", "list["))


def readable(error: Exception, prefix: str = "") -> str:
    """jsonargparse's complaint in one line: the option as it is typed, the value, and what it may be."""
    message = re.sub(r"<class '([\w.]+)'>", r"\1", one_line(str(error)))
    found = re.match(r'Parser key "([\w.]+)": (.*)', message)
    if found is None:
        return message
    key, rest = found.groups()
    rest = re.sub(r"Does not validate .*?Errors: - (.*) Given value type: \w+ Given value: ", r"\1. Got value: ", rest)
    rest = rest.replace(" - Expected", " or expected")
    values = re.findall(r"Got value: (.*?)(?= or expected|$)", rest)
    if len(values) > 1:  # one complaint for each type that it might have had
        types = dict.fromkeys(re.findall(r"[Ee]xpected an? (\w+)", rest))
        rest = f"Expected {' or '.join(name for name in types if name != 'NoneType')}. Got value: {values[-1]}"
    choices = re.search(r"Literal\[(.*?)\].*Got value: (\S+)", rest)
    if choices:
        names, value = re.findall(r"'([^']*)'", choices[1]), choices[2]
        hint = nearest(value, names) if get_close_matches(value, names) else ""
        rest = f"{value!r} is none of {', '.join(names)}{hint}"
    return f"--{prefix}{key}: {rest}"


def one_line(message: str) -> str:
    """`message` without line breaks."""
    return " ".join(message.split())
