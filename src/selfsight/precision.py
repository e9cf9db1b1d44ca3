"""At which precision is computed: what hardware is good for, and float32 whatever the autocast around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def choose_precision(precision: str, accelerator: str) -> str:
    """ "bf16" or "32" on a "cpu" or a "gpu": "auto" is bf16 where the hardware computes it."""
    if precision not in ("auto", "bf16", "32"):
        raise ValueError(f"precision is 'auto', 'bf16' or '32', not {precision!r}")
    if precision != "auto":
        return precision
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if accelerator == "gpu" else cpu_has_bf16()
    return "bf16" if fast else "32"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check is not None and check() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def full_precision(function: Function) -> Function:
    """Run `function` outside autocast, with half-precision tensors among its arguments as float32.

    float32 and float64 arguments, integers and everything that is no tensor pass unchanged;
    tensors are also found in lists, tuples and dictionaries.
    """

    @wraps(function)
    def in_full_precision(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*_at_least_float32(args), **_at_least_float32(kwargs))

    return cast(Function, in_full_precision)


def _at_least_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, (list, tuple)):
        return type(value)(_at_least_float32(item) for item in value)
    if isinstance(value, dict):
        return {key: _at_least_float32(item) for key, item in value.items()}
    return value
