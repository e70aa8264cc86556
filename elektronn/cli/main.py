"""The ``elektronn`` command: parse, dispatch, turn failures into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from elektronn.registry import nearest

VERBS = {
    "volume": "describe a volume: size, type, hash",
    "sample": "make one cube of the embedded synthetic data set",
    "boundaries": "convert a volume of IDs to a boundary map",
    "check": "check that labels fit their image: sizes, classes and content",
    "view": "look at the volumes of a run, or at what a training learns from",
    "train": "train a network, or resume an interrupted training",
    "curves": "draw the learning curves of a finished or running training",
    "attach": "talk to a running training from another shell",
    "predict": "predict a volume densely, store to store",
    "segment": "divide a boundary probability into segments",
    "evaluate": "compare predictions with labels",
    "report": "write the one-page report of an experiment",
    "convert": "convert a network of ELEKTRONN 1 or ELEKTRONN2 to a model file",
    "config": "show, check or describe the parameter file",
    "adopt": "let dvc or snakemake accept what the other has made",
}


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line, like the rest of the program."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave."""
        stop = "" if message.endswith("?") else ";"
        self.exit(2, f"{self.prog}: {message}{stop} `{self.prog} --help` explains the arguments\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but a misspelt option is named first: the word behind it would be taken for something else."""
        words = sys.argv[1:] if args is None else list(args)
        if all(action.nargs != argparse.PARSER for action in self._actions):  # what follows has options of its own
            known = [option for option in self._option_string_actions if option.startswith("--")]
            for word in words[: words.index("--") if "--" in words else None]:
                name = word.partition("=")[0]
                if name.startswith("--") and not any(option.startswith(name) for option in known):
                    self.error(f"unknown option '{name}': {nearest(name, known)}")
        return super().parse_known_args(words, namespace)


def parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of all verbs; only the module of the ``chosen`` one is imported."""
    top = Parser(
        prog="elektronn",
        description="Cell boundaries in electron-microscopy volumes. A volume is FILE, FILE:KEY or "
        "FILE:KEY[z0:z1,y0:y1,x0:x1] (HDF5, zarr, TIFF, .npy), with @xyz behind it if its axes are not zyx.",
        epilog="Exit codes: 0 ok, 2 usage or settings, 3 a check failed, 4 data unreadable, "
        "5 result not writable, 130 stopped with state saved.",
    )
    top.add_argument("--version", action="store_true", help="say the versions of elektronn and Python, and leave")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            import_module(f"elektronn.cli.{name}").arguments(verb)
    return top


def main(arguments: Sequence[str] | None = None, *, owns_process: bool = False) -> int:
    """Run one command; returns the exit code.

    Args:
        arguments: of the command line; those of this process by default.
        owns_process: whether the process does nothing else, so that a command may tune it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments[:1]:
        print(_versions())
        return 0
    verb = next((word for word in arguments if not word.startswith("-")), None)
    top = parser(verb)
    if verb is not None and verb not in VERBS:
        top.error(f"unknown verb '{verb}': {nearest(verb, VERBS)}")
    given = top.parse_args(arguments)
    given.owns_process = owns_process
    return guarded(
        f"elektronn {given.verb}", given, lambda given: import_module(f"elektronn.cli.{given.verb}").run(given)
    )


def _versions() -> str:
    from importlib.metadata import version

    return f"elektronn {version('elektronn')}, Python {sys.version.split()[0]}"


def guarded(command: str, given: argparse.Namespace, work: Callable[[argparse.Namespace], None]) -> int:
    """Do the work of a command; failures become one line each and an exit code."""
    from elektronn.errors import ElektronnError

    try:
        work(given)
    except ElektronnError as error:
        for line in str(error).splitlines():
            print(f"{command}: {line}", file=sys.stderr)
        _log(given, str(error))
        return error.exit_code
    except KeyboardInterrupt as error:
        print(f"{command}: interrupted; {str(error) or 'nothing half-written was left'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return 0


def _log(given: argparse.Namespace, text: str) -> None:
    """Add the failure to the log; a log that cannot be written must not hide it."""
    if getattr(given, "log", None):
        log = Path(given.log)
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


def run() -> NoReturn:
    """Entry point of the console script."""
    code = main(owns_process=True)
    if code:
        # what was wrong has been said; zarr leaves unfinished reads behind, and their end would be told at length
        logging.getLogger("asyncio").disabled = True
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
    sys.exit(code)


if __name__ == "__main__":
    run()
