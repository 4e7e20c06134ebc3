"""`triptych finetune` from the weights of contrastive towers: on pairs, and on labels with the image tower."""

import random
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import triptych
from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.find import LAST, find_checkpoint
from triptych.checkpoints.format import read_config, read_weights
from triptych.checkpoints.manifest import MODEL
from triptych.command.start import start
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.lora import LowRankLinear
from triptych.presets import create

from .evaluation.conftest import COLOURS, draw_picture
from .zero_shot.conftest import small_pair

pytestmark = pytest.mark.slow

COMMON = [
    "name=small", "data.workers=0", "data.batch_size=8", "logger=null", "trainer.accelerator=cpu", "trainer.threads=1",
    "trainer.log_every=1", "trainer.max_steps=3",
]  # fmt: skip
STILL = ["optimizer.lr=1e-12"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours in folders and with captions, two pairs that read them, a classifier."""
    root = tmp_path_factory.mktemp("world")
    draw = random.Random(0)
    rows = ["path,caption,split"]
    for colour in COLOURS:
        for number in range(6):
            split = "train" if number < 4 else "val"
            path = root / "pictures" / split / colour / f"{number}.png"
            draw_picture(path, colour, draw, (16 + number, 24))
            rows += [f"{path.relative_to(root)},a photo of a {colour} thing,{split}"]
    (root / "captions.csv").write_text("\n".join(rows) + "\n")
    for name, bias in (("pair", None), ("biased", -10.0)):
        model = small_pair(bias)
        model.preprocess = Preprocess((16, 16), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), crop=1.0)
        assert model.config is not None
        model.config["preprocess"] = model.preprocess.to_dict()
        with torch.no_grad():
            model.logit_scale.fill_(1.5)
        triptych.export(model.eval(), root / name)
    silent = small_pair()
    assert silent.config is not None
    silent.config["model"]["tokenizer"] = None
    triptych.export(silent, root / "silent")
    sizes = {"tower.image_size": 16, "tower.dim": 16, "tower.depth": 1, "tower.mixer.heads": 2}
    triptych.export(create("vit_nano_patch16_64", 3, overrides=sizes), root / "classifier")
    return root


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here."""
    monkeypatch.setattr("triptych.callbacks.pictures.RunPictures.on_fit_end", lambda *_: None)


def finetune(world: Path, output: Path, *words: str, weights: str = "pair", labels: bool = False) -> int:
    data = ["data=folder", f"data.root={world / 'pictures'}"]
    if not labels:
        data = ["data=pairs_manifest", f"data.train.file={world / 'captions.csv'}"]
    settings = [*COMMON, *data, f"weights={world / weights}", f"output={output}"]
    return start("finetune", [*settings, *words])


def only_run(output: Path) -> Path:
    (run,) = (output / "finetune" / "small").iterdir()
    return run


def changed(world: Path, output: Path, weights: str = "pair") -> set[str]:
    before, after = triptych.load(world / weights).state_dict(), triptych.load(only_run(output)).state_dict()
    assert before.keys() == after.keys()
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(
    ("strategy", "still"),
    [
        (["strategy=full"], []),
        (["strategy=layer_decay"], []),
        (
            ["strategy=lora", "strategy.rank=2"],
            ["patch", "token_embedding", "norm", "feedforward", "position", "pool", "class_token"],
        ),
        (["strategy=freeze", "strategy.blocks=1"], ["towers.image.patch", "towers.image.stack.blocks.0"]),
    ],
    ids=lambda value: value[0] if value else "all",
)
def test_each_strategy_trains_what_it_says_of_both_towers(
    world: Path, tmp_path: Path, strategy: list[str], still: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(world, tmp_path, *strategy, "optimizer.lr=0.01", weights="biased") == 0
    assert "chosen by the weights: objective=siglip" in capsys.readouterr().out
    names = changed(world, tmp_path, "biased")
    assert not [name for name in names if any(part in name for part in still)]
    wanted = ["towers.text.stack.blocks.0.mixer", "projections.image", "projections.text", "logit_scale", "logit_bias"]
    wanted += [] if "freeze" in strategy[0] else ["towers.image.stack.blocks.0.mixer"]
    assert [part for part in wanted if not any(name.startswith(part) for name in names)] == []
    loaded = triptych.load(only_run(tmp_path))
    assert not any(isinstance(module, LowRankLinear) for module in loaded.modules())


def test_tokenizer_scale_and_preprocessing_are_those_of_the_weights(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(world, tmp_path, *STILL) == 0
    said = capsys.readouterr().out
    assert "chosen by the weights: objective=contrastive" in said
    assert "chosen by the number of training pictures: trainer.epochs=" in said
    before, after = (cast(Any, triptych.load(place)) for place in (world / "pair", only_run(tmp_path)))
    assert after.tokenizer.config == before.tokenizer.config
    assert after.preprocess == before.preprocess
    assert after.logit_scale.item() == pytest.approx(1.5)
    ids, lengths = before.tokenizer(["a photo of a red thing", "drawing"])
    images = torch.randn(2, 3, 16, 16)
    for inputs in (("image", images), ("text", ids, lengths)):
        torch.testing.assert_close(after.embed(*inputs), before.embed(*inputs), atol=1e-5, rtol=0)


def test_merged_adapters_compute_what_they_computed_apart(world: Path, tmp_path: Path) -> None:
    assert finetune(world, tmp_path, "strategy=lora", "strategy.rank=2", "optimizer.lr=0.05") == 0
    folder = find_checkpoint(only_run(tmp_path), prefer=(LAST,))
    merged = cast(Contrastive, triptych.load(folder))
    config = read_config(folder)
    apart = cast(Contrastive, build(config["model"], MODEL_PACKAGES))
    build(config["adapters"], MODEL_PACKAGES)(apart)
    apart.load_state_dict(read_weights(folder, MODEL))
    adapters = [name for name, module in apart.named_modules() if isinstance(module, LowRankLinear)]
    assert [sum(name.startswith(f"towers.{tower}") for name in adapters) for tower in ("image", "text")] == [2, 2]
    assert all(apart.get_parameter(f"{name}.up").detach().abs().max() > 0 for name in adapters)
    assert merged.tokenizer is not None
    ids, lengths = merged.tokenizer(["a photo of a red thing", "drawing"])
    for modality, *inputs in (("image", torch.randn(2, 3, 16, 16)), ("text", ids, lengths)):
        difference = merged.embed(str(modality), *inputs) - apart.eval().embed(str(modality), *inputs)
        assert difference.detach().abs().max() < 1e-6


@pytest.mark.parametrize("form", ["open_clip", "huggingface"])
def test_weights_of_other_libraries(world: Path, tmp_path: Path, form: str) -> None:
    sizes = {
        "embedding_dim": 8, "towers.image.image_size": 16, "towers.image.patch.patch_size": 8, "towers.image.dim": 64,
        "towers.image.depth": 1, "towers.image.mixer.heads": 1, "towers.text.dim": 64, "towers.text.depth": 1,
        "towers.text.mixer.heads": 1,
    }  # fmt: skip
    torch.manual_seed(1)
    model = cast(Contrastive, create("clip_vit_base_patch32_224", overrides=sizes)).eval()
    model.preprocess = Preprocess((16, 16), crop=1.0)
    triptych.export(model, tmp_path / form, format=form)
    assert finetune(world, tmp_path, *STILL, f"weights={tmp_path / form}") == 0
    tuned = cast(Contrastive, triptych.load(only_run(tmp_path)))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(tuned.embed("image", images), model.embed("image", images), atol=1e-5, rtol=0)
    assert tuned.tokenizer is not None
    assert model.tokenizer is not None
    assert tuned.tokenizer.config == model.tokenizer.config


def test_what_was_locked_is_trained_where_the_strategy_says_so(world: Path, tmp_path: Path) -> None:
    model = small_pair()
    assert model.config is not None
    model.config["model"]["locked"] = ["image"]
    triptych.export(model, tmp_path / "locked")
    assert finetune(world, tmp_path, "strategy=full", "optimizer.lr=0.01", f"weights={tmp_path / 'locked'}") == 0
    before, after = (triptych.load(place).state_dict() for place in (tmp_path / "locked", only_run(tmp_path)))
    name = "towers.image.patch.projection.weight"
    assert not torch.equal(before[name], after[name])


def test_labels_take_the_image_tower_with_a_new_head(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(world, tmp_path, *STILL, labels=True) == 0
    said = capsys.readouterr().out
    assert "the image tower is taken, with a new head" in said
    assert "2 new (head.weight, head.bias)" in said
    given, tuned = cast(Contrastive, triptych.load(world / "pair")), triptych.load(only_run(tmp_path))
    assert isinstance(tuned, Classifier)
    assert tuned.num_classes == 3
    assert tuned.preprocess == given.preprocess
    images = torch.randn(2, 3, 16, 16)
    own: Tensor = given.towers["image"](images).pooled
    torch.testing.assert_close(tuned.embed(images), own, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strategy", [["strategy=linear_probe"], ["strategy=lora", "strategy.rank=2"]], ids=str)
def test_labels_and_strategies_go_with_an_image_tower(world: Path, tmp_path: Path, strategy: list[str]) -> None:
    words = [*strategy, "image_size=24", "trainer.max_steps=2"]
    assert finetune(world, tmp_path, *words, labels=True) == 0
    assert cast(Any, triptych.load(only_run(tmp_path))).preprocess.image_size == (24, 24)


MISTAKES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a loss that needs a bias": ({}, ["objective=siglip"], "the model has none (model.logit_bias_init=null): choose "
                                 "objective=contrastive"),
    "a loss that cannot train a bias": (
        {"weights": "biased"}, ["objective=contrastive"], "has a bias of its logits (model.logit_bias_init=-10), which",
    ),
    "a classifier and captions": (
        {"weights": "classifier"}, [], "are a classifier, which has no tower for the captions of the data. Choose data",
    ),
    "an objective for labels": (
        {}, ["objective=classification"],
        "objective is for a classifier; model, data are for contrastive towers. Choose all of one kind, such as "
        "data=folder objective=classification for",
    ),
    "an objective for captions": (
        {"labels": True}, ["objective=contrastive"], "model, data are for a classifier; objective is for contrastive",
    ),
    "no tokenizer": ({"weights": "silent"}, [], "silent have no tokenizer, so captions cannot be read: put its files"),
    "a probe of captions": ({}, ["strategy=linear_probe"], "contrastive towers have none: take strategy=lora"),
    "too many blocks": ({}, ["strategy=freeze", "strategy.blocks=9"], "strategy.blocks is 9, but the tower has 1"),
    "towers beside the weights": ({}, ["tower_weights.image=x"], "tower_weights.* are for `triptych train`"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, words, message = MISTAKES[mistake]
    assert finetune(world, tmp_path, *words, **options) == 2
    captured = capsys.readouterr()
    (error,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert "Traceback" not in captured.err + captured.out
    assert list(tmp_path.iterdir()) == [], "a run that never began left something behind"
