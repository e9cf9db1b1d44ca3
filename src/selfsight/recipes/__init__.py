"""Settings with a promise: command, hardware, time and expected score stand at the top of each file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsight.naming import nearest

__all__ = ["describe_recipes", "load_recipe", "recipe_names"]

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Names of all recipes, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def describe_recipes() -> dict[str, str]:
    """The first comment line of each recipe, by name."""
    return {name: _text(name).partition("\n")[0].removeprefix("#").strip() for name in recipe_names()}


def load_recipe(name: str) -> dict[str, Any]:
    """Keywords for `selfsight.pretrain`; a `ValueError` names the nearest recipe when there is none of that name."""
    import yaml

    if name not in recipe_names():
        raise ValueError(f"no recipe {name!r}{nearest(name, recipe_names())}")
    return yaml.safe_load(_text(name))


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
