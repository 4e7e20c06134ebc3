"""A run's copy in another storage: what its links name is whole at every moment, and comes back as it was."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from triptych.checkpoints.fetch import fetch
from triptych.checkpoints.files import publish_link, remove_folder
from triptych.checkpoints.find import step_name
from triptych.checkpoints.format import read_checkpoint, write_checkpoint
from triptych.checkpoints.mirror import Mirror
from triptych.errors import UserError

URL = "memory://runs"


@pytest.fixture(autouse=True)
def storage() -> Any:
    system = fsspec.filesystem("memory")
    assert isinstance(system, MemoryFileSystem)
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "outputs" / "train" / "tiny" / "2026-01-02_03-04-05"
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text("task: train\n")
    return path


def saved(run: Path, step: int, keep: int = 2) -> str:
    """A save of a step, published as a run publishes it."""
    name, folder = step_name(step), run / "checkpoints"
    checkpoint = {"state_dict": {"weight": torch.full((4,), float(step))}, "global_step": step}
    write_checkpoint(folder / name, checkpoint)
    publish_link(folder / "last", name)
    for old in sorted(each.name for each in folder.glob("step_*"))[:-keep]:
        remove_folder(folder / old)
    return name


def weight(path: Path) -> float:
    return float(read_checkpoint(path / "checkpoints" / "last")["state_dict"]["weight"][0])


def test_a_run_comes_back_as_it_was(run: Path, tmp_path: Path, storage: Any) -> None:
    mirror = Mirror(URL, run)
    mirror.begin()
    for step in (1, 2, 3, 4):
        saved(run, step)
        mirror.send()
        mirror.finish()
    (run / "metrics.csv").write_text("step\n4\n")
    mirror.send()
    mirror.finish()
    # Retention holds there, too.
    steps = [entry for entry in storage.ls(f"{mirror.url}/checkpoints", detail=False) if "step_" in entry]
    assert len(steps) <= 2
    back = fetch(mirror.url, tmp_path / "elsewhere")
    assert back == tmp_path / "elsewhere" / "train" / "tiny" / run.name
    assert weight(back) == 4
    assert (back / "config.yaml").read_text() == "task: train\n"
    assert (back / "metrics.csv").read_text() == "step\n4\n"
    with pytest.raises(UserError, match=r"is there already: go on with it \(resume="):
        fetch(mirror.url, tmp_path / "elsewhere")


class Failing:
    """The storage, which fails at the n-th file that it is given."""

    def __init__(self, storage: Any, left: int) -> None:
        self._storage, self.left = storage, left

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError("connection reset by peer")

    def put_file(self, source: str, target: str) -> None:
        self._count()
        self._storage.put_file(source, target)

    def pipe_file(self, target: str, content: bytes) -> None:
        self._count()
        self._storage.pipe_file(target, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def test_wherever_the_link_breaks_the_copy_is_a_whole_save(run: Path, tmp_path: Path, storage: Any) -> None:
    mirror = Mirror(URL, run)
    saved(run, 1)
    mirror.send()
    mirror.finish()
    for left in range(30):
        saved(run, 2 + left)
        mirror._storage = Failing(storage, left)
        mirror.send()
        mirror._background.wait()
        broken = mirror._failure is not None
        expected = mirror._storage.left < 0
        assert broken == expected
        back = fetch(mirror.url, tmp_path / str(left))
        assert weight(back) <= 2 + left
        if not broken:
            assert weight(back) == 2 + left
            break
    else:
        raise AssertionError("it never went through")
    assert left > 4


def test_what_cannot_be_sent_is_told_at_the_end(run: Path, storage: Any) -> None:
    mirror = Mirror(URL, run)
    mirror._storage = Failing(storage, 0)
    with pytest.raises(UserError, match="cannot be written to: connection reset by peer"):
        mirror.begin()
    saved(run, 1)
    mirror.send()
    with pytest.raises(UserError, match=r"is not up to date: connection reset by peer\. The run itself is whole in "):
        mirror.finish()
    mirror._storage = storage
    mirror.finish()


@pytest.mark.parametrize("damage", ["flip", "links", "escape", "config", "large"])
def test_a_damaged_copy_is_refused_whole(damage: str, run: Path, tmp_path: Path, storage: Any) -> None:
    mirror = Mirror(URL, run)
    step = saved(run, 1)
    mirror.send()
    mirror.finish()
    root = f"{mirror.url}/checkpoints"
    if damage == "flip":
        content = bytearray(storage.cat_file(f"{root}/{step}/model.safetensors"))
        content[-1] ^= 1
        storage.pipe_file(f"{root}/{step}/model.safetensors", bytes(content))
    elif damage == "large":
        storage.pipe_file(f"{root}/{step}/model.safetensors", bytes(10_000))
    elif damage == "links":
        storage.pipe_file(f"{root}/links.json", b'{"last": ')
    elif damage == "escape":
        storage.pipe_file(f"{root}/links.json", json.dumps({"last": "../../etc"}).encode())
    else:
        storage.rm(f"{mirror.url}/config.yaml")
    with pytest.raises(UserError, match=r"damaged|is no copy of a run"):
        fetch(mirror.url, tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").rglob("*config*"))
    assert not list((tmp_path / "elsewhere").rglob("*.tmp-*"))


def test_wrong_urls_say_what_is_wrong(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match="there is no copy of a run at memory://runs/train/tiny/other"):
        fetch("memory://runs/train/tiny/other", tmp_path)
    with pytest.raises(UserError, match=r"expected .*TASK/NAME/DATE_TIME"):
        fetch("memory://runs", tmp_path)
    with pytest.raises(UserError, match=r"s4:// is no known kind of URL"):
        Mirror("s4://bucket", run)
