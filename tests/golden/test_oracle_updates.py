"""Parameters of networks after updates by the original programs' optimisers: same start, same batch, same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.legacy.elektronn1 import convert
from elektronn.network.build import Network, build
from elektronn.network.weights import load_model
from elektronn.training.losses import nll, regression
from elektronn.training.optimiser_cg import ConjugateGradient
from elektronn.training.optimisers import make_optimiser
from elektronn.training.settings import AdaDelta, AdaGrad, Adam, Lbfgs, Optimiser, Rprop, Sgd
from elektronn.training.settings import ConjugateGradient as CgSettings
from tests.golden.test_oracle_elektronn1 import arrays, as_input, as_labels, cases, labels_of, network_of
from tests.golden.test_oracle_elektronn2 import cases as cases2
from tests.golden.test_oracle_elektronn2 import converted

Loss = Callable[[], torch.Tensor]

FIRST = {name: case for name, case in cases().items() if case.get("updates")}
SECOND = {name: case for name, case in cases2().items() if case.get("updates")}
NORMED = SECOND.pop("e2_batchnorm")
"""Batch normalisation is not in the chains that :func:`chain2` makes."""


def elektronn1(name: str, case: dict[str, Any]) -> Optimiser:
    """Our settings of an original optimiser."""
    said, decay = case["optimiser_parameters"], case["optimiser_parameters"]["weight_decay"]
    mine = said.get(f"{name}_params")
    match name:
        case "SGD":
            return Sgd(rule="elektronn1", rate=mine["LR"], momentum=mine["momentum"], weight_decay=decay)
        case "RPROP":
            steps = {"gain": mine["gain"], "penalty": mine["penalty"], "initial": mine["initial_update_size"]}
            return Rprop(**steps, weight_decay=decay)
        case "Adam":
            betas = {"beta1": mine["beta1"], "beta2": mine["beta2"]}
            return Adam(rule="elektronn1", rate=mine["LR"], epsilon=mine["epsilon"], **betas)
        case "CG":
            limits = {key: mine[key] for key in ("alpha", "beta", "max_step", "min_step")}
            return CgSettings(searches=mine["n_steps"], **limits)
        case _:
            return Lbfgs(
                iterations=mine["maxiter"],
                evaluations=mine["maxfun"],
                memory=mine["m"],
                reduction=mine["factr"],
                gradient=mine["pgtol"],
            )


def elektronn2(name: str, case: dict[str, Any]) -> Optimiser:
    """Our settings of an original optimiser."""
    said = case["optimiser_parameters"]
    common: dict[str, Any] = {"rule": "elektronn2", "rate": said["lr"], "weight_decay": said["wd"]}
    match name:
        case "SGD":
            return Sgd(momentum=said["mom"], **common)
        case "AdaGrad":
            return AdaGrad(**common)
        case "AdaDelta":
            return AdaDelta(rho=said["mom"], **common)
        case _:
            return Adam(beta1=said["mom"], beta2=said["beta2_Adam"], **common)


def updated(
    settings: Optimiser, network: Network, loss: Loss, count: int
) -> tuple[torch.optim.Optimizer, list[float], list[dict[str, torch.Tensor]]]:
    """The optimiser, the losses that it told and the weights after each update."""
    optimiser = make_optimiser(settings, dict(network.named_parameters()))

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    losses, weights, timeline = [], [], []
    for _ in range(count):
        losses.append(float(optimiser.step(closure)))
        weights.append({name: value.clone() for name, value in network.state_dict().items()})
        timeline += optimiser.timeline if isinstance(optimiser, ConjugateGradient) else []
    if isinstance(optimiser, ConjugateGradient):
        optimiser.timeline = timeline
    return optimiser, losses, weights


def loss_of(case: dict[str, Any], network: Network) -> Loss:
    """The original's loss on the batch of the updates."""
    data, batch = arrays(case), case["updates_batch"]
    run = network.dense if case["config"].get("MFP") else network
    image = as_input(data[batch["x"]], case["input"]["axis_order"])
    if case["config"].get("target") == "regression":
        targets = torch.from_numpy(data[batch["labels"]])[..., None, None, None]
        return lambda: regression(run(image), targets)
    labels = labels_of(data, batch["labels"], case["output"]["axis_order"])
    given = batch["class_weights"]
    class_weights = None if given is None else torch.tensor(given)
    return lambda: nll(run(image), labels, class_weights=class_weights)


def after(case: dict[str, Any], name: str, count: int) -> dict[str, torch.Tensor]:
    """The original's parameters after so many updates, as ours."""
    keys = [{**w, "key": w["key"].replace("w.", f"upd.{name}.{count}.", 1)} for w in case["weights"]]
    return network_of({**case, "weights": keys}).state_dict()


@pytest.mark.parametrize("optimiser", ["SGD", "RPROP", "Adam", "CG"])
@pytest.mark.parametrize("name", FIRST)
def test_updates_of_elektronn1(name: str, optimiser: str) -> None:
    case, said = FIRST[name], FIRST[name]["updates"][optimiser]
    network = network_of(case)
    made, losses, weights = updated(elektronn1(optimiser, case), network, loss_of(case, network), 3)
    tolerance = case["tolerances"]["updates_abs"][optimiser]
    np.testing.assert_allclose(losses, said["loss_returned_by_step"], rtol=1e-4, atol=tolerance)
    for count in (1, 3):
        for key, expected in after(case, optimiser, count).items():
            np.testing.assert_allclose(weights[count - 1][key], expected, rtol=0, atol=tolerance, err_msg=key)
    if isinstance(made, ConjugateGradient):
        rows = [[s.loss, s.step, s.coefficient, s.evaluations] for s in made.timeline]
        np.testing.assert_allclose(rows, said["CG_timeline"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FIRST)
def test_losses_of_lbfgs_in_elektronn1(name: str) -> None:
    """Its parameters stay at the last point that was tried, so only the losses are compared."""
    case, said = FIRST[name], FIRST[name]["updates"]["LBFGS"]["loss_returned_by_step"]
    network = network_of(case)
    _, losses, _ = updated(elektronn1("LBFGS", case), network, loss_of(case, network), 3)
    np.testing.assert_allclose(losses, said, rtol=2e-3, atol=1e-6)


def chain2(case: dict[str, Any], keys: str) -> tuple[Network, dict[str, torch.Tensor]]:
    """Our network of a chain of ELEKTRONN2, and its weights under the keys ``keys``."""
    data = arrays(case)
    rows = [d for d in case["descriptors"] if d["cls"] in ("Conv", "Perceptron")]
    old, pools, activations = [], [], []
    for row in rows:
        weight = data[f"{keys}.{row['name']}.w"]
        # (n_out, ch, z, x, y) here, (n_out, z, ch, x, y) in ELEKTRONN 1
        old.append({"W": weight.swapaxes(1, 2) if weight.ndim == 5 else weight, "b": data[f"{keys}.{row['name']}.b"]})
        activations.append(row["kwargs"].get("activation_func", "relu"))
        if row["cls"] == "Conv":
            pools.append(row["args"][3] if len(row["args"]) > 3 else 1)
    document, weights = convert(
        old,
        pools=pools,
        activations=activations,
        poolings=["max"] * len(old),
        patch=case["descriptors"][0]["args"][0][2:],
    )
    network = build(document)
    tensors = {key: torch.from_numpy(value.copy()) for key, value in weights.items()}
    network.load_state_dict(tensors)
    return network, tensors


def loss2(case: dict[str, Any], network: Network) -> Loss:
    """The original's loss on the batch of the updates."""
    data, spatial = arrays(case), len(case["descriptors"][0]["args"][0]) - 2
    order = {2: "bs,ch,x,y", 3: "bs,ch,z,x,y"}[spatial]
    x = data["in.raw"]
    image = as_input(x.swapaxes(1, 2), "bs,z,ch,x,y") if spatial == 3 else as_input(x, order)
    target = data[case["updates_batch"]]
    if case["id"] == "e2_regression_losses":
        wanted = as_input(target, order)
        return lambda: mixed_regression(network(image), wanted)
    kind = "bs,class" if target.ndim == 2 else {2: "bs,class,x,y", 3: "bs,class,z,x,y"}[spatial]
    labels = as_labels(target[:, 0], kind)
    (said,) = [d["kwargs"]["class_weights"] for d in case["descriptors"] if d["cls"] == "MultinoulliNLL"]
    class_weights = None if said is None else torch.tensor(said)
    return lambda: nll(network(image), labels, class_weights=class_weights, epsilon=1e-5)


def mixed_regression(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of 0.7 × half squared and 0.3 × absolute differences where the target is not −666."""
    known = targets != -666
    difference = torch.where(known, outputs - targets, 0.0)
    scale = 1 / (known.sum() + 1)
    return 0.5 * (0.7 * 0.5 * (difference**2).sum() + 0.3 * difference.abs().sum()) * scale


@pytest.mark.parametrize("optimiser", ["SGD", "AdaGrad", "AdaDelta", "Adam"])
@pytest.mark.parametrize("name", SECOND)
def test_updates_of_elektronn2(name: str, optimiser: str) -> None:
    case, said = SECOND[name], SECOND[name]["updates"][optimiser]
    network, _ = chain2(case, "w")
    _, losses, weights = updated(elektronn2(optimiser, case), network, loss2(case, network), 3)
    tolerance = case["tolerances"]["updates_abs"][optimiser]
    for found, expected in zip(losses, said["loss_before_each_step"]):
        assert expected is None or found == pytest.approx(expected, rel=1e-4, abs=tolerance)
    assert np.isfinite(losses).all()
    # there, AdaGrad divided by 0 where no gradient came, and one such weight spoils the following updates
    compared = 0
    for count in (1, 3) if None not in said["loss_before_each_step"] else (1,):
        for key, expected in chain2(case, f"upd.{optimiser}.{count}")[1].items():
            sound = expected.isfinite()
            np.testing.assert_allclose(weights[count - 1][key][sound], expected[sound], rtol=0, atol=tolerance)
            compared += int(sound.sum())
    assert compared > 100


@pytest.mark.parametrize("optimiser", ["SGD", "AdaGrad", "AdaDelta", "Adam"])
def test_updates_with_batch_normalisation(optimiser: str, tmp_path: Path) -> None:
    """Weight decay takes three times from gamma; mean and deviation follow the batch."""
    network = load_model(converted(NORMED, tmp_path)).network.train()
    _, losses, weights = updated(elektronn2(optimiser, NORMED), network, loss2(NORMED, network), 3)
    tolerance = NORMED["tolerances"]["updates_abs"][optimiser]
    expected = NORMED["updates"][optimiser]["loss_before_each_step"]
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=tolerance)
    data, names = arrays(NORMED), {"gamma": "gamma", "b": "bias", "mean": "mean", "std": "deviation"}
    for count in (1, 3):
        for node in ("conv", "conv1", "conv2"):
            kernel = data[f"upd.{optimiser}.{count}.{node}.w"].swapaxes(2, 3)[:, :, None, ::-1, ::-1]
            np.testing.assert_allclose(weights[count - 1][f"layers.{node}.weight"], kernel, rtol=0, atol=tolerance)
        for node in ("conv", "conv1"):
            for theirs, mine in names.items():
                found = weights[count - 1][f"layers.{node}_norm.{mine}"]
                known = data[f"upd.{optimiser}.{count}.{node}.{theirs}"]
                np.testing.assert_allclose(found, known, rtol=0, atol=tolerance, err_msg=f"{node} {mine}")
