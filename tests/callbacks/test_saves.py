"""Which saves stay: `last` leads to what reads back, and nothing that is no save of this folder is ever removed."""

import os
from pathlib import Path

import pytest
import torch

from triptych.callbacks.saves import Saves
from triptych.checkpoints.find import find_checkpoint
from triptych.checkpoints.format import write_checkpoint
from triptych.checkpoints.manifest import DamagedError


def save(saves: Saves, step: int) -> Path:
    name = saves.free_name(step)
    saves.names.append(name)
    content = {"global_step": step, "state_dict": {"model.weight": torch.full((4, 4), float(step))}}
    write_checkpoint(saves.folder / name, content)
    return saves.folder / name


def test_a_save_that_does_not_read_back_is_not_published_and_nothing_goes(tmp_path: Path) -> None:
    saves = Saves(tmp_path, keep=1)
    good = save(saves, 1)
    saves.publish(good.name)
    torn = save(saves, 2)
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    saves.best = torn.name
    with pytest.raises(DamagedError, match=r"step_0000002/model\.safetensors is damaged"):
        saves.publish(torn.name)
    assert os.readlink(tmp_path / "last") == good.name
    assert not (tmp_path / "best").is_symlink()
    assert find_checkpoint(tmp_path) == good


def test_what_a_checkpoint_lists_outside_of_the_folder_stays(tmp_path: Path) -> None:
    other = Saves(tmp_path / "other", keep=1)
    theirs = save(other, 1)
    saves = Saves(tmp_path / "own", keep=1)
    own = save(saves, 1)
    saves.publish(own.name)
    saves.adopt(["../other/step_0000001", str(theirs), "..", own.name], 1)
    assert saves.names == [own.name]
    newer = save(saves, 2)
    saves.publish(newer.name)
    assert theirs.is_dir()
    assert not own.exists()
