"""Every file in conf/ composes, is typed and in range, and builds what it names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import triptych
from triptych.build import build
from triptych.command import groups, messages
from triptych.data.module import ImageData
from triptych.schema import register
from triptych.schema.check import check

CHOICES = [f"{group}={choice}" for group in groups.groups() for choice in groups.choices(group)]
SMALL = triptych.create("vit_tiny_patch16_224", overrides={"tower.dim": 12, "tower.depth": 1, "tower.image_size": 32})
NEEDS = {"data=folder": "data.root", "data=shards": "data.root", "data=manifest": "data.train.file"}


def compose(words: list[str]) -> dict[str, Any]:
    register()
    config = messages.compose_plain("train", ["name=test", *words])
    check(config)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return plain  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("choice", CHOICES)
def test_choice_composes_and_builds(choice: str, tmp_path: Path) -> None:
    words = [choice, f"{NEEDS[choice]}={tmp_path}"] if choice in NEEDS else [choice]
    settings = compose(words)
    model = settings["model"]
    model["num_classes"], model["tower"]["patch"]["channels"] = 10, 3
    with torch.device("meta"):
        built = build(model)
    data = build(settings["data"])
    assert isinstance(built, nn.Module)
    assert isinstance(data, ImageData)
    assert callable(build(settings["objective"]))
    schedule = build(settings["schedule"])(build(settings["optimizer"])(SMALL), 1000)
    assert schedule.get_last_lr()[0] > 0
    for part in ("ema", "logger", "checkpoint"):
        assert settings[part] is None or build(settings[part]) is not None


def test_every_yaml_belongs_to_a_choice() -> None:
    """No file is left that nothing can choose; names that begin with _ are shared by choices beside them."""
    conf = groups.roots()[0]
    chosen = {groups.file_of(*choice.split("=")) for choice in CHOICES}
    tasks = {conf / f"{task}.yaml" for task in groups.tasks()}
    left = {path for path in conf.rglob("*.yaml") if not path.stem.startswith("_")} - chosen - tasks
    assert not left


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_says_what_it_is(choice: str) -> None:
    assert len(groups.header(groups.file_of(*choice.split("=")))) > 5


def test_presets_have_the_published_sizes() -> None:
    """Parameters of the presets with 1000 classes, in millions (Dosovitskiy et al., 2020; Touvron et al., 2021)."""
    sizes = {"tiny_patch16_224": 5.7, "small_patch16_224": 22.1, "base_patch16_224": 86.6, "large_patch16_224": 304.3}
    for name, millions in sizes.items():
        model = compose([f"model=vit_{name}"])["model"]
        model["num_classes"], model["tower"]["patch"]["channels"] = 1000, 3
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build(model).parameters())
        assert round(count / 1e6, 1) == millions
