"""``elektronn view``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.artefacts import prepare
from elektronn.cli.options import params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, GeometryError, at

if TYPE_CHECKING:
    from elektronn.config.tree import Experiment, Params
    from elektronn.sampling.batch import Supply
    from elektronn.training.world import World


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = verb.add_subparsers(dest="what", metavar="WHAT", required=True)
    batch = what.add_parser("batch", help="examples that a training learns from: image, labels, overlay")
    batch.add_argument("--step", type=_whole(0), default=0, metavar="N", help="of the training, counted from 0")
    batch.add_argument(
        "--examples", type=_whole(1), default=4, metavar="K", help="how many; from the next steps if need be"
    )
    augmentations = what.add_parser(
        "augmentations", help="what was drawn for the first examples: shares and histograms"
    )
    for part in (batch, augmentations):
        part.add_argument("experiment", metavar="EXPERIMENT", help="name of the section under `experiments`")
        part.add_argument("out", type=Path, metavar="OUT", help="picture to write (PNG)")
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
    """Draw."""
    from elektronn.config.load import experiment_of

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
    rows = named_volumes(given.train) or table_volumes(params, experiment)["train"]
    return of_volumes(rows, [], *settings)


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


def _whole(least: int) -> Callable[[str], int]:
    """Reader of a whole number not below ``least``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': write a whole number, {least} or more")
        return int(text)

    return read
