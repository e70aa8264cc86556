"""``elektronn view``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.artefacts import prepare
from elektronn.cli.options import params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, GeometryError, at
from elektronn.volumes.address import Address

if TYPE_CHECKING:
    from elektronn.config.tree import Experiment, Params
    from elektronn.sampling.batch import Supply
    from elektronn.training.world import World


PICTURES = {
    "batch": "draw examples that a training learns from: image, labels, overlay",
    "augmentations": "draw what was drawn for the first examples: shares and histograms",
}
"""What else can be looked at → what it does; these words stand where RUN stands."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _run_arguments(verb)
    verb.add_argument(
        "run",
        nargs=argparse.PARSER,
        action=_Rest,
        metavar="RUN",
        help="experiment of the workflow here, one of its folders or files (data/models/NAME, its state, "
        "data/reports/NAME, data/predictions/NAME/VOLUME.zarr …), or any volume",
    )
    verb.usage = "\n       ".join(["%(prog)s [options] RUN", *(f"%(prog)s {what} EXPERIMENT OUT" for what in PICTURES)])
    verb.description = (
        "Look at the volumes of a run: image, labels, boundary targets, predictions and segmentations on one another, in "
        "Neuroglancer on this machine (extra `view`), in napari, in a window, or as a picture of some sections. Or at "
        "what a training learns from: `elektronn view batch --help`, `elektronn view augmentations --help`."
    )


class _Rest(argparse.Action):
    """What follows RUN: more options, or the arguments of a picture."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        what, *rest = values
        more = type(parser)(prog=f"{parser.prog} {what}" if what in PICTURES else parser.prog)
        if what in PICTURES:
            more.description = f"{PICTURES[what][0].upper()}{PICTURES[what][1:]}."
            _picture_arguments(more, what)
        else:
            _run_arguments(more)
        namespace.run, namespace.what = what, what if what in PICTURES else "run"
        more.parse_args(rest, namespace)


def _run_arguments(part: argparse.ArgumentParser) -> None:
    part.add_argument("--volume", metavar="NAME", help="only this volume of the run")
    part.add_argument(
        "--layer",
        action="append",
        nargs=2,
        default=[],
        metavar=("KIND", "VOLUME"),
        help="one more volume over it: image, labels, boundaries, prediction or segmentation; may be repeated",
    )
    how = part.add_mutually_exclusive_group()
    how.add_argument("--napari", action="store_true", help="show in napari, or print the program that does")
    how.add_argument("--scroll", action="store_true", help="scroll through sections in a window (matplotlib)")
    how.add_argument("--save", type=Path, metavar="FILE", help="draw sections into a picture (PNG); needs no display")
    part.add_argument(
        "--section",
        type=_sections,
        metavar="Z[,Z…]",
        help="sections to draw, counted in the image; default: the middle",
    )
    part.add_argument(
        "--print", action="store_true", help="print the state (JSON) or the program only; nothing is opened"
    )
    part.add_argument("--port", type=_whole(0, 65535), default=0, help="of the local server; default: any that is free")
    part.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="to listen at; by default only this machine can connect"
    )
    settings_arguments(part)


def _picture_arguments(part: argparse.ArgumentParser, what: str) -> None:
    part.add_argument("experiment", metavar="EXPERIMENT", help="name of the section under `experiments`")
    part.add_argument("out", type=Path, metavar="OUT", help="picture to write (PNG)")
    if what == "batch":
        part.add_argument("--step", type=_whole(0), default=0, metavar="N", help="of the training, counted from 0")
        part.add_argument(
            "--examples", type=_whole(1), default=4, metavar="K", help="how many; from the next steps if need be"
        )
    part.add_argument(
        "--train",
        action="append",
        nargs=3,
        default=[],
        metavar=("NAME", "IMAGE", "LABELS"),
        help="a volume to train on; may be repeated; default: those of the table of volumes",
    )
    settings_arguments(part)


def run(given: argparse.Namespace) -> None:
    """Show, or draw."""
    if given.what == "run":
        from elektronn.cli.view_run import view_run

        view_run(given)
        return
    from elektronn.config.load import experiment_of

    if given.params is None and Path("params.yaml").is_file():
        given.params = Path("params.yaml")
    params = params_of(given)
    experiment = experiment_of(params, given.experiment)
    prepare(given.out)
    with at(f"{given.params or 'settings'}: experiments.{given.experiment}", only=GeometryError):
        world = _world(given, params, experiment)
    said = {"batch": _draw_batch, "augmentations": _draw_augmentations}[given.what](given, experiment, world)
    Display("view", given.log).line(f"{given.out}: {said}")


def _world(given: argparse.Namespace, params: Params, experiment: Experiment) -> World:
    """What the training would learn from."""
    from elektronn.cli.train import named_volumes, table_volumes
    from elektronn.training.world import of_class, of_volumes

    settings = (experiment.network, experiment.sampling, experiment.training)
    if experiment.data is not None:
        return of_class(experiment.data, *settings)
    rows = named_volumes(given.train) or _made(params, experiment) or table_volumes(params, experiment)["train"]
    return of_volumes(rows, [], *settings)


def _made(params: Params, experiment: Experiment) -> list[tuple[str, Address, Address]]:
    """The volumes to train on with the boundary maps that the workflow has made of their IDs; none if one is not there."""
    from elektronn.volumes.table import data_root, rows_of

    if params.boundaries.source != "ids" or experiment.data is not None:
        return []
    rows = [row for row in rows_of(params.volumes, data_root(params.data_root)) if row.role == "train"]
    wanted = [row for row in rows if not experiment.volumes or row.name in experiment.volumes]
    made = [(row.name, row.image, Address(Path("data/interim/labels") / f"{row.name}.h5")) for row in wanted]
    return made if all(labels.path.is_file() for *_, labels in made) else []


def _supplies(experiment: Experiment, world: World) -> Callable[[int], Supply]:
    """Step → supply of its batch, with the numbers that the schedules give the augmentations there."""
    from elektronn.training.plan import with_values

    plan = experiment.plan()
    return lambda step: world.supply.changed(with_values(experiment.sampling, plan.values_at(step)))


def _draw_batch(given: argparse.Namespace, experiment: Experiment, world: World) -> str:
    from elektronn.network.document import geometry
    from elektronn.report.examples import draw_examples
    from elektronn.sampling.shown import Shown, shown

    supplies, reach = _supplies(experiment, world), geometry(world.document)
    rows: list[Shown] = []
    step = given.step
    while len(rows) < given.examples:
        supply = supplies(step)
        rows += shown(supply, supply.batch(step), step, given.examples - len(rows))
        step += 1
    draw_examples(rows, reach.offset, reach.stride, given.out)
    return f"{len(rows)} training examples of experiment {given.experiment} from step {given.step} on"


def _draw_augmentations(given: argparse.Namespace, experiment: Experiment, world: World) -> str:
    from elektronn.report.examples import draw_augmentations
    from elektronn.sampling.shown import summary

    found = summary(_supplies(experiment, world), experiment.sampling.batch_size)
    if found is None:
        raise ConfigError(
            f"experiments.{given.experiment}.data: a class of your own gives the batches, so nothing is drawn here; "
            "`elektronn view batch` shows them"
        )
    draw_augmentations(found.count, found.shares, found.numbers, given.out)
    return f"augmentations of the first {found.count} training examples of experiment {given.experiment}"


def _whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Reader of a whole number from ``least`` to ``most``."""
    limits = f"{least} or more" if most == math.inf else f"{least} to {most}"

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}': write a whole number, {limits}")
        return int(text)

    return read


def _sections(text: str) -> tuple[int, ...]:
    """Numbers of sections."""
    return tuple(_whole(0)(part.strip()) for part in text.split(","))
