"""`triptych finetune` as a user starts it: each strategy from the command to weights that load, and what goes wrong."""

import json
import random
import re
import shutil
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.features.preprocess import Preprocess
from triptych.finetune import advise
from triptych.nn.lora import LowRankLinear
from triptych.strategies import Full, LayerDecay

pytestmark = pytest.mark.slow

MODEL = [
    "model.tower.image_size=16", "model.tower.patch.patch_size=4", "model.tower.dim=16", "model.tower.depth=2",
    "model.tower.mixer.heads=2", "model/tower/position=learned",
]  # fmt: skip
COMMON = [
    "data=folder", "name=small", "data.workers=0", "logger=null", "trainer.accelerator=cpu", "trainer.threads=1",
    "trainer.log_every=1",
]  # fmt: skip


def draw(folder: Path, names: tuple[str, ...], mode: str = "RGB") -> Path:
    """Pictures whose brightness tells the class."""
    source = random.Random(0)
    for level, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            size = (source.randint(14, 40), source.randint(14, 40))
            pixels = bytes(min(255, 60 * level + source.randrange(90)) for _ in range(size[0] * size[1] * len(mode)))
            Image.frombytes(mode, size, pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two and of three classes, and a run that was trained on the two."""
    root = tmp_path_factory.mktemp("world")
    draw(root / "two", ("cat", "dog"))
    draw(root / "three", ("ant", "bee", "cow"))
    words = [*COMMON, *MODEL, f"data.root={root / 'two'}", f"output={root}", "trainer.max_steps=3", "data.batch_size=8"]
    assert start("train", words) == 0
    (run,) = (root / "train" / "small").iterdir()
    run.rename(root / "first")
    return root


def finetune(world: Path, output: Path, *words: str, data: str = "three") -> int:
    settings = [*COMMON, f"weights={world / 'first'}", f"data.root={world / data}", f"output={output}"]
    chosen = {word.partition("=")[0] for word in words}
    settings = [word for word in settings if word.partition("=")[0] not in chosen]
    return start("finetune", [*settings, *words])


def only_run(output: Path) -> Path:
    (run,) = (output / "finetune" / "small").iterdir()
    return run


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        ("full", ""),
        ("layer_decay", ""),
        ("lora", "mixer|head"),
        ("linear_probe", "head"),
        ("freeze", "blocks.1|pool|head"),
    ],
)
def test_each_strategy_trains_what_it_says_and_loads_as_a_plain_model(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str, trained: str
) -> None:
    words = [f"strategy={strategy}", "trainer.max_steps=4", "data.batch_size=8"]
    words += ["strategy.rank=2"] if strategy == "lora" else ["strategy.blocks=1"] if strategy == "freeze" else []
    assert finetune(world, tmp_path, *words) == 0
    said = capsys.readouterr().out
    assert "loaded, 2 new (head.weight, head.bias)" in said
    assert "chosen by the number of training pictures: trainer.epochs=" in said
    run = only_run(tmp_path)
    first, second = triptych.load(world / "first"), triptych.load(run)
    assert second.num_classes == 3
    assert not any(isinstance(module, LowRankLinear) for module in second.modules())
    assert all(parameter.requires_grad for parameter in second.parameters())
    given = first.state_dict()
    changed = {
        name
        for name, tensor in second.state_dict().items()
        if name in given and (tensor.shape != given[name].shape or not torch.equal(tensor, given[name]))
    }
    parts = trained.split("|")
    assert {name for name in changed if not any(part in name for part in parts)} == set()
    assert all(any(part in name for name in changed) for part in parts)
    # What the run said of its last weights is what `triptych evaluate` finds of the checkpoint.
    said = json.loads((run / "summary.json").read_text())["metrics"]
    words = [f"checkpoint={run / 'checkpoints' / 'last'}", f"output={tmp_path}", "device.accelerator=cpu"]
    assert start("evaluate", [*words, "resamples=0"]) == 0
    (file,) = tmp_path.glob("evaluate/*/*/metrics.json")
    found = json.loads(file.read_text())["sets"]["val"]["metrics"]
    assert found["log_loss"]["value"] == pytest.approx(said["val/loss"], abs=1e-5)
    assert found["accuracy"]["value"] == pytest.approx(said["val/accuracy"])


def test_a_killed_fine_tuning_goes_on_where_it_was(world: Path, tmp_path: Path) -> None:
    """Adapters, frozen weights and their optimizer are built again before the checkpoint is read."""
    words = ["strategy=lora", "strategy.rank=2", "data.batch_size=8", "trainer.epochs=2", "trainer.validate_every=2"]
    assert finetune(world, tmp_path / "whole", *words) == 0
    whole = only_run(tmp_path / "whole")
    assert finetune(world, tmp_path / "parts", *words, "checkpoint.every_steps=3", "checkpoint.keep=9") == 0
    parts = only_run(tmp_path / "parts")
    trace = (parts / "metrics.csv").read_text()
    assert trace == (whole / "metrics.csv").read_text()
    (parts / "summary.json").unlink()
    assert start("finetune", [f"resume={parts / 'checkpoints' / 'step_0000006'}"]) == 0
    assert (parts / "metrics.csv").read_text() == trace
    again, once = triptych.load(parts).state_dict(), triptych.load(whole).state_dict()
    assert all(torch.equal(again[name], once[name]) for name in once)


def test_size_channels_and_preprocessing_follow_weights_and_data(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "image_size=24",
        "patch_size=8",
        "data.mean=[0.1]",
        "data.std=[0.2]",
        "data.train.channels=1",
        "trainer.max_steps=1",
    ]
    assert finetune(world, tmp_path, *words) == 0
    said = capsys.readouterr().out
    assert re.search(r"weights of .*: \d+ loaded, 1 resized \(tower\.patch\.projection\.weight\)", said), said[:600]
    model, given = triptych.load(only_run(tmp_path)), triptych.load(world / "first")
    after, before = (cast(Preprocess, one.preprocess) for one in (model, given))
    assert after.image_size == (24, 24)
    assert after.mean == pytest.approx([sum(before.mean) / 3])
    assert model(torch.randn(1, 1, 24, 24)).shape == (1, 3)


def test_a_probe_says_that_it_leaves_augmentation_out(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(world, tmp_path, "strategy=linear_probe", "data.augment=light", "trainer.max_steps=1") == 0
    assert "data.augment is left out" in capsys.readouterr().out


def test_a_resume_that_does_not_fit_its_checkpoint_is_one_message(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "three", data)
    words = ["strategy=freeze", "strategy.blocks=1", "trainer.max_steps=1", f"data.root={data}"]
    assert finetune(world, tmp_path, *words) == 0
    run = only_run(tmp_path)
    before = {file: file.read_bytes() for file in run.glob("*.*") if file.name != "run.log"}

    def refused(*words: str) -> str:
        capsys.readouterr()
        assert start("finetune", [f"resume={run}", "trainer.max_steps=2", *words]) == 2
        captured = capsys.readouterr()
        assert "run directory" not in captured.out
        assert {file: file.read_bytes() for file in before} == before
        (error,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        return error

    assert "makes one of" in refused("strategy.blocks=2")
    assert "tower.patch.projection.weight is (16, 48) there and (32, 48) here" in refused("model.tower.dim=32")
    (data / "cow").rename(data / "cat")
    assert "on 3 classes, and the data have 3 now (gone: cow; new: cat)" in refused()
    shutil.rmtree(data / "cat")
    assert "on 3 classes, and the data have 2 now (gone: cow)" in refused()


def test_the_same_classes_keep_their_head(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(world, tmp_path, "trainer.max_steps=1", "optimizer.lr=1e-3", data="two") == 0
    said = capsys.readouterr().out
    assert "loaded\n" in said
    assert "optimizer.lr" not in said.split("chosen by")[1].splitlines()[0]


def test_another_model_teaches(world: Path, tmp_path: Path) -> None:
    words = ["objective=distillation", f"objective.teacher.path={world / 'first'}", "trainer.max_steps=2"]
    assert finetune(world, tmp_path, *words, data="two") == 0
    assert not any("teacher" in name for name in triptych.load(only_run(tmp_path)).state_dict())


def test_few_pictures_are_seen_more_often_in_smaller_batches() -> None:
    advices = [advise(count, Full(), 192) for count in (10, 100, 1_000, 10_000, 1_000_000)]
    assert [advice.epochs for advice in advices] == sorted((advice.epochs for advice in advices), reverse=True)
    assert [advice.batch_size for advice in advices] == sorted(advice.batch_size for advice in advices)
    assert all(8 <= advice.batch_size <= 128 and 3 <= advice.epochs <= 50 for advice in advices)
    assert advise(100, LayerDecay(), 192).lr > advise(100, Full(), 192).lr > advise(100, Full(), 768).lr


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no weights": (["weights=null"], "weights is not set: give the model to start from"),
    "weights that are not there": (["weights={world}/fist"], "did you mean {world}/first?"),
    "weights that are no model": (["weights={world}/two"], "triptych.load reads"),
    "advice is not for setting": (["advice.lr=1"], "set trainer.epochs, data.batch_size or optimizer.lr instead"),
    "a model beside the weights": (["model=vit_tiny_patch16_224"], "`triptych finetune` has no choice of model"),
    "a part of the model": (["model.tower.depth=3"], "`triptych finetune` has no choice of model"),
    "unknown strategy": (["strategy=lorra"], "strategy=lorra is not a choice of strategy. Did you mean 'lora'?"),
    "a rank too high": (["strategy=lora", "strategy.rank=16"], "rank is 16; it must be at least 1 and below 16"),
    "no such map": (["strategy=lora", "strategy.targets=[q]"], "no linear map is called 'q'; adapters can stand at"),
    "adapters nowhere": (["strategy=lora", "strategy.targets=[]"], "strategy.targets is empty"),
    "a size that is no number": (["image_size=abc"], "image_size=abc is out of range: one whole"),
    "a size that is a fraction": (["image_size=16.5"], "image_size=16.5 is out of range"),
    "patches of no pixels": (["patch_size=0"], "patch_size=0 is out of range"),
    "no number of blocks": (["strategy=freeze"], "strategy.blocks is not set"),
    "too many blocks": (["strategy=freeze", "strategy.blocks=3"], "strategy.blocks is 3, but the tower has 2 blocks"),
    "a decay out of range": (["strategy.decay=0"], "strategy.decay=0.0 is out of range: > 0 and <= 1"),
    "a probe that mixes": (["strategy=linear_probe", "objective/mix=mixup"], "set objective.mix=null"),
    "a size that patches do not cover": (["image_size=18"], "not covered exactly by patches"),
    "a teacher of other classes": (
        ["objective=distillation", "objective.teacher.path={world}/first"], "2 classes apart, but the data have 3",
    ),
    "no teacher": (["objective=distillation"], "objective.teacher.path is not set"),
    "a temperature of nothing": (
        ["objective=distillation", "objective.teacher.path={world}/first", "objective.teacher.temperature=0"],
        "objective.teacher.temperature=0.0 is out of range: > 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = MISTAKES[mistake]
    assert finetune(world, tmp_path, *(word.replace("{world}", str(world)) for word in words)) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message.replace("{world}", str(world)) in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert list(tmp_path.iterdir()) == [], "a run that never began left something behind"
