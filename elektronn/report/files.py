"""Read the small files of a run. One that is not there becomes a sentence, one that is damaged an error."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from elektronn.errors import DataError
from elektronn.report.content import Row


class Files:
    """Reads files; ``missing`` collects sentences about those that are not there."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def there(self, path: Path | None, name: str) -> Path | None:
        """The path if there is such a file."""
        if path is not None and path.exists():
            return path
        self.missing.append(f"no {name}" + (f": {path} does not exist" if path else " was given"))
        return None

    def mapping(self, path: Path | None, name: str) -> Mapping[str, Any]:
        """A JSON object; empty where there is no such file.

        Raises:
            DataError: the file holds something else.
        """
        return self._read(path, name, json.loads, "JSON", "JSON object")

    def settings(self, path: Path | None, name: str) -> Mapping[str, Any]:
        """Resolved settings as YAML; empty where there is no such file.

        Raises:
            DataError: the file holds something else.
        """
        return self._read(path, name, lambda text: yaml.safe_load(text) or {}, "YAML", "sections")

    def _read(
        self, path: Path | None, name: str, parse: Callable[[str], Any], language: str, content: str
    ) -> Mapping[str, Any]:
        found = self.there(path, name)
        if found is None:
            return {}
        try:
            value = parse(found.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"{found}: cannot be read as {language} ({error}); make the {name} again") from error
        if not isinstance(value, dict):
            raise DataError(f"{found}: holds no {content}; make the {name} again")
        return value

    def table(self, path: Path | None, name: str) -> tuple[Row, ...]:
        """The rows of a CSV table; none where there is no such file.

        Raises:
            DataError: the file is no table.
        """
        found = self.there(path, name)
        if found is None:
            return ()
        try:
            with found.open(encoding="utf-8", newline="") as file:
                return tuple(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{found}: cannot be read as a table ({error}); make the {name} again") from error

    def journal(self, path: Path | None, name: str) -> tuple[Mapping[str, Any], ...]:
        """The whole lines of a journal (JSON lines); a crash may have cut one off.

        Raises:
            DataError: the file cannot be read.
        """
        found = self.there(path, name)
        if found is None:
            return ()
        try:
            lines = found.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise DataError(f"{found}: cannot be read ({error}); make the {name} again") from error
        rows = []
        for line in lines:
            with suppress(ValueError):
                row = json.loads(line)
                rows += [row] if isinstance(row, dict) and "event" in row else []
        return tuple(rows)
