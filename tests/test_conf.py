"""Every file in conf/ composes, is typed and in range, and builds what it names."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from omegaconf import OmegaConf
from torch import nn

import triptych
from triptych.build import build
from triptych.command import groups, messages
from triptych.command.start import start
from triptych.data.audio import AudioData
from triptych.data.labelled import LabelledData
from triptych.models.contrastive import Contrastive
from triptych.schema import register
from triptych.schema.check import check
from triptych.schema.model import takes_channels
from triptych.strategies import Full
from triptych.tokens import fill_vocabulary

ALL = [f"{group}={choice}" for group in groups.groups() for choice in groups.choices(group)]
CONTRASTIVE = [
    choice for choice in ALL if choice.startswith(("model=clip_", "model=siglip_", "model=clap_", "model/tokenizer="))
]
FINETUNE = [f"experiment={name}" for name in groups.choices("experiment") if name not in groups.experiments("train")]
CHOICES = [
    choice for choice in ALL
    if choice.split("=")[0] in groups.of_task("train") and choice not in [*CONTRASTIVE, *FINETUNE]
]  # fmt: skip
STRATEGIES = [f"strategy={choice}" for choice in groups.choices("strategy")]
SMALL = triptych.create("vit_tiny_patch16_224", overrides={"tower.dim": 12, "tower.depth": 1, "tower.image_size": 32})
PLACES = {
    "data=folder": "data.root", "data=shards": "data.root", "data=manifest": "data.train.file",
    "data=audio_folder": "data.root", "data=audio_pattern": "data.root", "data=audio_manifest": "data.train.file",
    "data=audio_shards": "data.root", "data=audio_datasets": "data.root", "data=speech_commands": "data.root",
    "experiment=speech": "data.root",
    "data=pairs_shards": "data.root", "data=pairs_manifest": "data.train.file",
    "data=pairs_mixture": "data.train.sources.one.root", "experiment=clip_b32": "data.root",
    "experiment=siglip_b16": "data.root",
}  # fmt: skip
SOUND_PAIRS = ["notes_pairs"]
PAIRS = [name for name in groups.choices("data") if "pairs" in name and name not in SOUND_PAIRS]
SOUNDS = [name for name in groups.choices("data") if name.startswith("audio_") or name in ("notes", "speech_commands")]
AST = ["model=ast_nano", "data=audio_folder", "data.root=x", "objective=classification"]
# What goes with a choice: the default model has no distillation token, and pools without a feed-forward.
NEEDS = (
    {
        "model/tower/pool=distilled": ["model.tower.registers=1"],
        "experiment=siglip_b16": ["model/tokenizer=bytes"],  # the file of its own does not ship
    }
    | {f"data={name}": ["model=clip_nano", "objective=contrastive"] for name in PAIRS}
    | {f"data={name}": ["model=clap_nano", "objective=contrastive"] for name in SOUND_PAIRS}
    | {f"data={name}": ["model=ast_nano", "data.front_end.mel_bins=64"] for name in SOUNDS}
    | {f"data/front_end={name}": AST[1:] for name in groups.choices("data/front_end")}
    | {f"data/augment={name}": AST for name in ("speech", "waveform")}
    | {f"model={name}": AST[1:] for name in groups.choices("model") if name.startswith("ast_")}
    | {f"objective/{choice}": AST for choice in ("mask=spec_augment", "mix=clips")}
    | {"model/tower/patch=convolutional": [*AST, "model.tower.patch.patch_size=[64,4]"]}
    | {"model/tower/patchout=patchout": AST, "model/tower/pool=prefix_mean": ["model.tower.registers=1"]}
    | {"data=audio_pattern": ["model=ast_nano", "data.train.pattern='(?P<label>a)'"]}
    | {"experiment=speech": ["data.train.pattern='(?P<label>a)'"]}
    | {"data=pairs_mixture": ["model=clip_nano", "data.train.sources.two.root=two"]}
    | {
        f"model/tower/pool/feedforward={choice}": ["model/tower/pool=attention"]
        for choice in groups.choices("model/tower/pool/feedforward")
    }
    | {
        f"objective/{part}={choice}": ["objective=contrastive"]
        for part in ("loss", "exchange")
        for choice in groups.choices(f"objective/{part}")
    }
)


def compose(words: list[str]) -> dict[str, Any]:
    register()
    config = messages.compose_plain("train", ["name=test", *words])
    check(config)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return plain  # pyright: ignore[reportReturnType]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_choice_composes_and_builds(choice: str, tmp_path: Path) -> None:
    words = [choice, *NEEDS.get(choice, []), *([f"{PLACES[choice]}={tmp_path}"] if choice in PLACES else [])]
    if choice == "objective=distillation":
        triptych.export(SMALL, tmp_path / "teacher")
        words.append(f"objective.teacher.path={tmp_path / 'teacher'}")
    settings = compose(words)
    model = settings["model"]
    data = build(settings["data"])
    assert isinstance(data, LabelledData)
    takes_channels(model)["channels"] = 1 if isinstance(data, AudioData) else 3
    if "num_classes" in model:
        model["num_classes"] = 10
    fill_vocabulary(model)
    # timm's own models are small here, and read numbers while they are built, which nothing on the meta device has.
    with torch.device("cpu" if choice == "model=timm" else "meta"):
        built = build(model)
    assert isinstance(built, nn.Module)
    assert callable(build(settings["objective"]))
    schedule = build(settings["schedule"])(build(settings["optimizer"])(SMALL), 10000)
    assert schedule.get_last_lr()[0] > 0
    for part in ("ema", "logger", "checkpoint"):
        assert settings[part] is None or build(settings[part]) is not None


@pytest.mark.parametrize("choice", [choice for choice in CONTRASTIVE if choice.startswith("model=")])
def test_contrastive_preset_builds(choice: str) -> None:
    with torch.device("meta"):
        model = triptych.create(choice.removeprefix("model="))
    assert isinstance(model, Contrastive)
    assert model.modalities == ("audio" if "clap" in choice else "image", "text")
    tokenizer, text = model.tokenizer, model.towers["text"]
    if tokenizer is not None:
        assert (tokenizer.vocab_size, tokenizer.context_length) == (text.vocab_size, text.context_length)


@pytest.mark.parametrize("choice", [choice for choice in CONTRASTIVE if not choice.startswith("model=")])
def test_tokenizer_composes(choice: str) -> None:
    register()
    given = {"folder": ["model.tokenizer.folder=x"], "sentencepiece": ["model.tokenizer.path=x"]}
    config = messages.compose_plain("train", ["model=clip_nano", choice, *given.get(choice.split("=")[1], [])])
    check(config.model)
    OmegaConf.to_container(config.model, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("choice", STRATEGIES)
def test_strategy_composes_and_builds(choice: str) -> None:
    words = [choice, "data=emoji", *(["strategy.blocks=1"] if choice == "strategy=freeze" else [])]
    register()
    config = messages.compose_plain("finetune", ["name=test", *words])
    check(config)
    assert isinstance(build(OmegaConf.to_container(config.strategy, resolve=True)), Full)


@pytest.mark.parametrize("choice", FINETUNE)
def test_experiment_of_a_fine_tuning_composes(choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    register()
    config = messages.compose_plain("finetune", [choice, "weights=x", "data.root=x"])
    check(config)
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(build(plain["data"]), LabelledData)
    assert start("train", [choice]) == 2
    assert f"{choice} is for `triptych finetune`" in capsys.readouterr().err


def test_every_choice_is_of_a_task() -> None:
    assert set(ALL) == {*CHOICES, *CONTRASTIVE, *STRATEGIES, *FINETUNE}
    assert FINETUNE


def test_every_yaml_belongs_to_a_choice() -> None:
    """No file is left that nothing can choose; names that begin with _ are shared by choices beside them."""
    conf = groups.roots()[0]
    chosen = {groups.file_of(*choice.split("=")) for choice in ALL}
    tasks = {conf / f"{task}.yaml" for task in groups.tasks()}
    left = {path for path in conf.rglob("*.yaml") if not path.stem.startswith("_")} - chosen - tasks
    assert not left


@pytest.mark.parametrize("choice", ALL)
def test_every_choice_says_what_it_is(choice: str) -> None:
    assert len(groups.header(groups.file_of(*choice.split("=")))) > 5


OWN_SIZES = ("timm", "vit_nano_patch16_64", "vit_pico_patch4_28", "ast_nano", "ast_base_patch16_stride10")


@pytest.mark.parametrize(
    "preset",
    [name for name in groups.choices("model") if name not in OWN_SIZES and f"model={name}" not in CONTRASTIVE],
)
@pytest.mark.slow
def test_preset_has_the_parameters_of_the_model_it_is_named_after(preset: str) -> None:
    model = compose([f"model={preset}"])["model"]
    model["num_classes"], takes_channels(model)["channels"] = 1000, 3
    with torch.device("meta"):
        ours, theirs = build(model), timm.create_model(preset, num_classes=1000)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.slow
def test_presets_have_the_published_sizes() -> None:
    """Parameters with 1000 classes, in millions (Dosovitskiy et al., 2020; Touvron et al., 2020; Fang et al., 2023).
    Those of CLIP and SigLIP (Radford et al., 2021; Zhai et al., 2023) to the last one.
    """
    sizes = {
        "vit_tiny_patch16_224": 5.7, "vit_small_patch16_224": 22.1, "vit_base_patch16_224": 86.6,
        "vit_large_patch16_224": 304.3, "deit_tiny_distilled_patch16_224": 5.9, "eva02_tiny_patch14_336": 5.8,
        "eva02_base_patch14_448": 87.1,
    }  # fmt: skip
    for name, millions in sizes.items():
        model = compose([f"model={name}"])["model"]
        model["num_classes"], takes_channels(model)["channels"] = 1000, 3
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build(model).parameters())
        assert round(count / 1e6, 1) == millions
    pairs = {
        "clip_vit_base_patch32_224": 151_277_313, "clip_vit_base_patch16_224": 149_620_737,
        "clip_vit_large_patch14_224": 427_616_513, "siglip_vit_base_patch16_224": 203_155_970,
    }  # fmt: skip
    for name, parameters in pairs.items():
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in triptych.create(name).parameters()) == parameters
