"""The recorded results of ELEKTRONN2's evaluation functions; where it was wrong, what a correct one returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.evaluation import elektronn2 as old

GOLDEN = json.loads((Path(__file__).parent / "elektronn2_evaluation.json").read_text())


def cases(name: str) -> Any:
    found = GOLDEN[name]
    return pytest.mark.parametrize("case", found if isinstance(found, list) else found["cases"])


def close(value: Any, rtol: float = 1e-9) -> Any:
    return pytest.approx(value, rel=rtol, abs=1e-12)


@cases("confusion_table")
def test_confusion_table(case: dict[str, Any]) -> None:
    assert old.confusion_table(case["labs"], case["preds"]) == tuple(case["expect"])
    if len({np.shape(lab) for lab in case["labs"]}) == 1:
        assert old.confusion_table(np.array(case["labs"]), np.array(case["preds"])) == tuple(case["expect"])


@cases("performance_measure")
def test_performance_measure(case: dict[str, Any]) -> None:
    if "raises" in case:
        with pytest.raises(ZeroDivisionError):
            old.performance_measure(*case["tp,tn,fp,fn"])
    else:
        assert old.performance_measure(*case["tp,tn,fp,fn"]) == close(tuple(case["expect"]))


@cases("eval_thresh")
def test_eval_thresh(case: dict[str, Any]) -> None:
    assert old.eval_thresh((case["thresh"], case["labs"], case["preds"])) == close(tuple(case["expect"]))


@cases("roc_area")
def test_roc_area(case: dict[str, Any]) -> None:
    assert old.roc_area(case["tpr"], case["fpr"]) == close(case["expect"])


@cases("find_nearest")
def test_find_nearest(case: dict[str, Any]) -> None:
    array = np.linspace(0, 1, 64) if isinstance(case["array"], str) else case["array"]
    assert old.find_nearest(array, case["value"]) == close(case["expect"])


@cases("evaluate")
def test_evaluate(case: dict[str, Any], tmp_path: Path) -> None:
    expect = case["expect"]
    found = old.evaluate(case["gt"], case["preds"], str(tmp_path / "a"), **case["kwargs"])
    assert found == close((expect["accuracy_at_thresh"], expect["roc_area"], expect["thresh"]))
    if "f1_at_thresh" in expect:
        assert old.eval_thresh((found[2], case["gt"], case["preds"]))[6] == close(expect["f1_at_thresh"])


@cases("error_hist")
def test_error_hist(case: dict[str, Any], tmp_path: Path) -> None:
    found, expect = old.error_hist(case["gt"], case["preds"], str(tmp_path / "a")), case["expect_fixed"]
    assert found.centres.tolist() == close(expect["centres"])
    assert [found.total.tolist(), found.pos.tolist(), found.neg.tolist()] == [
        expect[name] for name in ("total", "pos", "neg")
    ]


@cases("rescale_fudge")
def test_rescale_fudge(case: dict[str, Any]) -> None:
    given = np.array(case["pred"])
    assert old.rescale_fudge(given, case["fudge"]).tolist() == close(case["expect"])
    assert given.tolist() == case["pred"]


@cases("binary_nll")
def test_binary_nll(case: dict[str, Any]) -> None:
    kind: Any = list if case.get("as_list") else np.array
    assert old.binary_nll(kind(case["pred"]), kind(case["gt"])) == close(case["expect_fixed"])


@cases("rand_index")
def test_rand_index(case: dict[str, Any]) -> None:
    assert old.rand_index(case["true"], case["pred"]) == close(tuple(case["expect [V_rand, V_split, V_merge]"]))
