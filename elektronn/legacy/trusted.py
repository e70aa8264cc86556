"""A config run as a program, for those that cannot be read. Only on the user's explicit word (``--trust``)."""

from __future__ import annotations

import ast
import traceback
from pathlib import Path
from types import ModuleType

from elektronn.errors import ConfigError
from elektronn.legacy.expressions import Assignments


def run_config(source: bytes, file: Path) -> Assignments:
    """Run a config with this Python and take what it leaves: all names but modules, functions and classes.

    Raises:
        ConfigError: it fails; with line and reason.
    """
    names: dict[str, object] = {"__name__": "__config__", "__file__": str(file)}
    try:
        tree = ast.parse(source, str(file))
        exec(compile(tree, str(file), "exec"), names)
    except Exception as error:  # whatever a strange program may raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", 1)
        raise ConfigError(f"line {line}: fails when run ({type(error).__name__}: {error}); mend it") from error
    values = {
        name: value
        for name, value in names.items()
        if not name.startswith("__") and not isinstance(value, ModuleType) and not callable(value)
    }
    lines = {
        target.id: node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return Assignments(values, {name: lines.get(name, 1) for name in values}, frozenset(), ())
