"""Run directories are never shared, and a wrong one is named for what it is."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from triptych.errors import UserError
from triptych.rundir import RunDirectory, write_atomic

NOON = datetime(2026, 11, 22, 12, 0, 0)


def test_runs_that_start_in_the_same_second_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunDirectory.create(tmp_path, "train", "emoji", NOON), range(16)))
    assert len({run.path for run in runs}) == 16
    assert min(run.path for run in runs) == tmp_path / "train" / "emoji" / "2026-11-22_12-00-00"
    assert all(run.checkpoints.is_dir() and run.plots.is_dir() for run in runs)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\nb"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="run name"):
        RunDirectory.create(tmp_path, "train", name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_hold_what_hydra_trips_over(tmp_path: Path) -> None:
    assert RunDirectory.create(tmp_path, "train", "lr=0.1,größe (2)").path.is_dir()


def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    with pytest.raises(UserError, match=r"outputs/train/x.*Not a directory|outputs/train/x.*File exists"):
        RunDirectory.create(tmp_path / "outputs", "train", "x")


def test_open_suggests_the_nearest_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "train", "emoji", NOON)
    run.write_config("seed: 0\n")
    assert RunDirectory.open(run.path) == run
    with pytest.raises(UserError, match=r"Did you mean '.*2026-11-22_12-00-00'"):
        RunDirectory.open(run.path.with_name("2026-11-22_12-00-01"))
    with pytest.raises(UserError, match=r"Did you mean '.*/emoji'"):
        RunDirectory.open(tmp_path / "train" / "emojis" / "2026-11-22_12-00-00")
    with pytest.raises(UserError, match=r"no config\.yaml.*Run directories below it: .*12-00-00"):
        RunDirectory.open(tmp_path)
    with pytest.raises(UserError, match="It lies in one"):
        RunDirectory.open(run.checkpoints)
    with pytest.raises(UserError, match="is a file"):
        RunDirectory.open(run.config)


def test_a_run_without_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="before its first one"):
        RunDirectory.create(tmp_path, "train", "x").last_checkpoint()


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    write_atomic(target, "old")
    target.with_name("folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(target.with_name("folder"), "new")
    assert target.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "summary.json"]
