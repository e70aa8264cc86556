"""Mission rows M021, M022, M026, M028, M029: what the arithmetic of an architecture promises."""

from __future__ import annotations

import pytest

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import geometry, layers


def test_M021_the_nearest_valid_input_is_chosen() -> None:
    reach = geometry(chain(NetworkSettings()))
    assert reach.input_at_most((30, 200, 127)) == Size(30, 199, 127)


def test_M022_geometry_of_neuro_3d() -> None:
    reach = geometry(chain(NetworkSettings()))
    assert reach.field == Size(5, 31, 31)
    assert reach.stride == Size(1, 4, 4)
    assert reach.outputs(reach.input_at_most((7, 127, 127))) == Size(3, 25, 25)
    assert reach.outputs((7, 127, 127)).voxels == 1875


def test_M026_an_even_field_of_view_is_refused_for_images() -> None:
    even = NetworkSettings(kernels=((1, 3, 3),) * 2, pools=((1, 2, 2),) * 2, features=(4, 4), patch=(1, 26, 26))
    with pytest.raises(GeometryError, match=r"field of view 1×10×10 \(zyx\) is even along y, x"):
        geometry(chain(even)).centred()


def test_M028_the_output_layer_is_added() -> None:
    rows = layers(chain(NetworkSettings(features=(4, 6, 4, 4, 4), classes=3)))
    assert len(rows) == 6
    assert (rows[-1].features, rows[-1].kernel, rows[-1].activation) == (3, Size(1, 1, 1), "linear")


def test_M029_neuro_3d_has_73392_parameters() -> None:
    assert sum(p.numel() for p in build(chain(NetworkSettings())).parameters()) == 73392
