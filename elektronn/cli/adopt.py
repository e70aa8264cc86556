"""``elektronn adopt``."""

from __future__ import annotations

import argparse

from elektronn.cli.progress import Display


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "engine", choices=("dvc", "snakemake"), help="the engine that shall accept what the other has proved"
    )
    verb.add_argument("targets", nargs="*", metavar="TARGET", help="targets of snakemake (default: all)")


def run(given: argparse.Namespace) -> None:
    """Adopt."""
    from elektronn.workflow.adopt import into_dvc, into_snakemake

    line = into_dvc(given.targets) if given.engine == "dvc" else into_snakemake()
    Display("adopt").line(line)
