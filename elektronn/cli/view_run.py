"""``elektronn view RUN``: find the volumes, then Neuroglancer, napari, a window or a picture."""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from elektronn.artefacts import prepare
from elektronn.cli.options import params_of
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError
from elektronn.registry import nearest
from elektronn.viewing.run import Run, run_of, sources_of
from elektronn.viewing.scene import Scene, Source, kind_held, kind_of, scene_of
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.table import Row, data_root, rows_of


def view_run(given: argparse.Namespace) -> None:
    """Show the volumes of a run."""
    display = Display("view", given.log)
    sources = _sources(given)
    if given.scroll or given.save:
        first = next(iter(sources))
        if others := [name for name in sources if name != first]:
            display.line(f"volume {first}; with --volume: {', '.join(others)}")
        sources = {first: sources[first]}
    scenes = tuple(scene_of(name, found) for name, found in sources.items())
    for scene in scenes:
        for note in scene.notes:
            display.warn(f"{scene.name}: {note}")
    if given.scroll or given.save:
        _sections(given, scenes[0], display)
    elif given.napari:
        _napari(scenes, display, only_print=given.print)
    elif given.print:
        from elektronn.viewing.web import state_of

        print(json.dumps({scene.name: state_of(scene) for scene in scenes}, indent=2))
    else:
        _serve(given, scenes, display)


def _sources(given: argparse.Namespace) -> dict[str, list[Source]]:
    """What is to be seen, by name of the volume."""
    run = run_of(given.run)
    if isinstance(run, Address):
        found = {run.path.stem: [Source(kind_held(run), run)]}
    else:
        found = sources_of(run, _rows(given, run))
    if given.volume is not None:
        if given.volume not in found:
            raise ConfigError(f"--volume {given.volume}: not one of this run: {nearest(given.volume, found)}")
        found = {given.volume: found[given.volume]}
    more = [Source(kind_of(kind), parse_address(text)) for kind, text in given.layer]
    if more and len(found) > 1:
        raise ConfigError(f"--layer: this run has several volumes ({', '.join(found)}); choose one with --volume")
    return {name: [*sources, *more] for name, sources in found.items()}


def _rows(given: argparse.Namespace, run: Run) -> Mapping[str, Row]:
    """The table of volumes of the run's project, if it has one."""
    here = run.root / "params.yaml"
    if given.params is None and here.is_file():
        given.params = here
    params = params_of(given)
    volumes = params.volumes
    if isinstance(volumes, str):
        if not (run.root / volumes).is_file():
            return {}
        volumes = str(run.root / volumes)
    root = data_root(str(run.root / Path(params.data_root).expanduser()))
    return {row.name: row for row in rows_of(volumes, root)}


def _sections(given: argparse.Namespace, scene: Scene, display: Display) -> None:
    from elektronn.viewing.lazy import opened
    from elektronn.viewing.scroller import save, scroll
    from elektronn.viewing.sections import Sections

    numbers = given.section or (sum(z for z, *_ in scene.focus) // 2,)
    with opened(scene.layers) as volumes:
        sections = Sections(scene, volumes)
        if given.save:
            prepare(given.save)
            save(sections, numbers, given.save)
            shown = ", ".join(layer.name for layer in scene.layers)
            display.line(f"{given.save}: volume {scene.name}, z = {', '.join(map(str, numbers))}: {shown}")
        else:
            scroll(sections, numbers[0])


def _napari(scenes: tuple[Scene, ...], display: Display, *, only_print: bool) -> None:
    from elektronn.viewing.napari import program, show

    hindrance = "" if only_print else show(scenes)
    if only_print or hindrance:
        print(program(scenes))
    if hindrance:
        display.line(f"{hindrance}; the program above shows the volumes where napari and elektronn are")


def _serve(given: argparse.Namespace, scenes: tuple[Scene, ...], display: Display) -> None:
    """Neuroglancer until Ctrl-C."""
    from elektronn.viewing.web import served

    with served(scenes, given.host, given.port) as urls:
        for scene, url in zip(scenes, urls):
            print(f"{scene.name}: {url}", flush=True)
        if os.environ.get("SSH_CONNECTION") and given.host == "127.0.0.1":
            port = urls[0].split(":")[2].split("/")[0]
            display.line(f"from your own machine: ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}")
        display.line("Ctrl-C ends")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            display.line("ended")
