"""The verbs from a shell, generated from their signatures: `selfsight pretrain images/ --method vicreg`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

from selfsight import arguments
from selfsight.naming import nearest
from selfsight.signatures import readable

PROGRAM = "selfsight"
COMMANDS = {
    "pretrain": "train an encoder on images without labels",
    "evaluate": "judge encoders: kNN, linear probes, few labels, retrieval and more",
    "embed": "write an encoder's features to a file",
    "export": "write an encoder as ONNX, safetensors or state dict",
    "list": "show methods, encoders, recipes and protocols",
    "demo": "train and judge an encoder on handwritten digits, in two minutes",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when it went well, 2 when it was asked wrongly, 1 when it failed, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    argv = [token for token in argv if token != "--debug"]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that --method mypackage.MyMethod finds the user's module
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file may be called by any bytes, a locale lack letters
    try:
        status = run(argv)
        if sys.stdout is not None:  # it is None where the shell has closed it
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        print(f"{PROGRAM}: {error if str(error) else 'interrupted'}", file=sys.stderr)
        return getattr(error, "status", 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        code = 2 if isinstance(error, ValueError) or type(error).__name__ == "ArgumentError" else 1
        print(f"{PROGRAM}: error: {explain(error, code)}", file=sys.stderr)
        return code


def run(argv: list[str]) -> int:
    """Find the command and call it."""
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print(overview())
    elif command == "--version":
        print(f"{PROGRAM} {version()}")
    elif command == "list":
        from selfsight.listing import show

        print(show(rest))
    elif command in COMMANDS:
        verb = find_verb(command)
        settings = arguments.parse(verb, rest, f"{PROGRAM} {command}")
        return close(command, verb(**settings))
    else:
        raise ValueError(f"unknown command {command!r}{nearest(command, COMMANDS)}")
    return 0


def close(command: str, result: Any) -> int:
    """A last line that says where the result lies; the exit status."""
    if command == "embed":
        print(f"wrote {result}")
    if command != "pretrain" or os.environ.get("RANK", "0") != "0":
        return 0
    stopped = result.summary.get("stopped")
    if stopped:
        lost = "no longer finite" in stopped  # the same settings would lead there again
        how = "begin again with other settings and --overwrite" if lost else "go on with the same command and --resume"
        print(f"{PROGRAM}: stopped ({stopped}); {how}", file=sys.stderr)
        return 130 if stopped == "interrupted" else 1
    print(f"{result.path} holds the encoder and all about the run; judge it: {PROGRAM} evaluate {result.path} DATA")
    return 0


def find_verb(name: str) -> Callable[..., Any]:
    """The function behind a command."""
    if name == "demo":
        from selfsight.demo import demo

        return demo
    import selfsight

    return getattr(selfsight, name)


def version() -> str:
    """The installed version."""
    from selfsight.naming import package_version

    return package_version(PROGRAM) or "(a checkout that is not installed)"


def overview() -> str:
    """What `selfsight --help` says."""
    lines = [f"  {name:10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ... [--debug]",
            "",
            "Train vision encoders without labels and see what they learned.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help shows a command's options, --version the version, --debug a traceback.",
        ]
    )


def explain(error: Exception, code: int) -> str:
    """An error in one line; one that nobody foresaw says how to see more."""
    message = readable(error)
    return message if code == 2 else f"{type(error).__name__}: {message} (--debug shows the traceback)"
