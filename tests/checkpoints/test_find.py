import logging
from pathlib import Path
from typing import Any

import pytest

from triptych.checkpoints.find import find_checkpoint, is_run, step_folders, step_name
from triptych.checkpoints.format import write_checkpoint
from triptych.errors import UserError


@pytest.fixture
def store(folder: Path, checkpoint: dict[str, Any]) -> Path:
    for name in ("step_0000080", "step_0000080.2", "step_0000090"):
        write_checkpoint(folder / name, checkpoint)
    (folder / "last").symlink_to("step_0000080")
    (folder / "best").symlink_to("step_0000070")
    return folder


def test_every_way_to_name_a_checkpoint_finds_it(store: Path) -> None:
    for path in (store.parent, store, store / "last", store / "step_0000080"):
        assert find_checkpoint(path) == store / "step_0000080"
    assert find_checkpoint(store.parent, prefer=("best", "last")) == store / "step_0000070"
    assert find_checkpoint(store / "best") == store / "step_0000070"


def test_second_saves_of_a_step_come_after_the_first(store: Path) -> None:
    assert [entry.name for entry in step_folders(store)] == [
        "step_0000070",
        "step_0000080",
        "step_0000080.2",
        "step_0000090",
    ]
    assert step_name(80) == "step_0000080"
    assert step_name(80, 2) == "step_0000080.2"


def test_a_link_copied_as_a_folder_is_still_found(store: Path) -> None:
    (store / "last").unlink()
    (store / "step_0000090").rename(store / "last")
    assert find_checkpoint(store.parent) == store / "last"


def test_without_links_the_newest_whole_folder_counts_with_a_warning(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (store / "last").unlink()
    (store / "step_0000090" / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(store.parent) == store / "step_0000080.2"
    assert "has no last; the newest whole checkpoint is step_0000080.2" in caplog.text


def test_a_damaged_last_is_an_error_that_names_the_newest_whole_one(store: Path) -> None:
    (store / "step_0000080" / "model.safetensors").write_bytes(b"")
    (store / "step_0000090" / "ema.safetensors").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"model\.safetensors is damaged: 0 bytes.*newest other whole checkpoint is .*step_0000080\.2"
    ):
        find_checkpoint(store.parent)


def test_a_link_to_nothing_is_an_error_that_names_the_newest_whole_one(store: Path) -> None:
    (store / "last").unlink()
    (store / "last").symlink_to("step_0000100")
    for path in (store.parent, store / "last"):
        with pytest.raises(UserError, match=r"points at step_0000100, which is not there.*step_0000090"):
            find_checkpoint(path)


@pytest.mark.parametrize("target", ["/etc", "../../outside/step_0000001", "../step_0000001", "best", "."])
def test_a_link_out_of_its_folder_is_refused(store: Path, target: str) -> None:
    (store / "last").unlink()
    (store / "last").symlink_to(target)
    with pytest.raises(UserError, match="may only point at a step folder beside it"):
        find_checkpoint(store.parent)


def test_a_step_folder_that_is_a_link_is_refused(store: Path, tmp_path: Path) -> None:
    (store / "step_0000080").rename(tmp_path / "outside")
    (store / "step_0000080").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="points at step_0000080, which is not there"):
        find_checkpoint(store.parent)


def test_checkpoints_outside_the_run_are_refused(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "other"
    run.mkdir()
    (run / "checkpoints").symlink_to(store)
    with pytest.raises(UserError, match="out of the run directory"):
        find_checkpoint(run)


def test_a_folder_without_checkpoints_says_what_was_expected(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    with pytest.raises(UserError, match="holds no checkpoint: expected a run directory"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "step_0000001").mkdir(parents=True)
    with pytest.raises(UserError, match="no save there ever finished"):
        find_checkpoint(tmp_path)
