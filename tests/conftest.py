"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real EM volumes: ELEKTRONN_DATA, else ``shared/data`` beside the project."""
    folder = Path(os.environ.get("ELEKTRONN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "isbi2012_z00-23.h5").exists():
        pytest.skip(f"real volumes are not in {folder}; set ELEKTRONN_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def spec_data() -> Path:
    """Folder with the description of the ancestors and its recorded cases: ELEKTRONN_SPEC, else ``shared/spec`` beside the project."""
    folder = Path(os.environ.get("ELEKTRONN_SPEC", ROOT.parent / "shared" / "spec"))
    if not (folder / "oracle" / "cases.json").exists():
        pytest.skip(f"recorded cases are not in {folder}; set ELEKTRONN_SPEC to the folder that holds them")
    return folder
