"""Lines of Python that users of ELEKTRONN type, read without running them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import elektronn.training.commands as say

NUMBERS: Mapping[str, str] = {
    "cnn.SGD_LR": "rate",
    "cnn.lr": "rate",
    "cnn.rate": "rate",
    "cnn.SGD_momentum": "momentum",
    "cnn.mom": "momentum",
    "cnn.global_weightdecay": "weight_decay",
    "cnn.wd": "weight_decay",
    "cnn.dropout_rates": "dropout",
    "config.dropout_rates": "dropout",
    "config.weight_decay": "weight_decay",
    "config.class_weights": "loss.class_weights",
    "config.label_prop_thresh": "loss.propagate",
    "config.SGD_params['LR']": "rate",
    "config.SGD_params['momentum']": "momentum",
}
"""What is assigned to → number of the plan."""

HISTORY = ("config.history_freq", "config.history_freq[0]", "config.history_every")

CALLS: Mapping[str, Callable[[list[Any]], say.Command]] = {
    "cnn.setDropoutRates": lambda given: say.SetValue("dropout", _numbers(given[0])),
    "cnn.setSGDLR": lambda given: say.SetValue("rate", _numbers(given[0])),
    "cnn.setSGDMomentum": lambda given: say.SetValue("momentum", _numbers(given[0])),
    "cnn.setWeightDecay": lambda given: say.SetValue("weight_decay", _numbers(given[0])),
    "cnn.saveParameters": lambda given: say.SaveNow(Path(given[0])),
    "cnn.loadParameters": lambda given: say.LoadWeights(Path(given[0])),
    "cnn.paramstats": lambda given: say.Describe("parameters"),
    "cnn.gradstats": lambda given: say.Describe("gradients"),
    "cnn.actstats": lambda given: say.Describe("activations"),
    "self.testModel": lambda given: say.Measure(str(given[0] if given else "valid")),
    "self.debugGetCNNBatch": lambda given: say.ShowBatch(),
    "cnn.getDropoutRates": lambda given: say.Ask("cnn.dropout_rates"),
}
"""Call → command, of its arguments."""


def spelled(text: str) -> say.Command | None:
    """The command that a documented spelling stands for; ``None`` for any other text.

    Example:
        >>> spelled("cnn.setDropoutRates([0.5, 0.25])")
        SetValue(name='dropout', value=(0.5, 0.25))
        >>> spelled("print self.testModel('test')")
        Measure(source='test')
        >>> spelled("data.warp.amount = 0.5")
        SetValue(name='warp.amount', value=0.5)
        >>> spelled("x = 5")
    """
    printed = re.fullmatch(r"print\s*\((.*)\)|print\s+(.*)", text)
    if printed:
        text = (printed[1] or printed[2] or "").strip()
    text = text.removesuffix(".get_value()")
    try:
        match ast.parse(text).body:
            case [ast.Assign(targets=[ast.Tuple() | ast.Name()], value=ast.Call() as call)]:
                return _call(call)
            case [ast.Assign(targets=[ast.Attribute() | ast.Subscript() as target], value=value)]:
                return _assigned(_bare(target), ast.literal_eval(value))
            case [ast.Expr(value=ast.Call() as call)]:
                return _call(call)
            case [ast.Expr(value=ast.Attribute() | ast.Subscript() | ast.Name() as value)]:
                return say.Ask(_bare(value))
    except (SyntaxError, ValueError, TypeError, IndexError, RecursionError):
        pass
    return None


def _bare(node: ast.expr) -> str:
    """A dotted name as text; ``self.cnn`` and the like are ``cnn``."""
    return re.sub(r"^self\.(cnn|data|config)\b", r"\1", ast.unparse(node))


def _assigned(name: str, value: Any) -> say.Command | None:
    root, _, rest = name.partition(".")
    if name in NUMBERS:
        return say.SetValue(NUMBERS[name], _numbers(value))
    if name in HISTORY:
        return say.SetHistory(value[0] if isinstance(value, list) else value)
    if root == "data" and "." in rest:
        return say.SetValue(rest, _numbers(value))
    # as the journal will give it back
    return say.SetData(rest, json.loads(json.dumps(value))) if root == "data" and rest.isidentifier() else None


def _call(call: ast.Call) -> say.Command | None:
    make = CALLS.get(_bare(call.func))
    return None if make is None or call.keywords else make([ast.literal_eval(part) for part in call.args])


def _numbers(value: Any) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)
