"""What there is: methods, encoders, recipes and protocols, one line each."""

from __future__ import annotations

from selfsight.naming import nearest

ENCODERS = {
    "resnet18": "11 M, the usual choice for small images and first tries",
    "resnet50": "24 M, the encoder of most papers",
    "convnext_tiny": "28 M, a modern convolutional net",
    "mobilenetv3_large_100": "4 M, for small devices",
    "efficientnet_b0": "4 M, for small devices",
    "vit_tiny_patch16_224": "6 M, a small vision transformer",
    "vit_small_patch16_224": "22 M, the transformer of DINO and MoCo v3",
    "vit_base_patch16_224": "86 M, the transformer of MAE",
    "vit_small_patch14_dinov2": "22 M, with pretrained weights of DINOv2",
}
"""A short list to start from; any other name of timm works as well."""


def show(words: list[str]) -> str:
    """The answer to `selfsight list WHAT [PATTERN]`."""
    kinds = {"methods": methods, "encoders": encoders, "recipes": recipes, "protocols": protocols}
    if not words or words[0] in ("-h", "--help"):
        return "usage: selfsight list methods|encoders|recipes|protocols [PATTERN]"
    what, *patterns = words
    if what not in kinds:
        raise ValueError(f"cannot list {what!r}{nearest(what, kinds)}")
    return "\n".join(kinds[what](*patterns[:1]))


def methods(pattern: str = "") -> list[str]:
    """Methods whose name contains `pattern`."""
    from selfsight.methods import describe_methods

    return table({name: text for name, text in describe_methods().items() if pattern in name})


def encoders(pattern: str = "") -> list[str]:
    """A short list of encoders, or all of timm's whose name contains `pattern`."""
    if not pattern:
        more = "any timm model works by name: selfsight list encoders PATTERN searches them"
        return [*table(ENCODERS), more]
    import timm

    return timm.list_models(f"*{pattern}*") or [f"timm has no encoder with {pattern!r} in its name"]


def recipes(pattern: str = "") -> list[str]:
    """Recipes whose name contains `pattern`."""
    from selfsight.recipes import describe_recipes

    return table({name: text for name, text in describe_recipes().items() if pattern in name})


def protocols(pattern: str = "") -> list[str]:
    """Protocols of `evaluate` whose name contains `pattern`."""
    from selfsight.protocols import describe_protocols

    return table({name: text for name, text in describe_protocols().items() if pattern in name})


def table(rows: dict[str, str]) -> list[str]:
    """Lines of name and text, aligned."""
    width = max(map(len, rows), default=0)
    return [f"{name:{width}}  {text}" for name, text in rows.items()]
