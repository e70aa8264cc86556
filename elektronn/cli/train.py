"""``elektronn train``."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from elektronn.artefacts import prepare, write_text
from elektronn.cli.options import params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.cli.sketcher import Sketcher
from elektronn.errors import ConfigError, GeometryError, at
from elektronn.volumes.address import Address

if TYPE_CHECKING:
    from elektronn.config.tree import Experiment, Params
    from elektronn.console.desk import Desk
    from elektronn.console.prompt import Terminal
    from elektronn.network.document import Document
    from elektronn.training.control import Event, Planes, Preview
    from elektronn.training.stage import Outputs, Start


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("experiment", metavar="EXPERIMENT", help="name of the section under `experiments`")
    for role in ("train", "valid"):
        verb.add_argument(
            f"--{role}",
            action="append",
            nargs=3,
            default=[],
            metavar=("NAME", "IMAGE", "LABELS"),
            help=f"a volume to {'train on' if role == 'train' else 'validate with'}; may be repeated",
        )
    verb.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file to make (.safetensors)")
    verb.add_argument("--history", type=Path, metavar="FILE", help="history (CSV); default: beside the model")
    verb.add_argument("--card", type=Path, metavar="FILE", help="model card (JSON); default: beside the model")
    verb.add_argument("--curves", type=Path, metavar="FILE", help="learning curves (PNG); default: beside the model")
    verb.add_argument("--resolved", type=Path, metavar="FILE", help="full settings (YAML); default: beside the model")
    verb.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="model whose weights to start from; other sizes are cut, tiled, centred",
    )
    verb.add_argument("--state", type=Path, metavar="DIR", help="backups and previews; default: beside the model")
    verb.add_argument(
        "--events", type=Path, metavar="FILE", help="copy of the journal (JSON lines) in DIR; default: beside the model"
    )
    talk_arguments(verb)
    settings_arguments(verb)


def talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who may say what to the training, and what of its state is left behind."""
    parser.add_argument(
        "--reset",
        type=_parts,
        default=(),
        metavar="PART,…",
        help="resume without parts of the state: optimiser (that of the settings, without memory), schedule (that of the "
        "settings, without numbers set by hand), step (count from 0 again); leave it out when the command runs again",
    )
    talk = parser.add_argument_group("console")
    talk.add_argument(
        "--console",
        choices=("auto", "on", "off"),
        default="auto",
        help="what Ctrl-C does: on: opens the console; off: saves and stops; auto: on at a terminal that no workflow "
        "engine shares (default)",
    )
    talk.add_argument("--allow-python", action="store_true", help="let the console run Python in the training")
    talk.add_argument(
        "--replay", type=Path, metavar="FILE", help="repeat the commands of a journal (events.jsonl) at their steps"
    )


def _parts(text: str) -> tuple[str, ...]:
    """Words of ``--reset``."""
    from elektronn.training.commands import PARTS

    words = tuple(text.split(","))
    for word in words:
        if word not in PARTS:
            raise argparse.ArgumentTypeError(f"'{word}': write {', '.join(PARTS)}, or several of them with commas")
    return tuple(part for part in PARTS if part in words)


def run(given: argparse.Namespace) -> None:
    """Train."""
    from elektronn.config.load import experiment_of
    from elektronn.prediction.allocator import keep_memory
    from elektronn.training.stage import Outputs, Start

    params = params_of(given)
    experiment = experiment_of(params, given.experiment)
    folder = given.model.parent
    state = given.state or folder / "state"
    outputs = Outputs(given.model, given.history or folder / "history.csv", given.card or folder / "model.json", state)
    curves, resolved = given.curves or folder / "curves.png", given.resolved or folder / "params.resolved.yaml"
    events = given.events or folder / "events.jsonl"
    prepare(given.model, curves, resolved, events)
    rows = {"train": named_volumes(given.train), "valid": named_volumes(given.valid)}
    if not given.train:
        rows = table_volumes(params, experiment)
    start = Start.of(given.start) if given.start else None
    place = f"{given.params or 'settings'}: experiments.{given.experiment}"
    display = Display(f"train {given.experiment}", given.log)
    if given.owns_process and not experiment.training.device.startswith("cuda"):
        keep_memory()
    with at(place, only=GeometryError):
        leads = carry_out(experiment, rows, outputs, display, start=start, talk=Talk.of(given))
    if leads:
        finish(outputs, display, params, given.experiment, resolved, curves)
        _copy_journal(state, events)


def _copy_journal(state: Path, events: Path) -> None:
    """The journal of a finished training beside its model, for the report."""
    from elektronn.training.journal import FILE

    own = state / FILE
    if own.is_file() and own.resolve() != events.resolve():
        write_text(events, own.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Talk:
    """Who may say what to a running training.

    Attributes:
        console: ``auto``, ``on`` or ``off``: whether Ctrl-C opens the console.
        allow_python: whether Python is run.
        replay: journal whose commands are repeated.
        reset: parts of the state that are left behind.
    """

    console: str = "auto"
    allow_python: bool = False
    replay: Path | None = None
    reset: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: argparse.Namespace) -> Talk:
        """What :func:`talk_arguments` declared."""
        return cls(given.console, given.allow_python, given.replay, given.reset)


def carry_out(
    experiment: Experiment,
    rows: Mapping[str, Sequence[tuple[str, Address, Address]]],
    outputs: Outputs,
    display: Display,
    *,
    start: Start | None = None,
    ready: Callable[[str], None] = lambda fingerprint: None,
    fitted: Callable[[Document], None] = lambda document: None,
    status: bool = True,
    talk: Talk = Talk(),
) -> bool:
    """Train with a progress bar. SIGTERM and SIGUSR1 save and stop, and so does SIGINT where no console opens.

    Of several processes that ``torchrun`` started only the first has a bar, a console and outputs.

    Args:
        experiment, rows, outputs, start, ready: see :func:`elektronn.training.stage.train`.
        display: progress and lines.
        fitted: is told of the network before anything is written.
        status: whether rows of the history are printed.
        talk: with people.

    Returns:
        Whether this process is the one that made the outputs.
    """
    from elektronn.console.desk import Desk
    from elektronn.console.prompt import Terminal, is_person_here
    from elektronn.console.server import Server
    from elektronn.training.control import both
    from elektronn.training.group import joined
    from elektronn.training.stage import train

    with joined() as group:
        learn = partial(
            train,
            rows["train"],
            rows["valid"],
            experiment.network,
            experiment.sampling,
            experiment.training,
            outputs,
            data=experiment.data,
            start=start,
            replay=talk.replay,
            allow_python=talk.allow_python,
            reset=talk.reset,
            group=group,
        )
        if not group.leads:
            desk = Desk(person=None)
            with _signals(desk, None):
                learn(mailbox=desk)
            return False
        is_open = talk.console == "on" or (talk.console == "auto" and is_person_here())
        terminal = Terminal(display.line, outputs.state, display.pause, display.resume) if is_open else None
        desk = Desk(person=terminal)
        sketcher = Sketcher(outputs.state)
        listener = _Listener(display, outputs.state, experiment.training.steps, status, fitted)
        with (
            _signals(desk, terminal),
            display.bar(),
            Server(desk, outputs.state, display.warn) as server,
            closing(sketcher),
        ):
            learn(ready=ready, mailbox=desk, listen=both(both(listener, server.tell), sketcher.hear))
        return True


def finish(outputs: Outputs, display: Display, params: Params, name: str, resolved: Path, curves: Path | None) -> None:
    """What stands beside a trained model: its settings, and its learning curves."""
    from elektronn.config.load import write_resolved
    from elektronn.report.learning import draw_history

    if curves is not None:
        draw_history(outputs.history, curves)
    write_resolved(resolved, params, f"experiments.{name}")
    display.line(f"{outputs.model}: trained model of experiment {name}")


def table_volumes(params: Params, experiment: Experiment) -> dict[str, list[tuple[str, Address, Address]]]:
    """The volumes of an experiment from the table, where their labels are classes already.

    Raises:
        ConfigError: labels are IDs, or there is nothing to train on.
    """
    from elektronn.volumes.table import data_root, rows_of

    if experiment.data is not None:
        return {"train": [], "valid": []}
    if params.boundaries.source != "classes":
        raise ConfigError(
            "nothing to train on; give at least one --train NAME IMAGE LABELS, or set boundaries.source to classes "
            "if the labels in the table are classes already"
        )
    wanted = experiment.volumes
    rows = [r for r in rows_of(params.volumes, data_root(params.data_root)) if not wanted or r.name in wanted]
    found = {role: [(r.name, r.image, r.labels) for r in rows if r.role == role and r.labels] for role in ROLES}
    if not found["train"]:
        raise ConfigError("volumes: none of role train among them; give one volume that role")
    return found


ROLES = ("train", "valid")


def named_volumes(rows: list[list[str]]) -> list[tuple[str, Address, Address]]:
    """What ``--train NAME IMAGE LABELS`` says."""
    from elektronn.volumes.address import parse_address

    return [(name, parse_address(image), parse_address(labels)) for name, image, labels in rows]


class _signals:  # noqa: N801 - reads as a block
    """While the block runs, SIGTERM and SIGUSR1 become Stop commands, and SIGINT opens the console where there is one."""

    def __init__(self, desk: Desk, terminal: Terminal | None) -> None:
        self.desk, self.terminal = desk, terminal

    def __enter__(self) -> None:
        # USR1: what a cluster sends some time before it ends a job
        handlers = dict.fromkeys((signal.SIGTERM, signal.SIGUSR1), self._stop)
        handlers[signal.SIGINT] = self._open if self.terminal else self._stop
        self.old = {number: signal.signal(number, handler) for number, handler in handlers.items()}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _open(self, number: int, frame: FrameType | None) -> None:
        self.desk.open()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        from elektronn.training.control import Stop

        self.desk.post(Stop(signal.Signals(number).name), "signal")
        if self.terminal is not None:
            self.terminal.interrupt()


class _Listener:
    """Shows what a training says."""

    def __init__(
        self, display: Display, state: Path, steps: int, status: bool, fitted: Callable[[Document], None]
    ) -> None:
        self.display, self.state, self.steps, self.status, self.fitted = display, state, steps, status, fitted

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from elektronn.console.desk import HERE
        from elektronn.report import examples, pictures
        from elektronn.sampling.shown import Summary
        from elektronn.training import control

        match event:
            case control.Started():
                origin = (
                    f"resumed at step {event.step} from {event.resumed_from}"
                    if event.resumed_from
                    else "from the start"
                )
                self.display.line(f"{event.parameters} parameters on {event.device}, {event.steps} steps, {origin}")
            case control.Fitted():
                self.fitted(event.document)
            case control.Stepped():
                note = f"loss {event.loss:.4f}  {event.steps_per_s:.1f} it/s  data wait {event.data_wait:.0%}"
                self.display.advance(event.step, self.steps, note)
            case control.Row() if self.status:
                self.display.line(_row(event.values))
            case control.Preview():
                self._draw(event)
            case control.Planes():
                self._draw_planes(event)
            case control.Examples():
                examples.draw_examples(event.rows, event.offset, event.stride, self.state / "batch.png")
            case Summary():
                picture = self.state / "augmentations.png"
                examples.draw_augmentations(event.count, event.shares, event.numbers, picture)
            case control.Saved(failure=str(reason)):
                self.display.warn(f"no backup at step {event.step}: {reason}")
            case control.Noted():
                self.display.line(event.text)
            case control.Answered() if event.letter.who == HERE:
                self.display.line(event.text)
            case control.Refused() if event.letter.who == HERE and not event.letter.command.lasts:
                self.display.line(event.reason)
            case control.BatchPicture():
                pictures.draw_batch(event.image, event.labels, event.offset, event.stride, event.path)
            case control.FilterPicture():
                pictures.draw_filters(event.weights, event.path)
            case control.Warned():
                self.display.warn(event.text)
            case _:
                pass

    def _draw(self, preview: Preview) -> None:
        from elektronn.report.learning import draw_preview

        picture = self.state / "previews" / f"step_{preview.step:08d}.png"
        draw_preview(preview.image, preview.probability, preview.labels, picture)

    def _draw_planes(self, planes: Planes) -> None:
        """A file per plane and class, and one per plane of the image, which stays the same and is drawn once."""
        from elektronn.report.learning import draw_plane

        folder = self.state / "previews"
        for z, image in enumerate(planes.image, planes.z):
            if not (raw := folder / f"{planes.name}_z{z:04d}.png").exists():
                draw_plane(image, raw)
        for index, probability in planes.probability.items():
            for z, plane in enumerate(probability, planes.z):
                draw_plane(plane, folder / f"{planes.name}_z{z:04d}_class_{index}_step_{planes.step:08d}.png")


def _row(values: dict[str, float]) -> str:
    """The status line: a row of the history for people."""
    parts = [f"step {int(values['step'])}"]
    names = {"loss": "loss", "train_error": "train error", "valid_error": "valid error"}
    parts += [f"{text} {values[key]:.4g}" for key, text in names.items() if key in values]
    if "label_mean" in values:
        parts.append(f"labels {values['label_mean']:.4g}")
    if "diff" in values:
        parts.append(f"diff {values['diff']:+.2e}")
    if "rate" in values:
        parts.append(f"rate {values['rate']:.4g}")
    if "steps_per_s" in values:
        parts.append(f"{values['steps_per_s']:.1f} it/s, data wait {values['data_wait']:.1%}")
    return "  ".join([*parts, _duration(values["seconds"])])


def _duration(seconds: float) -> str:
    """Seconds for people.

    Example:
        >>> [_duration(seconds) for seconds in (25, 600, 5400)]
        ['25 s', '10.0 min', '1.5 h']
    """
    if seconds > 4000:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds > 300 else f"{seconds:.0f} s"
