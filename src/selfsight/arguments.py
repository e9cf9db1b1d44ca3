"""From what is typed, or written in a YAML file, to the keywords of a verb.

What jsonargparse lacks is added here: short names for the option bundles (`--method.temperature .2`),
flags without a value, comma lists, recipes, and errors of one line that name the nearest known option.
Command line, configuration file and recipe take the same way. Words and numbers are read in `texts.py`,
so that a folder called 2024 or null is a folder; the rest is jsonargparse's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

from selfsight.naming import nearest
from selfsight.signatures import (
    BUNDLES,
    as_typed,
    build_parser,
    describe_parameters,
    is_flag,
    is_sequence,
    one_line,
    parameters,
    readable,
    typed_as,
    usage,
    words,
)
from selfsight.texts import comma_list, is_one_of_several, is_text, plain_value, read_simple

Settings = dict[str, Any]

BUNDLE_FLAGS = {"encoder.pretrained"}
"""Dotted options that are on or off."""

SHORT = {"debias": "column"}
"""Bundles that a single word stands for, and what the word is."""

PROTOCOLS = "protocol_options"
"""The keyword that gathers the options of protocols, each a bundle of its own: `--knn.k 200`."""

DASHES = ("-", "\N{EN DASH}", "\N{EM DASH}", "\N{MINUS SIGN}")
"""What an option is typed with by mistake, or was turned into by a word processor."""


def parse(verb: Callable, argv: list[str], prog: str) -> Settings:
    """Keywords of `verb` from `argv`; raises `ValueError` in one line, naming the nearest known option."""
    positional, options, switches = split(argv, parameters(verb))
    settings = gather(verb, positional, options)
    parser = build_parser(verb, prog)
    if "--help" in switches:
        parser.print_help()
        describe_bundles(settings, verb)
        raise SystemExit(0)
    check_bundles(settings)
    required = [name for name, parameter in parameters(verb).items() if parameter.default is parameter.empty]
    missing = [name for name in required if name not in settings]
    if missing:
        raise ValueError(f"{prog} wants {' and '.join(missing)}: {usage(verb, prog)}")
    settings = {**defaults(verb), **typed(verb, settings)}
    if switches:
        print(as_yaml(settings, verb, switches[0]), end="")
        raise SystemExit(0)
    return settings


def defaults(verb: Callable) -> Settings:
    """The keywords of a verb that may be left out, and their values."""
    return {name: item.default for name, item in parameters(verb).items() if item.default is not item.empty}


def as_yaml(settings: Settings, verb: Callable, switch: str) -> str:
    """What `--print_config` prints: a file for `--config`."""
    import yaml

    _, _, kind = switch.partition("=")
    left_out = {
        "": lambda name, value: False,
        "skip_null": lambda name, value: value is None,
        "skip_default": lambda name, value: name in defaults(verb) and value == defaults(verb)[name],
    }
    if kind not in left_out:
        raise ValueError(f"--print_config={kind}{nearest(kind, left_out)}")
    kept = {name: value for name, value in settings.items() if not left_out[kind](name, value)}
    order = {name: kept[name] for name in parameters(verb) if name in kept}
    return yaml.safe_dump(json.loads(json.dumps(order, default=str)), sort_keys=False, allow_unicode=True)


# From tokens to settings.


def split(argv: list[str], known: Mapping[str, Parameter]) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Positional words, pairs of option and text, and the switches that jsonargparse answers itself."""
    positional, options, switches = [], [], []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token in ("-h", "--help"):
            switches.insert(0, "--help")
        elif token == "--":
            positional += tokens
            break
        elif token.startswith("--print_config"):
            switches.append(token)
        elif token.startswith("--"):
            name, equals, value = token[2:].partition("=")
            name = name.replace("-", "_")
            if is_flag(known.get(name.removeprefix("no_"))) and name not in known:
                if equals:
                    raise ValueError(f"--{name} takes no value: say --{name.removeprefix('no_')}={value}, or --{name}")
                name, value = name.removeprefix("no_"), "false"
            elif not equals:
                value = take_value(name, tokens, flag=is_flag(known.get(name)) or name in BUNDLE_FLAGS)
            options.append((name, value))
        elif token.startswith(DASHES) and len(token) > 1:
            name = token.lstrip("".join(DASHES))
            raise ValueError(f"{token!r} is no option: write --{name}, or -- {token} for a path of that name")
        else:
            positional.append(token)
    return positional, options, switches


def take_value(name: str, tokens: list[str], flag: bool) -> str:
    """The value of an option from the tokens that follow it; a flag takes `true` or `false` or none."""
    if flag:
        return tokens.pop(0) if tokens and tokens[0] in ("true", "false") else "true"
    if not tokens or tokens[0].startswith("--"):
        raise ValueError(f"--{name} wants a value")
    return tokens.pop(0)


def gather(verb: Callable, positional: list[Any], options: list[tuple[str, str]]) -> Settings:
    """One dictionary of settings: the recipe's, then the configuration file's, then the command line's."""
    known = parameters(verb)
    if len(positional) > len(words(verb)) and len(words(verb)) > 1 and is_sequence(known[words(verb)[0]]):
        several = len(positional) - len(words(verb)) + 1  # runs/a runs/b DATA
        positional = [positional[:several], *positional[several:]]
    if len(positional) > len(words(verb)):
        raise ValueError(f"unexpected {positional[len(words(verb))]!r}: options start with --")
    typed = unfold(dict(zip(words(verb), positional, strict=False)), known)
    files, given = {}, {}
    for name, value in options:
        if name == "config":
            files = merge(files, unfold(read_yaml(Path(value), known), known, value))
        elif given.setdefault(name, value) != value or name in typed:
            raise ValueError(f"--{name} is given twice, as {typed.get(name, given[name])!r} and {value!r}: keep one")
        else:
            typed = merge(typed, unfold({name: value}, known, option=True))
    recipe = {**files, **typed}.get("recipe")
    for settings in (files, typed):
        settings.pop("recipe", None)
    if recipe is not None:
        from selfsight.recipes import load_recipe

        files = merge(unfold(load_recipe(recipe), known, f"recipe {recipe}"), files)
    return merge(files, typed)


def unfold(
    settings: Mapping[str, Any], known: Mapping[str, Parameter], origin: str = "", option: bool = False
) -> Settings:
    """Settings under the verb's own keywords: bundles unfolded, comma lists split, unknown names refused.

    `{"method": {"name": "vicreg", "variance": 25}}`, `{"method.variance": 25}` and
    `{"method_options": {"variance": 25}}` mean the same.
    """
    result: Settings = {}
    for key, value in settings.items():
        head, dot, rest = key.partition(".")
        bundle = BUNDLES.get(head, "")
        if bundle in known and dot:
            typed_later = head != "encoder"  # timm's models have no types for us to read
            result = merge(result, {bundle: {rest: value if typed_later else plain_value(comma_list(value))}})
        elif key in BUNDLES.values() and key in known:
            value = {SHORT[key]: value} if key in SHORT and isinstance(value, str) and value[:1] != "{" else value
            result = merge(result, {key: as_mapping(value, f"--{key}" if option else key)})
        elif PROTOCOLS in known and is_protocol(key, dot):
            name, _, of_it = (key, "", "") if key in protocol_heads() else key.rpartition(".")
            some = {of_it: value} if of_it else as_mapping(value, f"--{key}" if option else key)
            result = merge(result, {PROTOCOLS: {name: some}})
        elif bundle in known and isinstance(value, Mapping):
            named = {head: value["name"]} if "name" in value and head in known else {}
            others = {name: item for name, item in value.items() if name != "name" or head not in known}
            result = merge(result, {**named, bundle: others})
        elif key in known or (key == "recipe" and "method" in known):
            result[key] = value
        else:
            shown = f"--{key}" if option else f"{key!r}"
            names = [*known, *(f"{head}." for head, bundle in BUNDLES.items() if bundle in known), "config", "recipe"]
            names += [f"{name}." for name in protocol_heads()] if PROTOCOLS in known else []
            hint = nearest(key, names, prefix="--" if option else "")
            raise ValueError(f"{origin + ': ' if origin else ''}unknown option {shown}{hint}")
    return result


def merge(lower: Settings, upper: Settings) -> Settings:
    """`lower` overridden by `upper`; bundles are merged key by key."""
    merged = {**lower, **upper}
    for bundle in BUNDLES.values():
        if isinstance(lower.get(bundle), Mapping) and isinstance(upper.get(bundle), Mapping):
            merged[bundle] = {**lower[bundle], **upper[bundle]}
    below, above = lower.get(PROTOCOLS), upper.get(PROTOCOLS)
    if isinstance(below, Mapping) and isinstance(above, Mapping):  # a bundle for each protocol
        merged[PROTOCOLS] = {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}
    return merged


def protocol_heads() -> list[str]:
    """Heads of dotted options that are protocols' names."""
    from selfsight.protocols import protocol_names

    return protocol_names()


def is_protocol(key: str, dot: str) -> bool:
    """Whether a key is a protocol, or the option of one: `knn.k`, or `mypackage.NearestMean.k` of one's own."""
    return key.partition(".")[0] in protocol_heads() if not dot or key.count(".") == 1 else key.count(".") > 1


def as_mapping(value: Any, name: str) -> Any:
    """A whole bundle, which a shell hands over as text."""
    value = plain_value(value) if isinstance(value, str) else value
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name} holds options by name, such as {{key: value}}, and not {value!r}")
    return value


def read_yaml(path: Path, known: Mapping[str, Parameter]) -> Settings:
    """A mapping from a YAML file, where a word is asked for as it is written there: 2024 is a folder's name."""
    import yaml

    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe may never end
        raise ValueError(f"{path} is no file of settings, but a pipe, a socket or a device: give a .yaml file")
    try:
        text = path.read_text(encoding="utf-8")
        content, written = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)
        twice = repeated_key(yaml.compose(text))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {one_line(str(error))}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold options as `name: value` lines")
    if twice is not None:
        raise ValueError(f"{path} has {twice.value!r} twice (line {twice.start_mark.line + 1}): leave one")
    settings = {str(key): value for key, value in content.items()}
    for name, value in settings.items():
        if is_text(known.get(name)) and value is not None and not isinstance(value, str | list | Mapping):
            settings[name] = written[name]
    return settings


def repeated_key(node: Any) -> Any:
    """The first key of a YAML document that its mapping has already, or None; YAML itself keeps the last."""
    seen, deeper = set(), node.value if isinstance(getattr(node, "value", None), list) else []
    for item in deeper:
        key, value = item if isinstance(item, tuple) else (None, item)
        if key is not None and key.value in seen:
            return key
        if key is not None and isinstance(key.value, str):
            seen.add(key.value)
        found = repeated_key(value)
        if found is not None:
            return found
    return None


# Bundles: dotted options are checked against what they configure.


def check_bundles(settings: Settings) -> None:
    """Type the method's and the views' options by the signatures that they are for, in place."""
    for head, bundle in BUNDLES.items():
        if settings.get(bundle) and head != "encoder":  # timm's models check their own
            target = bundle_target(head, settings)
            check_names(target, settings[bundle], head)
            settings[bundle] = typed(target, settings[bundle], f"{head}.")
    for name, options in (settings.get(PROTOCOLS) or {}).items():
        from selfsight.protocols import find_protocol

        target = find_protocol(name)
        check_names(target, options, name)
        settings[PROTOCOLS][name] = typed(target, options, f"{name}.")


def describe_bundles(settings: Settings, verb: Callable) -> None:
    """Print the options of the method that is named beside `--help`, and those of views."""
    if PROTOCOLS in parameters(verb):
        from selfsight.protocols import find_protocol

        for name in asked_protocols(settings):
            describe_options(find_protocol(name), name, f"options of the protocol {name}")
    heads = [head for head in ("method", "views") if head in settings or f"{head}_options" in settings]
    for head in heads if "method" in parameters(verb) else []:
        describe_options(bundle_target(head, settings), head, f"options of {head}")


def describe_options(target: type, head: str, title: str) -> None:
    """Print the keywords of a class as dotted options."""
    described = describe_parameters(target)
    print(f"\n{target.__name__}, {title}:")
    for name, item in parameters(target).items():
        if name != "encoder" and item.kind is not item.VAR_KEYWORD:
            print(f"  --{head}.{name} (default: {item.default})\n        {described.get(name, '')}")


def asked_protocols(settings: Settings) -> list[str]:
    """Names of the protocols in settings that are not read yet."""
    asked = settings.get("protocols", [])
    names = [one.strip() for one in asked.split(",")] if isinstance(asked, str) else list(asked)
    return [name for name in dict.fromkeys([*names, *(settings.get(PROTOCOLS) or {})]) if isinstance(name, str)]


def bundle_target(head: str, settings: Settings) -> type:
    """The class whose constructor a bundle configures."""
    if head == "views":
        from selfsight.views import Augmentation

        return Augmentation
    if head == "debias":
        from selfsight.methods._fair_kl import Debias

        return Debias
    from selfsight.methods import find_method

    method: Any = find_method(settings.get("method", "simclr"))
    return getattr(method, "func", method)


def check_names(target: type, options: Settings, head: str) -> None:
    """Refuse an option that `target` has not, and name the nearest."""
    known = {name: item for name, item in parameters(target).items() if name not in ("self", "encoder")}
    if not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        for name in options:
            if name not in known:
                raise ValueError(f"unknown option --{head}.{name}{nearest(name, known, prefix=f'--{head}.')}")


def typed(target: Callable, options: Settings, prefix: str = "") -> Settings:
    """`options` as the signature of `target` has them; bundles are as they are.

    Raises:
        ValueError: for a value of another type, naming the option as it is typed.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    known, namespace = parameters(target), vars(sys.modules[target.__module__])
    result, others = {}, {}
    for name, value in options.items():
        if prefix == "" and name in (*BUNDLES.values(), PROTOCOLS):
            result[name] = value
            continue
        kinds = typed_as(known[name], namespace) if name in known else {object}
        simple, result[name] = read_simple(value, kinds, f"--{prefix}{name}")
        if not simple:
            some = comma_list(value) if prefix or is_sequence(known.get(name)) else value
            others[name] = [plain_value(some)] if is_one_of_several(some, known.get(name)) else some
    if others:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_function_arguments(as_typed(target, only=others), fail_untyped=False)
        try:
            parsed = parser.parse_args([f"--{name}={as_text(value)}" for name, value in others.items()]).as_dict()
        except ArgumentError as error:
            raise ValueError(readable(error, prefix=prefix)) from error
        result |= {name: parsed[name] for name in others}
    return result


# Small things.


def as_text(value: Any) -> str:
    """A value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
