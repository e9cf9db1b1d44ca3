"""From what is typed, or written in a YAML file, to the keywords of a verb.

jsonargparse knows types, help and `--print_config`. This layer adds what it lacks: short names for
the option bundles (`--method.temperature .2`), flags without a value, comma lists, and errors of one
line that name the nearest known option. Command line, configuration file and recipe take the same way.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

BUNDLES = {"method": "method_options", "encoder": "encoder_options", "views": "view_options"}
"""Heads of dotted options, and the keyword that gathers them."""

Settings = dict[str, Any]


def parse(verb: Callable, argv: list[str], prog: str) -> Settings:
    """Keywords of `verb` from `argv`; raises `ValueError` in one line, naming the nearest known option."""
    positional, options, switches = split(argv, parameters(verb))
    settings = gather(verb, positional, options)
    parser = build_parser(verb, prog)
    if "--help" in switches:
        parser.print_help()
        describe_bundles(settings, prog)
        raise SystemExit(0)
    check_bundles(settings)
    required = [name for name, parameter in parameters(verb).items() if parameter.default is parameter.empty]
    missing = [name for name in required if name not in settings]
    if missing:
        raise ValueError(f"{prog} wants {' and '.join(missing)}: {usage(verb, prog)}")
    first = [name for name in words(verb) if name in required]
    plain = [f"--{key}={as_text(value)}" for key, value in settings.items() if key not in first]
    parsed = parser.parse_args([*switches, *plain, "--", *(as_text(settings[name]) for name in first)])
    return {name: value for name, value in parsed.as_dict().items() if name in parameters(verb)}


def build_parser(verb: Callable, prog: str) -> ArgumentParser:
    """jsonargparse's parser for the signature of `verb`; the docstring becomes its help."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=prog, description=summary(verb), epilog=epilog(verb), exit_on_error=False)
    shell, first = as_typed(verb), set(words(verb))
    options = set(parameters(verb)) - first
    parser.add_function_arguments(shell, as_group=False, as_positional=True, fail_untyped=False, skip=options)
    parser.add_function_arguments(shell, as_group=False, fail_untyped=False, skip=first)
    parser.add_argument("--config", action="config", help="YAML file of options; the command line overrides it")
    return parser


def as_typed(verb: Callable) -> Callable:
    """`verb` with the part of each annotation that can be typed on a shell: of `str | Path | Tensor`, `str | Path`."""

    def shell(**settings):
        return verb(**settings)

    known = [item.replace(annotation=typeable(item.annotation)) for item in parameters(verb).values()]
    shell.__signature__ = inspect.Signature(known)  # type: ignore[attr-defined]
    shell.__annotations__ = {item.name: item.annotation for item in known}
    shell.__doc__ = verb.__doc__
    return shell


def typeable(annotation: Any) -> Any:
    """The alternatives of an annotation that need no import of ours, or `str` where none is left."""
    if not isinstance(annotation, str):
        return annotation
    names = {"Any": Any, "Literal": Literal, "Sequence": Sequence, "Mapping": Mapping, "Path": Path}
    kept = []
    for part in alternatives(ast.parse(annotation, mode="eval").body):
        try:
            kept.append(eval(part, names))
        except NameError:
            continue  # a type of torch or ours: for Python only
    chosen = [kind for kind in kept if kind is not None] or [str]
    return reduce(or_, [*chosen, None] if None in kept else chosen)


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
    options = [name for name, item in parameters(verb).items() if item.default is item.empty and name not in words(verb)]
    return " ".join([prog, *(word.upper() for word in words(verb)), *(f"--{name} {name.upper()}" for name in options)])


def has_recipes(verb: Callable) -> bool:
    """Whether recipes are settings for this verb: they are for the one that takes a method."""
    return "method" in parameters(verb)


# From tokens to settings.


def split(argv: list[str], known: Mapping[str, inspect.Parameter]) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Positional words, pairs of option and text, and the switches that jsonargparse answers itself."""
    positional, options, switches = [], [], []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token in ("-h", "--help"):
            switches.append("--help")
        elif token.startswith("--print_config"):
            switches.append(token)
        elif not token.startswith("--"):
            positional.append(token)
        else:
            name, equals, value = token[2:].partition("=")
            name = name.replace("-", "_")
            if is_flag(known.get(name.removeprefix("no_"))) and name not in known:
                name, equals, value = name.removeprefix("no_"), "=", "false"
            elif is_flag(known.get(name)) and not equals:
                equals, value = "=", tokens.pop(0) if tokens and tokens[0] in ("true", "false") else "true"
            if not equals:
                if not tokens or tokens[0].startswith("--"):
                    raise ValueError(f"--{name} wants a value")
                value = tokens.pop(0)
            options.append((name, value))
    return positional, options, switches


def gather(verb: Callable, positional: list[str], options: list[tuple[str, str]]) -> Settings:
    """One dictionary of settings: the recipe's, then the configuration file's, then the command line's."""
    known = parameters(verb)
    if len(positional) > len(words(verb)):
        raise ValueError(f"unexpected {positional[len(words(verb))]!r}: options start with --")
    typed = unfold(dict(zip(words(verb), positional, strict=False)), known)
    files = {}
    for name, value in options:
        if name == "config":
            files = merge(files, unfold(read_yaml(Path(value)), known, value))
        else:
            typed = merge(typed, unfold({name: value}, known, option=True))
    recipe = typed.pop("recipe", None) or files.pop("recipe", None)
    if recipe is not None:
        from selfsight.recipes import load_recipe

        files = merge(unfold(load_recipe(recipe), known, f"recipe {recipe}"), files)
    return merge(files, typed)


def unfold(settings: Mapping[str, Any], known: Mapping[str, inspect.Parameter], origin: str = "", option: bool = False) -> Settings:
    """Settings under the verb's own keywords: bundles unfolded, comma lists split, unknown names refused.

    `{"method": {"name": "vicreg", "variance": 25}}`, `{"method.variance": 25}` and
    `{"method_options": {"variance": 25}}` mean the same.
    """
    result: Settings = {}
    for key, value in settings.items():
        head, dot, rest = key.partition(".")
        bundle = BUNDLES.get(head)
        if bundle in known and dot:
            value = {rest: value if not isinstance(value, str) else plain_value(value)}
            result = merge(result, {bundle: value})
        elif bundle in known and isinstance(value, Mapping):
            named = {head: value["name"]} if "name" in value else {}
            others = {name: item for name, item in value.items() if name != "name"}
            result = merge(result, {**named, bundle: others})
        elif key in known or (key == "recipe" and "method" in known):
            result[key] = comma_list(value) if is_sequence(known.get(key)) else value
        else:
            shown = f"--{key}" if option else f"{key!r}"
            names = [*known, *(f"{head}." for head, bundle in BUNDLES.items() if bundle in known), "config", "recipe"]
            hint = nearest(key, names, prefix="--" if option else "")
            raise ValueError(f"{origin + ': ' if origin else ''}unknown option {shown}{hint}")
    return result


def merge(lower: Settings, upper: Settings) -> Settings:
    """`lower` overridden by `upper`; bundles are merged key by key."""
    merged = {**lower, **upper}
    for bundle in BUNDLES.values():
        if isinstance(lower.get(bundle), Mapping) and isinstance(upper.get(bundle), Mapping):
            merged[bundle] = {**lower[bundle], **upper[bundle]}
    return merged


def read_yaml(path: Path) -> Settings:
    """A mapping from a YAML file."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {one_line(str(error))}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold options as `name: value` lines")
    return {str(key): value for key, value in content.items()}


# Bundles: dotted options are checked against what they configure.


def check_bundles(settings: Settings) -> None:
    """Type the method's and the views' options by the signatures that they are for, in place."""
    for head, bundle in BUNDLES.items():
        if settings.get(bundle) and head != "encoder":  # timm's models check their own
            settings[bundle] = typed_options(bundle_target(head, settings), settings[bundle], head)


def describe_bundles(settings: Settings, prog: str) -> None:
    """Print the options of the method and encoder that are named on the command line beside `--help`."""
    if "method" in settings:
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(prog=prog, usage="", add_help=False)
        target = bundle_target("method", settings)
        parser.add_class_arguments(target, "method", skip={"encoder"}, fail_untyped=False)
        print(parser.format_help().partition("\n\n")[2])


def bundle_target(head: str, settings: Settings) -> type:
    """The class whose constructor a bundle configures."""
    if head == "views":
        from selfsight.views import Augmentation

        return Augmentation
    from selfsight.methods import find_method

    method: Any = find_method(settings.get("method", "simclr"))
    return getattr(method, "func", method)


def typed_options(target: type, options: Settings, head: str) -> Settings:
    """`options` typed by the constructor of `target`; a `ValueError` names the nearest keyword."""
    from jsonargparse import ArgumentError, ArgumentParser

    known = {name: item for name, item in parameters(target).items() if name not in ("self", "encoder")}
    if not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        for name in options:
            if name not in known:
                raise ValueError(f"unknown option --{head}.{name}{nearest(name, known, prefix=f'--{head}.')}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(target, skip={"encoder"}, fail_untyped=False)
    texts = [f"--{name}={as_text(comma_list(value))}" for name, value in options.items()]
    try:
        parsed = parser.parse_args(texts).as_dict()
    except ArgumentError as error:
        raise ValueError(readable(error, prefix=f"{head}.")) from error
    return {name: parsed[name] for name in options}


# Small things.


def is_flag(parameter: inspect.Parameter | None) -> bool:
    """Whether a keyword is on or off."""
    return parameter is not None and isinstance(parameter.default, bool)


def is_sequence(parameter: inspect.Parameter | None) -> bool:
    """Whether a keyword takes several values."""
    return parameter is not None and any(word in str(parameter.annotation) for word in ("Sequence[", "tuple[", "list["))


def comma_list(value: Any) -> Any:
    """`"knn,linear"` as a list, and anything else as it is."""
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")) and "," in value:
        return [plain_value(item.strip()) for item in value.split(",")]
    return value


def plain_value(text: str) -> Any:
    """A number, truth value, null or list where `text` reads as one, else `text`."""
    import yaml

    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 takes 1e-3 for a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def as_text(value: Any) -> str:
    """A value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`: did you mean X?` with the nearest known name, or the known names where none is near."""
    known = sorted(known)
    found = get_close_matches(name, known, n=1, cutoff=0.5)
    if found:
        return f": did you mean {prefix}{found[0]}?"
    return f": there are {', '.join(prefix + one for one in known)}" if known else ": there are none"


def readable(error: Exception, prefix: str = "") -> str:
    """jsonargparse's complaint in one line: the option as it is typed, the value, and what it may be."""
    message = re.sub(r"<class '([\w.]+)'>", r"\1", one_line(str(error)))
    found = re.match(r'Parser key "([\w.]+)": (.*)', message)
    if found is None:
        return message
    key, rest = found.groups()
    choices = re.search(r"Literal\[(.*?)\].*Got value: (\S+)", rest)
    if choices:
        names = re.findall(r"'([^']*)'", choices[1])
        rest = f"{choices[2]!r} is none of {', '.join(names)}{nearest(choices[2], names) if get_close_matches(choices[2], names) else ''}"
    return f"--{prefix}{key}: {rest}"


def one_line(message: str) -> str:
    """`message` without line breaks."""
    return " ".join(message.split())
