"""A user's mistake ends with one readable message, exit code 2 and nothing half-written."""

import io
import random
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from triptych.command.start import start

pytestmark = pytest.mark.slow

SMALL = [
    "data=folder", "data.batch_size=4", "data.workers=0", "model.tower.image_size=16", "model.tower.patch.patch_size=4",
    "model.tower.dim=8", "model.tower.depth=1", "model.tower.mixer.heads=2", "logger=null", "trainer.accelerator=cpu",
    "trainer.max_steps=2",
]  # fmt: skip


def picture(draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (16, 16), draw.randbytes(768)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of input that people have, right and wrong."""
    root = tmp_path_factory.mktemp("world")
    draw = random.Random(0)

    def write(name: str, content: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    for kind in ("cat", "dog"):
        for number in range(10):
            write(f"good/{kind}/{number}.png", picture(draw))
            write(f"corrupt/{kind}/{number}.png", picture(draw)[:60])
            write(f"truncated/{kind}/{number}.png", picture(draw)[: 400 if number < 4 else None])
    (root / "empty").mkdir()
    write("flat/1.png", picture(draw))
    write("no_pictures/cat/readme.txt", b"none")
    write("no_pictures/dog/readme.txt", b"none")
    write("file.txt", b"a file")
    write("shards/train-0.tar", b"this is no tar" * 100)
    with tarfile.open(root / "shards" / "whole.tar", "w") as archive:
        for name, content in (("a.png", picture(draw)), ("a.json", b'{"kind": "cat"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    cut = (root / "shards" / "whole.tar").read_bytes()
    (root / "shards" / "cut.tar").write_bytes(cut[: len(cut) // 8])
    torch.save(torch.nn.Linear(2, 2), root / "code.pt")
    (root / "no_run").mkdir()
    write("alone.safetensors", b"weights")
    write("broken_run/config.yaml", b"data: [1,")
    return root


MISTAKES: dict[str, tuple[list[str], str]] = {
    "pairs for a classifier": (["data=emoji_pairs"], "model, objective are for a classifier; data is for contrastive"),
    "a contrastive objective": (
        ["objective=contrastive"],
        "model, data are for a classifier; objective is for contrastive towers. Choose all of one kind",
    ),
    "unknown key": (["optimizer.lrr=1"], "there is no setting 'optimizer.lrr'. Did you mean 'optimizer.lr'"),
    "unknown group": (["optimzer=adamw"], "there is no setting 'optimzer'. Did you mean 'optimizer'"),
    "unknown choice": (["optimizer=adam"], "optimizer=adam is not a choice of optimizer. Did you mean 'adamw'?"),
    "unknown part": (["model.tower.norm=rmsnorm"], "Did you mean 'rms_norm'?"),
    "wrong type": (["optimizer.lr=fast"], "optimizer.lr: Value 'fast' of type 'str' could not be converted to Float"),
    "fraction for a whole number": (["data.batch_size=1.5"], "data.batch_size: Value '1.5'"),
    "out of range": (["optimizer.lr=-1"], "optimizer.lr=-1.0 is out of range: > 0"),
    "not one of": (["trainer.accelerator=tpux"], "trainer.accelerator=tpux is out of range: one of auto, cpu"),
    "a key that nothing reads": (["+trainer.epoch=3"], "trainer.epoch would be ignored: Trainer has no such setting"),
    "two choices": (["optimizer=adamw,muon"], "optimizer=adamw,muon names several choices"),
    "a path alone": (["{world}/good"], "is a path without a key: say what it is, such as data.root="),
    "a word alone": (["banana"], "'banana' is not an override: overrides are written key=value"),
    "no data folder given": (["data.root=null"], "data.root is not set"),
    "nothing said of the data folder": (["data=folder"], "data.root is not set: give the folder"),
    "missing data folder": (["data.root={world}/god"], "god"),
    "data folder is a file": (["data.root={world}/file.txt"], "file.txt"),
    "empty data folder": (["data.root={world}/empty"], "empty"),
    "no class folders": (["data.root={world}/flat"], "flat"),
    "class folders without pictures": (["data.root={world}/no_pictures"], "no_pictures"),
    "every picture corrupt": (["data.root={world}/corrupt"], "could not be read, above data.max_bad_fraction=0.01"),
    "many pictures truncated": (["data.root={world}/truncated"], "could not be read, above data.max_bad_fraction=0.01"),
    "patches do not cover the image": (["model.tower.image_size=18"], "18"),
    "heads do not divide": (["model.tower.mixer.heads=3"], "dim=8 is no multiple of heads=3"),
    "too many classes": (["model.num_classes=7"], "the model has num_classes=7, but the data have 2 classes"),
    "channels differ": (["model.tower.patch.channels=1"], "the model has channels=1, but the data have 3 channels"),
    "mean without std": (["data.mean=[0.5]"], "mean has 1 values and std 3"),
    "warm-up longer than training": (["schedule.warmup=50"], "schedule.warmup is 50 steps, but training is 2 steps"),
    "multi-label objective on single labels": (["objective=multi_label"], "choose objective=classification"),
    "name that is a path": (["name=../up"], "cannot name a folder"),
    "output is a file": (["output={world}/file.txt"], "No run directory can be made"),
    "weights that are not there": (["weights={world}/gone"], "does not exist"),
    "weights that need code": (["weights={world}/code.pt"], "code.pt"),
    "weights that are text": (["weights={world}/file.txt"], "file.txt"),
    "resume what is not there": (["resume={world}/gone"], "There is no run directory"),
    "resume what is no run": (["resume={world}/no_run"], "is not a run directory: it has no config.yaml"),
    "a target that may not be named": (["data.evaluate._target_=os.system"], "os.system, which is not allowed"),
    "shards that do not match": (["data=shards", "data.root={world}/shards", "data.train.shards=ta*.tar"], "ta*.tar"),
    "a shard that is no tar": (["data=shards", "data.root={world}/shards"], "train-0.tar"),
    "a shard cut short": (["data=shards", "data.root={world}/shards", "data.train.shards=cut.tar"], "cut.tar"),
    "a label that is not there": (
        ["data=shards", "data.root={world}/shards", "data.train.shards=whole.tar", "data.train.label=knd"], "knd",
    ),
    "Fashion-MNIST that is not there": (["data=fashion_mnist", "data.root={world}/empty"], "dataset-fashion-mnist"),
    "CIFAR-10 that is not there": (["data=cifar10", "data.root={world}/empty"], "data.train.download=true"),
    "a setting of what is not chosen": (["ema.decay=0.9"], "changes ema, which is null: choose one first, ema=ema"),
    "a metric that is not logged": (["checkpoint.monitor=val/los"], "no validation logs; logged are val/loss,"),
    "a sweep of a resume": (["resume={world}/no_run", "-m"], "-m does not go with resume"),
    "resume of a broken configuration": (["resume={world}/broken_run"], "broken_run/config.yaml is no readable YAML"),
    "an added resume": (["++resume={world}/gone"], "There is no run directory"),
    "an empty path": (["data.root="], "data.root= is empty: give it a value (is a variable of the shell unset?)"),
    "an empty path of a resume": (["resume=''"], "resume= is empty"),
    "a size of one side": (["model.tower.image_size=[16]"], "image_size=[16] is out of range: one whole number"),
    "a size that is a word": (["model.tower.image_size=abc"], "image_size=abc is out of range: one whole"),
    "a patch of no pixels": (["model.tower.patch.patch_size=0"], "patch_size=0 is out of range: one whole"),
    "a mean of whole pixel values": (["data.mean=[120,110,100]", "data.std=[50,50,50]"], "divide numbers of 0..255"),
    "a device that is not there": (["trainer.accelerator=mps"], "trainer.accelerator=mps, and this machine has no"),
    "weights without their config": (["weights={world}/alone.safetensors"], "give the folder that it is from, whole"),
    "a tracker that is not installed": (["logger=wandb"], "wandb"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(
    mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if mistake == "a device that is not there" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    monkeypatch.chdir(tmp_path)
    words, message = MISTAKES[mistake]
    words = [word.replace("{world}", str(world)) for word in words]
    settings = [] if any(word.startswith("resume=") for word in words) else [*SMALL, f"data.root={world}/good"]
    chosen = {word.partition("=")[0] for word in words}
    if words[0].startswith("data="):
        settings = [word for word in settings if not word.startswith("data")]
    settings = [word for word in settings if word.partition("=")[0] not in chosen]
    assert start("train", [*settings, *words]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert len(errors[0]) < 600
    began = "could not be read" in message
    assert began or list(tmp_path.iterdir()) == [], "a run that never began left something behind"


def test_a_fault_while_the_run_is_built_leaves_no_run_directory(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr("triptych.job.Job._trainer", fail)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        start("train", [*SMALL, f"data.root={world}/good", f"output={tmp_path}/out"])
    assert list(tmp_path.iterdir()) == []
