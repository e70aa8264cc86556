"""``elektronn config``: show, check, describe."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from elektronn.cli.options import params_of, settings_arguments
from elektronn.errors import ConfigError


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "what",
        choices=("show", "check", "geometry", "schedule", "schema", "upgrade"),
        help="show: all settings with defaults (YAML); check: settings and table of volumes; geometry: layer sizes, "
        "fields of view and cost of each network; schedule: learning rate and other numbers over the steps, drawn to "
        "schedule_EXPERIMENT.png here; schema: JSON schema for editors; upgrade: a config of ELEKTRONN 1 (FILE.py) as "
        "a parameter file, with what changed as comments",
    )
    verb.add_argument("file", nargs="?", type=Path, metavar="FILE", help="parameter file (default: params.yaml here)")
    verb.add_argument(
        "--trust", action="store_true", help="upgrade: run a config that cannot be read; only if you know its author"
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Print what was asked for."""
    from elektronn.config.tree import Params
    from elektronn.settings import plain, schema

    if given.what == "schema":
        print(json.dumps(schema(Params), indent=2))
        return
    if given.what == "upgrade":
        _upgrade(given)
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
        from elektronn.cli.geometry_table import print_geometry, wide

        console = wide()
        for name, experiment in params.experiments.items():
            print_geometry(name, experiment.network, console)
        return
    if given.what == "schedule":
        from elektronn.report.learning import draw_schedule

        for name, experiment in params.experiments.items():
            if table := experiment.plan().table():
                picture = Path(f"schedule_{name}.png")
                draw_schedule(table, picture)
                print(f"{picture}: {', '.join(table)} over {experiment.training.steps} steps")
            else:
                print(f"{name}: nothing changes with the step")
        return
    from elektronn.volumes.table import data_root, rows_of
    from elektronn.workflow.layout import check_names

    rows = {row.name: row for row in rows_of(params.volumes, data_root(params.data_root))}
    for name, experiment in params.experiments.items():
        check_names(name, experiment, rows)
    print(f"ok: {len(params.experiments)} experiments, {len(rows)} volumes")


def _upgrade(given: argparse.Namespace) -> None:
    from elektronn.cli.old_run import as_yaml, find_config, upgraded

    if given.file is None:
        raise ConfigError("upgrade needs a config of ELEKTRONN 1; write elektronn config upgrade FILE.py > params.yaml")
    config = find_config(given.file)
    old, new, _ = upgraded(config, Path.cwd(), trust=given.trust, without_data=True)
    for text in old.warnings:
        print(f"elektronn config: {text}", file=sys.stderr)
    print(as_yaml(new, config), end="")
