"""Around every test: a canary that no code may make, and a folder that nobody may touch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .corpus import Scene, snapshot


@pytest.fixture(autouse=True)
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path / "here", tmp_path / "outside", tmp_path / "canary")
    made.here.mkdir()
    (made.outside / "folder").mkdir(parents=True)
    (made.outside / "letter.txt").write_text("dear diary")
    (made.outside / "folder" / "backup.tar").write_bytes(b"all my pictures")
    monkeypatch.chdir(made.here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made.here / "cache"))
    monkeypatch.setenv("TRIPTYCH_TEST_SECRET", "planted-secret")
    before = snapshot(made.outside)
    yield made
    assert not made.canary.exists(), "code of the corpus ran"
    assert snapshot(made.outside) == before, "something outside was touched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "outside"]
