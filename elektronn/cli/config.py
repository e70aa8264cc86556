"""``elektronn config``: show, check, describe."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from elektronn.cli.options import params_of, settings_arguments


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "what",
        choices=("show", "check", "geometry", "schema"),
        help="show: all settings with defaults (YAML); check: settings and table of volumes; geometry: layer sizes, "
        "fields of view and cost of each network; schema: JSON schema for editors",
    )
    verb.add_argument("file", nargs="?", type=Path, metavar="FILE", help="parameter file (default: params.yaml here)")
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Print what was asked for."""
    from elektronn.config.tree import Params
    from elektronn.settings import plain, schema

    if given.what == "schema":
        print(json.dumps(schema(Params), indent=2))
        return
    given.params = given.file or given.params
    if given.params is None and Path("params.yaml").is_file():
        given.params = Path("params.yaml")
    params = params_of(given)
    if given.what == "show":
        import yaml

        print(yaml.safe_dump(plain(params), sort_keys=False, allow_unicode=True), end="")
        return
    if given.what == "geometry":
        from rich.console import Console

        from elektronn.cli.geometry_table import print_geometry

        # a cut table is worse than a long line
        console = Console(highlight=False, width=max(Console().width, 120))
        for name, experiment in params.experiments.items():
            print_geometry(name, experiment, console)
        return
    from elektronn.volumes.table import data_root, rows_of

    rows = rows_of(params.volumes, data_root(params.data_root))
    print(f"ok: {len(params.experiments)} experiments, {len(rows)} volumes")
