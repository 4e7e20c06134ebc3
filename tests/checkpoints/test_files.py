"""The order of calls that a power cut cannot break: no kill shows it, since the kernel's cache outlives a process."""

import os
from pathlib import Path
from typing import Any

import pytest

from triptych.checkpoints.files import clean_staging, make_folder, new_folder, publish_link, remove_folder, write_file
from triptych.checkpoints.format import write_checkpoint
from triptych.errors import UserError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every fsync, rename and symlink from here on, with the names it was given (temporary ones shortened)."""
    seen: list[tuple[str, ...]] = []

    def short(path: Any) -> str:
        name = Path(path).name
        return name.split("-")[0] + "-" + name.split("-")[1] if name.startswith(".tmp-") else name

    def watched(call: str) -> Any:
        real = getattr(os, call)

        def spy(*args: Any, **named: Any) -> Any:
            paths = [os.readlink(f"/proc/self/fd/{args[0]}")] if call == "fsync" else args[:2]
            seen.append((call, *map(short, paths)))
            return real(*args, **named)

        return spy

    for call in ("fsync", "rename", "replace", "symlink"):
        monkeypatch.setattr(os, call, watched(call))
    return seen


def test_files_and_folder_are_durable_before_the_name_and_the_name_before_the_link(
    tmp_path: Path, checkpoint: dict[str, Any], calls: list[tuple[str, ...]]
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    write_checkpoint(store / "step_0000001", checkpoint)
    publish_link(store / "last", "step_0000001")
    files = [
        "model.safetensors",
        "ema.safetensors",
        "training.safetensors",
        "state.json",
        "config.json",
        "manifest.json",
    ]
    assert calls == [
        *(("fsync", name) for name in files),
        ("fsync", ".tmp-step_0000001"),
        ("rename", ".tmp-step_0000001", "step_0000001"),
        ("fsync", "store"),
        ("symlink", "step_0000001", ".tmp-last"),
        ("replace", ".tmp-last", "last"),
        ("fsync", "store"),
    ]


def test_new_folders_are_durable_from_the_top(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert calls == [("fsync", tmp_path.name), ("fsync", "a")]


def test_what_is_written_is_hashed_as_it_is(tmp_path: Path) -> None:
    written = write_file(tmp_path / "file", [b"ab", memoryview(b"c"), b""])
    assert (tmp_path / "file").read_bytes() == b"abc"
    assert (written.size, written.sha256[:8]) == (3, "ba7816bf")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file", [])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_whose_filling_fails_vanishes(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "made") as staging:
            (staging / "file").write_text("half")
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_link_moves_and_never_replaces_a_folder(tmp_path: Path) -> None:
    publish_link(tmp_path / "last", "one")
    publish_link(tmp_path / "last", "two")
    assert os.readlink(tmp_path / "last") == "two"
    (tmp_path / "best").mkdir()
    with pytest.raises(OSError, match="directory"):
        publish_link(tmp_path / "best", "two")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best", "last"]


def test_removal_and_cleaning_stay_in_their_folder(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    outside, store = tmp_path / "outside", tmp_path / "store"
    for folder in (outside, store / "step_0000001", store / ".tmp-step_0000002-1-1"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("kept")
    (store / ".tmp-link").symlink_to(outside)
    (store / "step_0000001" / "link").symlink_to(outside)
    remove_folder(store / "step_0000001")
    assert ("rename", "step_0000001", ".tmp-step_0000001") in calls  # never half there under its own name
    assert clean_staging(store) == [".tmp-link", ".tmp-step_0000002-1-1"]
    assert list(store.iterdir()) == []
    assert (outside / "file").read_text() == "kept"


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").symlink_to("nowhere")
    with pytest.raises(UserError, match="exists already and is not overwritten"), new_folder(tmp_path / "made"):
        pass
