"""A cache of its own for each test: what one has the teacher say, no other finds."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_DEPLOY_CACHE", str(tmp_path / "cache"))
