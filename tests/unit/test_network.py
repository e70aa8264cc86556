"""Layers against their plain twins, the document, model files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.device import choose_device
from elektronn.network.document import Document, Node, layers, table
from elektronn.network.layers import convolve, convolve_plainly, folded, pool_dense, pool_strided
from elektronn.network.weights import load_model, save_model


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 1, 4)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3)])
@pytest.mark.parametrize("batch", [1, 2])
def test_convolution_over_planes_equals_the_plain_one(
    kernel: tuple[int, ...], dilation: tuple[int, int, int], batch: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 3, 7, 11, 13, generator=generator, requires_grad=True)
    weight = torch.randn(4, 3, *kernel, generator=generator, requires_grad=True)
    bias = torch.randn(4, generator=generator)
    fast = convolve(x, weight, bias, Size(*dilation))
    slow = convolve_plainly(x, weight, bias, Size(*dilation))
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    push = torch.rand(slow.shape, generator=generator)
    ours = torch.autograd.grad((fast * push).sum(), (x, weight))
    theirs = torch.autograd.grad((slow * push).sum(), (x, weight))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 3, 1), (3, 1, 4)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 2)])
def test_running_maxima_equal_dilated_max_pooling(pool: tuple[int, int, int], dilation: tuple[int, int, int]) -> None:
    x = torch.rand(1, 2, 9, 12, 14, generator=torch.Generator().manual_seed(1))
    theirs = F.max_pool3d(x, pool, stride=1, dilation=dilation)
    assert torch.equal(pool_dense(x, Size(*pool), Size(*dilation)), theirs)


@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2), (1, 1, 1)])
def test_strided_pooling_cuts_a_remainder(pool: tuple[int, int, int]) -> None:
    x = torch.rand(2, 3, 5, 7, 9, generator=torch.Generator().manual_seed(2))
    assert torch.equal(pool_strided(x, Size(*pool)), F.max_pool3d(x, pool))


def test_lists_of_different_length_are_refused_with_their_lengths() -> None:
    with pytest.raises(ValueError, match=r"kernels has 5, pools has 5, features has 2"):
        NetworkSettings(features=(4, 4))


def test_a_node_whose_parent_does_not_stand_before_it_is_refused() -> None:
    document = chain(NetworkSettings())
    swapped = Document(nodes=(document.nodes[0], *reversed(document.nodes[1:])))
    with pytest.raises(ConfigError, match="'output': parent 'conv5' does not stand before it"):
        layers(swapped)


def test_an_unknown_node_kind_names_the_nearest() -> None:
    nodes = (*chain(NetworkSettings()).nodes, Node(kind="convv", name="a", parents=("output",)))
    with pytest.raises(ConfigError, match="did you mean 'conv'"):
        layers(Document(nodes=nodes))


def test_table_counts_the_parameters_that_the_network_has() -> None:
    document = chain(NetworkSettings())
    rows = table(document, Size(7, 127, 127))
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in build(document).parameters()) == 73392


def test_model_file_gives_back_network_and_card_and_the_same_bytes(tmp_path: Path) -> None:
    network = build(chain(NetworkSettings()), seed=3)
    for name in ("a", "b"):
        save_model(tmp_path / name, network, {"fingerprint": "f", "other": [1, 2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = load_model(tmp_path / "a")
    assert model.card == {"fingerprint": "f", "other": [1, 2]}
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), model.network.parameters()))


def test_a_cut_off_model_file_is_a_data_error(tmp_path: Path) -> None:
    save_model(tmp_path / "a", build(chain(NetworkSettings()), seed=3), {})
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        load_model(tmp_path / "b")


def test_seed_decides_the_weights() -> None:
    one, same, other = (next(build(chain(NetworkSettings()), seed=s).parameters()) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_impossible_device_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="write auto, cpu, cuda"):
        choose_device("gpu0")
    with pytest.raises(ConfigError, match="usable CUDA devices"):
        choose_device("cuda:99")


@pytest.mark.parametrize("features", [1, 3])
def test_activations_are_stored_channels_last_from_the_first_layer_on(features: int) -> None:
    made = convolve(torch.rand(1, features, 5, 9, 9), torch.rand(4, features, 1, 3, 3), torch.zeros(4))
    assert folded(made).is_contiguous(memory_format=torch.channels_last)
