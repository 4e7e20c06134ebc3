"""What docs/determinism.md promises: the numbers of a run are its seed's and its settings', and nothing else's."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from triptych.cli import main
from triptych.command import messages
from triptych.command.overrides import as_typed
from triptych.command.start import start
from triptych.job import Job
from triptych.rundir import RunDirectory
from triptych.schema import register
from triptych.schema.check import text_keys

pytestmark = pytest.mark.slow

MODEL = [
    "model=vit_nano_patch16_64", "model.tower.image_size=16", "model.tower.patch.patch_size=4", "model.tower.dim=16",
    "model.tower.depth=2", "model.tower.mixer.heads=2", "model.tower.stochastic_depth=0.3",
    "model.tower.patch_dropout=0.25",
]  # fmt: skip
SETTINGS = [
    *MODEL, "data=folder", "name=run", "data.batch_size=8", "data.workers=1", "objective/mix=mixup_cutmix",
    "trainer.epochs=3", "trainer.log_every=1", "logger=null", "trainer.threads=1", "trainer.accelerator=cpu",
]  # fmt: skip
Start = Callable[..., Path]


def make_pictures(folder: Path, count: int, seed: int) -> Path:
    draw = random.Random(seed)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            size = (draw.randint(12, 24), draw.randint(12, 24))
            Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Trains on the same pictures, changed by some words; the run directory."""
    pictures = make_pictures(tmp_path_factory.mktemp("pictures") / "all", 21, seed=0)

    def train(*words: str) -> Path:
        output = tmp_path_factory.mktemp("outputs")
        torch.rand(3)  # wherever the generator of this process stands
        assert start("train", [*SETTINGS, f"data.root={pictures}", f"output={output}", *words]) == 0
        (run,) = (output / "train").glob("*/*")
        return run

    return train


@pytest.fixture(scope="module")
def base(train: Start) -> Path:
    return train()


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / "last" / "model.safetensors")


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "words",
    [
        [], ["data.workers=0"], ["data.workers=4"], ["data.cache=false"], ["name=other"], ["logger=tensorboard"],
        ["trainer.validate_every=0.4"], ["trainer.log_every=2"], ["checkpoint.every_steps=2"],
    ],
    ids=lambda words: words[0] if words else "again",
)  # fmt: skip
def test_what_does_not_change_the_numbers(words: list[str], base: Path, train: Start) -> None:
    other = train(*words)
    assert main(["compare", str(base), str(other)]) == 0
    assert equal(weights(base), weights(other))


def test_an_average_is_validated_and_changes_nothing_that_is_trained(base: Path, train: Start, tmp_path: Path) -> None:
    other = train("ema=ema")
    assert main(["compare", str(base), str(other), f"json={tmp_path / 'found.json'}"]) == 1
    found = json.loads((tmp_path / "found.json").read_text())["metrics"]
    apart = {name for name, each in found.items() if each["first_difference"]}
    assert {"train/loss", "grad_norm", "lr"} <= found.keys() - apart
    assert all(name.startswith("val/") for name in apart)
    assert equal(weights(base), weights(other))


@pytest.mark.parametrize("words", [["seed=1"], ["model.tower.stochastic_depth=0.2"], ["objective.mix.mixup=0.5"]])
def test_what_does(words: list[str], base: Path, train: Start) -> None:
    other = train(*words)
    assert main(["compare", str(base), str(other)]) == 1
    assert not equal(weights(base), weights(other))


def initial(tmp_path: Path, *words: str) -> dict[str, Tensor]:
    """The weights that a run would begin with."""
    register()
    config = messages.compose_plain("train", as_typed([*SETTINGS, *words], text_keys(), "train"))
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    torch.rand(3)
    return Job(settings, RunDirectory.create(tmp_path, "train", "run"), None).model.state_dict()


def test_initial_weights_are_those_of_the_seed_and_the_model(tmp_path: Path, base: Path) -> None:
    one, two = (make_pictures(tmp_path / name, count, seed) for name, count, seed in (("a", 21, 0), ("b", 30, 1)))
    expected = initial(tmp_path, f"data.root={one}")
    for words in (
        [f"data.root={two}", "data.batch_size=5", "data.workers=0", "data.balance=1"],
        ["trainer.threads=2", "optimizer=muon", "ema=ema", "model.tower.stochastic_depth=0"],
        ["objective=distillation", "objective/mix=null", f"objective.teacher.path={base}"],
    ):
        assert equal(initial(tmp_path, f"data.root={one}", *words), expected), words
    assert not equal(initial(tmp_path, f"data.root={one}", "seed=1"), expected)
