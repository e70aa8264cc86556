"""The embedded sample: synthetic EM cubes with cell IDs, made from a seed, so that everything runs without a download.

Neurite-like cells fill the volume; their membranes vary in thickness and contrast and blur where they lie flat in
a section. Inside the cells vesicles, mitochondria (with outlines as dark as membranes) and endoplasmic reticulum
distract; each section has its own brightness and contrast.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.settings import NotNegative, Positive, Settings, Triple, plain
from elektronn.volumes.hdf5 import create_hdf5

Field3 = NDArray[np.float32]
Ids = NDArray[np.uint32]
Raw = NDArray[np.uint8]

NotNegativeTriple = tuple[NotNegative, NotNegative, NotNegative]

VOXELS_PER_CELL = 26_000
"""Mean volume of a cell, in voxels of a cube of the in-plane voxel size."""

VOXELS_PER_MITOCHONDRION = 40_000
"""Volume searched for one mitochondrion, the same voxels."""


class SampleSettings(Settings):
    """What the sample is; triples are along z, y, x."""

    seed: NotNegative = 1
    """Everything is drawn from it: same seed, same bytes."""

    cubes: Positive = 3
    """How many pairs of image and IDs to make."""

    label_size: Triple = (28, 144, 144)
    """Voxels that have an ID."""

    margin: NotNegativeTriple = (6, 30, 30)
    """Voxels of image around the labelled centre, on each side."""

    voxel_nm: tuple[float, float, float] = (20.0, 10.0, 10.0)
    """Voxel size. Sizes of structures are fixed in x voxels; only the coarseness along z follows from it."""

    @property
    def image_size(self) -> Size:
        """Size of the image, zyx, voxels.

        Example:
            >>> SampleSettings().image_size
            Size(z=40, y=204, x=204)
        """
        return Size(*(n + 2 * m for n, m in zip(self.label_size, self.margin)))

    @property
    def pitch(self) -> tuple[float, float, float]:
        """Length of a voxel along z, y, x in units of the one along x.

        Raises:
            ConfigError: a voxel without extent.
        """
        z, y, x = self.voxel_nm
        if min(self.voxel_nm) <= 0:
            raise ConfigError(f"voxel_nm {self.voxel_nm}: write three lengths above 0, nanometres along z, y, x")
        return z / x, y / x, 1.0


def make_cube(settings: SampleSettings, index: int) -> tuple[Raw, Ids]:
    """Cube ``index`` of the sample; it does not depend on how many there are.

    Args:
        settings: what to make.
        index: 0 and up.

    Returns:
        The image, zyx uint8 of the full size, and the IDs of its centre, zyx uint32, of ``label_size``:
        1 to n without gaps, and 0 for extracellular space.

    Example:
        >>> tiny = SampleSettings(label_size=(4, 20, 20), margin=(1, 2, 2))
        >>> raw, ids = make_cube(tiny, 0)
        >>> raw.shape, ids.shape, raw.dtype.name, ids.dtype.name
        ((6, 24, 24), (4, 20, 20), 'uint8', 'uint32')
    """
    random = np.random.Generator(np.random.Philox(key=[settings.seed, index]))
    noise = Noise(random, settings.image_size, settings.pitch)
    cells = _cells(noise)
    raw = _image(noise, cells)
    centre = cells[tuple(slice(m, m + n) for m, n in zip(settings.margin, settings.label_size))]
    known, numbered = np.unique(centre, return_inverse=True)
    first = 0 if known[0] == 0 else 1
    return raw, (numbered.reshape(centre.shape) + first).astype(np.uint32)


def write_sample(settings: SampleSettings, index: int, path: Path | str) -> None:
    """Write cube ``index`` as HDF5 with the data sets ``raw`` and ``ids``; two runs give the same bytes.

    Raises:
        StorageError: disk full or no permission.
    """
    raw, ids = make_cube(settings, index)
    with writing(path) as part, create_hdf5(part) as (file, _):
        file.attrs["sample"] = json.dumps({**plain(settings), "index": index})
        for name, values, offset in (("raw", raw, (0, 0, 0)), ("ids", ids, settings.margin)):
            data = file.create_dataset(name, data=values, compression="gzip", compression_opts=4, track_times=False)
            data.attrs["axes"] = "zyx"
            data.attrs["voxel_nm"] = list(settings.voxel_nm)
            data.attrs["offset_vox"] = list(offset)


@dataclass(frozen=True)
class Noise:
    """Smooth random fields over one volume, all drawn from one generator.

    Attributes:
        random: the generator that everything in the cube is drawn from, in a fixed order.
        size: zyx, voxels.
        pitch: length of a voxel along z, y, x in x voxels.
    """

    random: np.random.Generator
    size: Size
    pitch: tuple[float, float, float]

    def __call__(self, scale: float, along_z: bool = True) -> Field3:
        """A Gaussian field of mean 0 and deviation 1, smooth over ``scale`` x voxels, periodic.

        Args:
            scale: deviation of the Gaussian that smooths it.
            along_z: smooth along z too; otherwise each section is drawn by itself.
        """
        from scipy import fft, ndimage

        axes = (0, 1, 2) if along_z else (1, 2)
        white = self.random.standard_normal(self.size, np.float32)
        sigma = [scale / p if axis in axes else 0.0 for axis, p in enumerate(self.pitch)]
        spectrum = ndimage.fourier_gaussian(fft.rfftn(white), sigma, n=self.size.x)
        field: Field3 = fft.irfftn(spectrum, self.size).astype(np.float32)
        field -= field.mean()
        field /= field.std() + np.float32(1e-6)
        return field

    def grid(self) -> Field3:
        """Position of each voxel, zyx + (3,), in x voxels."""
        ticks = [np.arange(n, dtype=np.float32) * np.float32(p) for n, p in zip(self.size, self.pitch)]
        return np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)


def _cells(noise: Noise) -> Ids:
    """Cell of each voxel: the nearest bead of one random walk per cell, in warped space; thick beads reach farther."""
    from scipy.spatial import cKDTree

    extent = np.array(noise.size) * noise.pitch
    walks, radii, owners = [], [], []
    for cell in range(1, max(8, round(float(np.prod(extent)) / VOXELS_PER_CELL)) + 1):
        outside = cell % 6 == 0
        walk = _walk(noise.random, extent)
        radius = 3.0 if outside else noise.random.lognormal(2.3, 0.5)
        walks.append(walk)
        radii.append((radius * (1 + 0.25 * noise.random.standard_normal(len(walk)))).clip(1.5, 34))
        owners.append(np.full(len(walk), 0 if outside else cell, np.uint32))
    weight = np.concatenate(radii) ** 2
    # distance² − radius² is, but for a constant, a squared distance in four dimensions
    beads = np.column_stack([np.concatenate(walks), np.sqrt(weight.max() - weight)])
    place = noise.grid()
    for axis in range(3):
        place[..., axis] += 7 * noise(14) + 1.5 * noise(4)
    flat = np.column_stack([place.reshape(-1, 3), np.zeros(noise.size.voxels, np.float32)])
    nearest = cKDTree(beads).query(flat)[1]
    owner: Ids = np.concatenate(owners)[nearest].reshape(noise.size)
    return owner


def _walk(random: np.random.Generator, extent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beads of one neurite, (n, zyx), x voxels: a stiff walk both ways from a random place."""
    heading = random.standard_normal(3)
    heading /= np.linalg.norm(heading)
    turns = np.cumsum(0.25 * random.standard_normal((random.integers(8, 40), 3)), axis=0)
    steps = 4 * (heading + turns) / np.linalg.norm(heading + turns, axis=1, keepdims=True)
    path: NDArray[np.float64] = np.cumsum(steps, axis=0)
    path += random.uniform(0, extent) - path[len(path) // 2]
    return path


def _image(noise: Noise, cells: Ids) -> Raw:
    """The image of ``cells``: cytoplasm, less what is dark, seen section by section through a noisy microscope."""
    from scipy import ndimage

    depth = _depth(cells, noise.pitch)
    shade = noise.random.normal(0.65, 0.085, int(cells.max()) + 1).astype(np.float32)
    shade[0] = 0.8
    density = shade[cells] + 0.05 * noise(2.5) + 0.04 * noise(8)
    dark = [organelle(noise, depth) for organelle in (_reticulum, _vesicles, _mitochondria)]
    density -= np.maximum.reduce(dark)
    density -= (density - 0.2).clip(0) * _membrane(noise, cells)
    return _microscope(noise, ndimage.gaussian_filter(density, (0.25, 0.9, 0.9)))


def _border(cells: Ids, *axes: int) -> NDArray[np.bool_]:
    """Voxels with a neighbour of another cell along ``axes``."""
    border = np.zeros(cells.shape, bool)
    for axis in axes:
        lines, marked = np.moveaxis(cells, axis, 0), np.moveaxis(border, axis, 0)
        differs = lines[1:] != lines[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
    return border


def _depth(cells: Ids, pitch: tuple[float, float, float]) -> Field3:
    """Distance of each voxel from the border of its cell, x voxels; 0 in extracellular space."""
    from scipy import ndimage

    inside = (cells != 0) & ~_border(cells, 0, 1, 2)
    depth: Field3 = ndimage.distance_transform_edt(inside, sampling=pitch).astype(np.float32)
    return depth


def _membrane(noise: Noise, cells: Ids) -> Field3:
    """Opacity of the membranes, 0 to 1: sharp where they stand upright in a section, a grey veil where they lie flat."""
    from scipy import ndimage

    far_sections = (1e3, 1, 1)  # so that distances are those within a section
    distance = ndimage.distance_transform_edt(~_border(cells, 1, 2), sampling=far_sections).astype(np.float32)
    width = (1.3 + 0.45 * noise(10)).clip(0.6, 2.6)
    veil = ndimage.gaussian_filter(_border(cells, 0).astype(np.float32), (0, 1.2, 1.2))
    contrast = (0.85 + 0.2 * noise(9)).clip(0.35, 1)
    opacity: Field3 = np.maximum(np.exp(-((distance / width) ** 2)), 0.55 * veil) * contrast
    return opacity


def _reticulum(noise: Noise, depth: Field3) -> Field3:
    """Darkness of the endoplasmic reticulum: thin sheets, here and there, away from the border."""
    sheet = np.exp(-((noise(8) / 0.13) ** 2))
    here = (2 * noise(12) - 0.6).clip(0, 1)
    dark: Field3 = 0.24 * sheet * here * (depth > 5)
    return dark


def _vesicles(noise: Noise, depth: Field3) -> Field3:
    """Darkness of vesicles: small rings, some filled, in clusters inside the cells."""
    crowd = (noise(12) > 0.4) & (depth > 3.5)
    centres = np.argwhere(crowd & (noise.random.random(noise.size, np.float32) < 0.025))
    filled = noise.random.random(len(centres)) < 0.15
    radius = noise.random.uniform(1.8, 2.6, len(centres))
    dark = np.zeros(noise.size, np.float32)
    for dz, dy, dx in np.ndindex(3, 9, 9):
        shift = np.array([dz - 1, dy - 4, dx - 4])
        distance = float(np.linalg.norm(shift * noise.pitch))
        spot = np.where(filled, np.exp(-((distance / 1.8) ** 2)), np.exp(-(((distance - radius) / 0.8) ** 2)))
        place = centres + shift
        known = ((place >= 0) & (place < noise.size)).all(axis=1)
        # one shift of distinct centres never meets a voxel twice, so no voxel is lost here
        index = tuple(place[known].T)
        dark[index] = np.maximum(dark[index], spot[known])
    return 0.36 * dark * (depth > 1.5)


def _mitochondria(noise: Noise, depth: Field3) -> Field3:
    """Darkness of mitochondria: ellipsoids with a dark outline and folds, fitted into the deep parts of the cells."""
    dark, folds, dent = np.zeros(noise.size, np.float32), np.abs(noise(1.8)) < 0.4, noise(6)
    deep = np.argwhere(depth > 7)
    count = round(float(depth.size * np.prod(noise.pitch)) / VOXELS_PER_MITOCHONDRION)
    for centre in deep[noise.random.integers(0, len(deep), count)] if len(deep) else ():
        short, long = noise.random.uniform(5, 9), noise.random.uniform(9, 22)
        direction = noise.random.standard_normal(3)
        direction /= np.linalg.norm(direction)
        low = [max(0, int(c - long / p)) for c, p in zip(centre, noise.pitch)]
        box = tuple(slice(a, int(c + long / p) + 1) for a, c, p in zip(low, centre, noise.pitch))
        offset = (np.argwhere(np.ones(depth[box].shape, bool)) + low - centre) * noise.pitch
        along = offset @ direction
        across = (offset**2).sum(axis=1) - along**2
        radius = np.sqrt((along / long) ** 2 + across.clip(0) / short**2).reshape(depth[box].shape)
        # in x voxels from the outline inwards; the cell's own membrane keeps its distance
        within = np.minimum((1 - radius) * short + dent[box], depth[box] - 3.5)
        body = np.where(within > 0, 0.2 + 0.1 * folds[box], 0) + 0.2 * np.exp(-((within / 1.1) ** 2))
        dark[box] = np.maximum(dark[box], body)
    return dark * (depth > 1.5)


def _microscope(noise: Noise, density: Field3) -> Raw:
    """Grey values: uneven illumination, brightness and contrast that jump from section to section, grain."""
    from scipy import ndimage

    sections = (noise.size.z, 1, 1)
    contrast, brightness = noise.random.normal(1, 0.08, sections), noise.random.normal(0, 0.03, sections)
    grain = ndimage.gaussian_filter(noise.random.standard_normal(noise.size, np.float32), (0, 0.5, 0.5))
    seen = (density - 0.5) * contrast + 0.5 + brightness + 0.03 * noise(60, along_z=False) + 0.1 * grain
    grey: Raw = (255 * seen).round().clip(0, 255).astype(np.uint8)
    return grey
