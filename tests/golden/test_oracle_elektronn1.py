"""Networks that the original program ran: same inputs and weights, same outputs."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.legacy.elektronn1 import convert
from elektronn.network.build import Network, build
from elektronn.training.losses import error, nll, nll_weak, regression

SPEC = Path(os.environ.get("ELEKTRONN_SPEC", Path(__file__).parents[3] / "shared" / "spec"))
TOLERANCE = 1e-5


@cache
def cases() -> dict[str, dict[str, Any]]:
    file = SPEC / "oracle" / "cases.json"
    if not file.exists():
        return {}
    return {c["id"]: c for c in json.loads(file.read_text())["cases"] if c["kind"] == "elektronn1_net"}


def arrays(case: dict[str, Any]) -> Any:
    return np.load(SPEC / "oracle" / "data" / f"{case['id']}.npz")


def network_of(case: dict[str, Any]) -> Network:
    """Our network of a case, from the original's weights and options."""
    data, config = arrays(case), case["config"]
    count = 1 + max(w["layer"] for w in case["weights"])
    layers = [{w["name"]: data[w["key"]] for w in case["weights"] if w["layer"] == i} for i in range(count)]
    given = config.get("activation_func", "relu")
    activations = given if isinstance(given, list) else [given] * count
    if config.get("rnn_layer_kwargs"):
        activations = [config["rnn_layer_kwargs"]["activation_func"], *activations]
    poolings = config.get("pooling_mode", "max")
    solid = config.get("n_dim") == 3
    pools = [_turned(p, solid) for p in config.get("pool", [])]
    shape = case["input"]["shape"]
    patch = None if len(shape) < 4 else [shape[1], *shape[3:]] if solid else shape[2:]
    document, weights = convert(
        layers,
        pools=pools,
        activations=activations,
        poolings=poolings if isinstance(poolings, list) else [poolings] * count,
        patch=patch,
    )
    network = build(document)
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return network.eval()


def _turned(pool: Any, solid: bool) -> Any:
    """Configurations say x, y, z; the original's layers z, x, y."""
    return [pool[2], pool[0], pool[1]] if solid and isinstance(pool, list) else pool


def as_input(x: np.ndarray, order: str) -> torch.Tensor:
    """An original input as ``(b, c, z, y, x)``."""
    turned = {
        "bs,ch,x,y": lambda: x.transpose(0, 1, 3, 2)[:, :, None],
        "bs,z,ch,x,y": lambda: x.transpose(0, 2, 1, 4, 3),
        "bs,feat": lambda: x[..., None, None, None],
        "bs,time,feat": lambda: x.transpose(0, 2, 1)[..., None, None],
    }[order]()
    return torch.from_numpy(np.ascontiguousarray(turned, dtype=np.float32))


def as_original(y: np.ndarray, order: str) -> np.ndarray:
    """Our output ``(b, class, z, y, x)`` in the original's order."""
    return {
        "bs,class,x,y": lambda: y[:, :, 0].transpose(0, 1, 3, 2),
        "bs,class,z,x,y": lambda: y.transpose(0, 1, 2, 4, 3),
        "bs,class": lambda: y[:, :, 0, 0, 0],
        "bs,out": lambda: y[:, :, 0, 0, 0],
    }[order]()


if not cases():
    pytest.skip(f"no oracle in {SPEC}; set ELEKTRONN_SPEC to the folder that holds it", allow_module_level=True)


@pytest.mark.parametrize("name", cases())
def test_output_equals_the_original(name: str) -> None:
    case = cases()[name]
    data, network = arrays(case), network_of(case)
    run = network.dense if case["config"].get("MFP") else network
    with torch.inference_mode():
        scores = run(as_input(data["x"], case["input"]["axis_order"]))
        found = scores if case["output"]["array"] == "prediction" else torch.softmax(scores, 1)
    expected = data[case["output"]["array"]]
    ours = as_original(found.numpy(), case["output"]["axis_order"])
    np.testing.assert_allclose(ours, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", [n for n, c in cases().items() if c.get("dense")])
def test_dense_output_equals_the_original(name: str) -> None:
    case = cases()[name]
    data, network = arrays(case), network_of(case)
    solid = case["dense"]["image_axis_order"] == "ch,x,y,z"
    image = data["dense_image"]
    turned = image.transpose(0, 3, 2, 1) if solid else image.transpose(0, 2, 1)[:, None]
    with torch.inference_mode():
        found = torch.softmax(network.dense(torch.from_numpy(np.ascontiguousarray(turned))[None]), 1)[0].numpy()
    ours = found.transpose(0, 3, 2, 1) if solid else found[:, 0].transpose(0, 2, 1)
    np.testing.assert_allclose(ours, data["dense_prediction"], atol=TOLERANCE)


@pytest.mark.parametrize("name", [n for n, c in cases().items() if c.get("mfp")])
def test_dense_output_equals_max_fragment_pooling_of_the_original(name: str) -> None:
    case = cases()[name]
    data, network = arrays(case), network_of(case)
    with torch.inference_mode():
        found = torch.softmax(network.dense(as_input(data["mfp_x"], case["input"]["axis_order"])), 1).numpy()
    expected = data["mfp_class_probabilities"]
    np.testing.assert_allclose(as_original(found, case["output"]["axis_order"]), expected, atol=TOLERANCE)


def as_labels(y: np.ndarray, order: str) -> torch.Tensor:
    """Original labels, ``(bs)``, ``(bs, x, y)`` or ``(bs, z, x, y)``, as ``(b, z, y, x)``."""
    turned = {
        "bs,class,x,y": lambda: y.transpose(0, 2, 1)[:, None],
        "bs,class,z,x,y": lambda: y.transpose(0, 1, 3, 2),
        "bs,class": lambda: y[:, None, None, None],
    }[order]()
    return torch.from_numpy(np.ascontiguousarray(turned, dtype=np.int64))


@pytest.mark.parametrize("name", cases())
def test_losses_equal_the_original(name: str) -> None:
    case = cases()[name]
    data, network = arrays(case), network_of(case)
    run = network.dense if case["config"].get("MFP") else network
    order = case["output"]["axis_order"]
    with torch.inference_mode():
        scores = run(as_input(data["x"], case["input"]["axis_order"]))
    for said in case["losses"]:
        if case["config"].get("target") == "regression":
            found = regression(scores, torch.from_numpy(data[said["labels"]])[..., None, None, None])
            assert float(found) ** 0.5 == pytest.approx(said["error"], rel=TOLERANCE)
        else:
            labels = labels_of(data, said["labels"], order)
            weights = None if said["class_weights"] is None else torch.tensor(said["class_weights"])
            masks = {key.split("_")[-1]: torch.from_numpy(data[key]) for key in said["aux"]}
            loss = nll_weak if case["config"].get("target") == "nll_weak" else nll
            found = loss(scores, labels, class_weights=weights, **masks)
            if said["error"] is not None and order != "bs,class":
                assert error(scores, labels) == pytest.approx(said["error"], abs=1e-6)
        assert float(found) == pytest.approx(said["loss"], rel=TOLERANCE, abs=TOLERANCE)


def labels_of(data: Any, name: str, order: str) -> torch.Tensor:
    if name == "labels_all_ignored":
        return as_labels(np.full_like(data["labels"], -1), order)
    return as_labels(data[name], order)
