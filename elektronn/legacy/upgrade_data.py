"""The data of an old config: volumes, classes and sampling."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektronn.errors import ConfigError

Section = dict[str, Any]
Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Looks:
    """What only the files can tell.

    Attributes:
        base: folder that relative paths start from.
        image_axes: number of axes of a data set, or None where it cannot be looked at.
        classes: number of classes in labels: the largest of all plus one; None where they cannot be looked at.
        outputs: number of classes that a data class tells; None ditto.
    """

    base: Path
    image_axes: Callable[[Path, str], int | None]
    classes: Callable[[Sequence[tuple[Path, str]]], int | None]
    outputs: Callable[[Section], int | None]

    def path(self, text: str) -> Path:
        """A path of the config, from the folder where the command was given."""
        return self.base / Path(text).expanduser()


@dataclass(frozen=True)
class Data:
    """Sections on data.

    Attributes:
        volumes: entries of the table.
        sampling: section of the experiment.
        source: section of a class that gives the batches instead; empty for volumes.
        classes: number of outputs.
    """

    volumes: list[Section]
    sampling: Section
    source: Section
    classes: int


def data_of(said: Mapping[str, Any], look: Looks, say: Say) -> Data:
    """Sections on data from normalised options.

    Raises:
        ConfigError: nothing to train on, or something that is not there any more.
    """
    sampling: Section = {"batch_size": said["batch_size"], "workers": _workers(said)}
    if said["data_class_name"] is not None:
        source = _source(said, look)
        classes = _classes(said, lambda: look.outputs(source), say)
        return Data([], sampling | {"augment": []}, source, classes)
    names = _names(said)
    if not names:
        raise ConfigError("d_files: no files to train on; name at least one pair in d_files and l_files")
    images = [(look.path(said["data_path"] + file), key) for file, key in said["d_files"]]
    labels = [(look.path(said["label_path"] + file), key) for file, key in said["l_files"]]
    volumes = [
        _entry(name, image, label, said, look, i in said["valid_cubes"])
        for i, (name, image, label) in enumerate(zip(names, images, labels))
    ]
    if said["cube_prios"] is not None:
        weights = zip(names, said["cube_prios"])
        sampling["weights"] = {n: float(w) for i, (n, w) in enumerate(weights) if i not in said["valid_cubes"]}
    classes = _classes(said, lambda: look.classes(labels), say)
    sampling["augment"] = _augment(said, say)
    sampling |= _options(said, say)
    say("volumes", "files are named in full; labels are registered by their centres, as before")
    return Data(volumes, sampling, {}, classes)


def _classes(said: Mapping[str, Any], count: Callable[[], int | None], say: Say) -> int:
    """Number of outputs; counted in the data where the config does not say it."""
    if said["n_lab"] is not None:
        return int(said["n_lab"])
    found = count()
    if found is None:
        say("network.classes", "n_lab None counts the classes in the labels, which cannot be read here: 2 is a guess")
    return found or 2


def _workers(said: Mapping[str, Any]) -> int:
    given = said["background_processes"]
    return max(2, int(given)) if given else 0


def _names(said: Mapping[str, Any]) -> list[str]:
    """A name per image file, each once."""
    names: list[str] = []
    for file, key in said["d_files"]:
        stem = re.sub(r"[^A-Za-z0-9_]+", "_", Path(file).stem).strip("_") or "volume"
        options = [stem, f"{stem}_{re.sub('[^A-Za-z0-9_]+', '_', key)}", *(f"{stem}_{i}" for i in range(2, 9999))]
        names.append(next(name for name in options if name not in names))
    return names


def _entry(
    name: str,
    image: tuple[Path, str],
    label: tuple[Path, str],
    said: Mapping[str, Any],
    look: Looks,
    is_valid: bool,
) -> Section:
    order = "zcxy" if said["zchxy_order"] else "cxyz"
    if (look.image_axes(*image) or 3) == 3:
        order = order.replace("c", "")
    entry = {"name": name, "image": f"{image[0]}:{image[1]}", "labels": f"{label[0]}:{label[1]}"}
    return entry | {"axes": order, "role": "valid" if is_valid else "train"}


OWN = {"MNISTData": "elektronn.legacy.digits:MNISTData"}
"""Data classes of the original that are still there."""


def _source(said: Mapping[str, Any], look: Looks) -> Section:
    given = said["data_class_name"]
    if isinstance(given, str):
        name = OWN.get(given)
        if name is None:
            raise ConfigError(
                f"data_class_name: '{given}' did not come along; put the class into a file and write "
                f"data_class_name = ('file.py', '{given}') (known is {', '.join(OWN)})"
            )
    else:
        name = f"{look.path(given[0])}:{given[1]}"
    section: Section = {"name": name}
    if said["data_load_kwargs"]:
        section["load"] = dict(said["data_load_kwargs"])
    if said["data_batch_kwargs"]:
        section["batch"] = dict(said["data_batch_kwargs"])
    return section


def _augment(said: Mapping[str, Any], say: Say) -> list[Section]:
    """Components in the order of the original: warp, flips, grey values."""
    chain: list[Section] = []
    share = float(said["warp_on"])
    if 0 < share <= 1:
        chain.append({"kind": "warp", "probability": share, "perspective": 0.0})
        say("sampling.augment.warp", "3-D rotations go both ways, and warped images are interpolated (nearest before)")
    if said["flip_data"]:
        chain.append(_flip(said, say))
    if said["grey_augment_channels"]:
        chain.append({"kind": "grey", "channels": list(said["grey_augment_channels"])})
    return chain


def _flip(said: Mapping[str, Any], say: Say) -> Section:
    solid = said["n_dim"] == 3
    if said["upright_x"] and not solid:
        return {"kind": "flip", "z": False, "y": True, "x": False, "transpose": False}
    section: Section = {"kind": "flip", "z": solid, "y": True, "x": True, "transpose": True}
    if not said["anisotropic_data"]:
        section["isotropic"] = True
    patch = said["desired_input"]
    if not isinstance(patch, int) and patch[-1] != patch[-2]:
        section["transpose"] = False
        say("sampling.augment.flip", "x and y are not exchanged: the patch is not square")
    return section


def _options(said: Mapping[str, Any], say: Say) -> Section:
    section: Section = {}
    threshold = float(said["example_ignore_threshold"])
    if threshold:
        section["ignore_above"] = threshold
    if said["pre_process"] == "standardise":
        section["standardise"] = True
        say("sampling.standardise", "grey values are changed before, and prediction does the same to its images")
    if said["mode"] == "img-scalar":
        section["border"] = {"0-pad": "zero", "c-pad": "mean"}.get(said["border_mode"], said["border_mode"])
    if int(said["downsample_xy"] or 1) > 1:
        section["downsample"] = int(said["downsample_xy"])
        say("sampling.downsample", "a block of labels becomes its most frequent class, or -1 if any is -1")
    if said["lazy_labels"]:
        section["lazy_labels"] = True
    if said["use_example_weights"]:
        section["weights_from_last_channel"] = True
    return section
