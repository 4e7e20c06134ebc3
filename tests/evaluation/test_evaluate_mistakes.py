"""A user's mistake in an evaluation ends with one readable message, exit code 2 and nothing written."""

import io
import random
import tarfile
from pathlib import Path

import pytest

from triptych.command.start import start

from .conftest import World, draw_picture

pytestmark = pytest.mark.slow

OTHER = ["data=folder", "data.root={tmp}/other"]

MISTAKES: dict[str, tuple[list[str], str]] = {
    "no checkpoint named": ([], "checkpoint.path is not set: give checkpoint.path=..."),
    "no such checkpoint": (["checkpoint={run}x"], "There is no run directory"),
    "a file that is none": (["checkpoint={tmp}/file.txt", *OTHER], "triptych.load reads"),
    "a folder that is none": (["checkpoint={tmp}/other", *OTHER], "triptych.load reads"),
    "no run and no data": (["checkpoint={nameless}"], "is not in a run directory, so nothing tells its data"),
    "no class names": (["checkpoint={nameless}", "data=folder", "data.root={pictures}"], "does not name its 3 classes"),
    "a file of too few names": (
        ["checkpoint={nameless}", "data=folder", "data.root={pictures}", "checkpoint.classes={tmp}/file.txt"],
        "names 1 classes, and the model",
    ),
    "names that are known": (["checkpoint.classes={tmp}/file.txt"], "is not needed: the checkpoint names its classes"),
    "a class that the model lacks": ([*OTHER, "sets=[train]"], "class 'redd' that the model"),
    "an unknown set": (["sets=[vall]"], "sets has 'vall', which is no set of these data; did you mean 'val'?"),
    "no set at all": (["sets=[]"], "there is no set to evaluate: choose from sets=[val,train]"),
    "an unknown split": (["data.validation.val.split=tst"], "data.validation.val.split=tst is out of range"),
    "a split that is not there": (["data.validation.val.split=test"], "has no folder for the split 'test'"),
    "data that are not there": (["data.root={pictures}s"], "does not exist"),
    "an empty folder": (["data=folder", "data.root={tmp}/empty"], "has no class folders"),
    "own size of images": (["data.image_size=32"], "data.image_size=32 has no place here: the checkpoint brings"),
    "own mean": (["data.mean=[0,0,0]"], "the checkpoint brings its own preprocessing"),
    "own crop": (["data.evaluate.crop_fraction=0.5"], "the checkpoint brings its own preprocessing"),
    "augmentation": (["data/augment=light"], "nothing is augmented"),
    "a threshold out of range": (["threshold=1.5"], "threshold=1.5 is out of range: > 0 and < 1"),
    "bins out of range": (["bins=0"], "bins=0 is out of range: >= 1"),
    "other channels": (["data.validation.val.channels=1"], "have 1 channel (", ),
    "several labels": (
        ["data=shards", "data.root={tmp}/shards", "data.validation.val.shards=a.tar", "data.train.multilabel=true",
         "data.train.label=tags"],
        "has several labels a sample, and the model",
    ),
    "nothing that can be read": (["data=folder", "data.root={tmp}/corrupt", "sets=[train]"], "samples can be read"),
    "a device that is not there": (["device.accelerator=mps"], "this machine has no such device"),
    "a setting of nothing": (["datta.root=x"], "there is no setting 'datta.root'"),
    "a key of the data that is not there": (["data.rot=x"], "there is no setting 'data.rot'"),
    "an output that is a file": (["output={tmp}/file.txt"], "No run directory can be made"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(
    mistake: str, world: World, nameless: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(0)
    for name in ("other/redd/1.png", "other/redd/2.png", "other/green/1.png", "other/green/2.png"):
        draw_picture(in_tmp / name, "red", draw)
    for name in ("corrupt/train/red/1.png", "corrupt/val/red/2.png"):
        (in_tmp / name).parent.mkdir(parents=True)
        (in_tmp / name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (in_tmp / "empty").mkdir()
    (in_tmp / "file.txt").write_text("a file\n")
    (in_tmp / "shards").mkdir()
    with tarfile.open(in_tmp / "shards" / "a.tar", "w") as archive:
        for name, content in (("a.png", (in_tmp / "other/redd/1.png").read_bytes()), ("a.json", b'{"tags": ["red"]}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before = sorted(in_tmp.rglob("*"))
    words, message = MISTAKES[mistake]
    places = {"tmp": in_tmp, "run": world.run, "nameless": nameless, "pictures": world.pictures}
    words = [word.format_map(places) for word in words]
    if words and not any(word.startswith("checkpoint=") for word in words):
        words = [f"checkpoint={world.run}", *words]
    if not any(word.startswith("device.") for word in words):
        words.append("device.accelerator=cpu")
    assert start("evaluate", words) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert len(errors[0]) < 600
    left = [path for path in sorted(in_tmp.rglob("*")) if path not in before and not path.name.endswith(".index.npz")]
    assert [path for path in left if "shards" not in path.parts] == []


def test_parquet_without_its_extra(world: World, in_tmp: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert start("evaluate", [f"checkpoint={world.run}", "predictions=parquet"]) == 2
    assert "pip install 'triptych[parquet]', or take predictions=csv" in capsys.readouterr().err
    assert list(in_tmp.iterdir()) == []
