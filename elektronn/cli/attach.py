"""``elektronn attach``."""

from __future__ import annotations

import argparse
import sys


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "run",
        metavar="RUN",
        help="name of an experiment of the workflow here, or the state directory of a training (or the folder around it)",
    )
    verb.epilog = (
        "At a terminal it opens the console; `help` lists the words. Else it says the lines of its input one after "
        "the other: echo setlr 0.002 | elektronn attach neuro. The training goes on all the while."
    )


def run(given: argparse.Namespace) -> None:
    """Talk to a running training."""
    from elektronn.console.address import state_of
    from elektronn.console.attach import converse, pipe

    state = state_of(given.run)
    if sys.stdin.isatty() and sys.stdout.isatty():
        converse(state)
    else:
        pipe(state, sys.stdin, lambda text: print(text, flush=True))
