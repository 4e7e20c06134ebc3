"""Towers of a contrastive run that start from other checkpoints, and stand still where they are locked."""

import random
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import triptych
from triptych.checkpoints.format import read_checkpoint
from triptych.command.start import start
from triptych.models.contrastive import Contrastive
from triptych.presets import create

from .evaluation.conftest import COLOURS, draw_picture

pytestmark = pytest.mark.slow

SIZES = {"image_size": 16, "patch.patch_size": 8, "dim": 16, "depth": 2, "mixer.heads": 2}
PAIR = {
    **{f"towers.image.{key}": value for key, value in SIZES.items()}, "towers.text.dim": 16, "towers.text.depth": 1,
    "towers.text.mixer.heads": 2, "embedding_dim": 8,
}  # fmt: skip
COMMON = [
    "model=clip_nano", "objective=contrastive", *(f"model.{key}={value}" for key, value in PAIR.items()),
    "data=pairs_manifest", "data.batch_size=6", "data.workers=0", "name=small", "logger=null",
    "trainer.accelerator=cpu", "trainer.threads=1", "trainer.log_every=1", "trainer.max_steps=4", "optimizer.lr=0.01",
]  # fmt: skip
WORDS = {
    "_target_": "triptych.features.word_tokenizer.WordTokenizer",
    "words": ["red", "a", "sea"],
    "context_length": 9,
}


def fill(model: Any) -> Any:
    """Numbers that no initialisation gives."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
        if isinstance(model, Contrastive):
            model.logit_scale.fill_(2)
    return model.eval()


def pair(**changes: Any) -> Contrastive:
    """A pair that knows three words, with its config."""
    made = create("clip_nano", overrides={**PAIR, "towers.text.vocab_size": 7, **changes})
    plain = cast(Any, made).config["model"]
    plain["tokenizer"] = WORDS
    plain["towers"]["text"] |= {"vocab_size": None, "context_length": None, "end_token": None}
    from triptych.build import build
    from triptych.tokens import fill_vocabulary

    fill_vocabulary(plain)
    model = fill(build(plain))
    model.config = {"model": plain}
    return model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned pictures, and checkpoints of every kind that have a tower to give."""
    root = tmp_path_factory.mktemp("world")
    draw = random.Random(0)
    rows = ["path,caption,split"]
    for colour in COLOURS:
        for number in range(6):
            path = root / "pictures" / colour / f"{number}.png"
            draw_picture(path, colour, draw, (16, 20))
            rows.append(f"{path.relative_to(root)},{colour} {number},{'train' if number < 4 else 'val'}")
    (root / "captions.csv").write_text("\n".join(rows) + "\n")
    sizes = {f"tower.{key}": value for key, value in SIZES.items()}
    triptych.export(fill(create("vit_nano_patch16_64", 3, overrides=sizes)), root / "classifier")
    triptych.export(fill(create("vit_nano_patch16_64", 3, overrides={**sizes, "tower.dim": 32})), root / "wide")
    triptych.export(fill(create("vit_nano_patch16_64", 3, overrides={**sizes, "tower.mixer.heads": 4})), root / "heads")
    triptych.export(pair(), root / "pair")
    # Large enough for timm's own format, which says nothing of heads of another width than 64.
    plain = {**sizes, "tower.dim": 64, "tower.mixer.heads": 1}
    for form in ("timm", "huggingface"):
        triptych.export(fill(create("vit_tiny_patch16_224", 3, overrides=plain)), root / form, format=form)
    return root


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here."""
    monkeypatch.setattr("triptych.callbacks.pictures.RunPictures.on_fit_end", lambda *_: None)


def train(world: Path, output: Path, *words: str) -> int:
    chosen = {word.partition("=")[0] for word in words}
    settings = [*COMMON, f"data.train.file={world / 'captions.csv'}", f"output={output}"]
    return start("train", [*(word for word in settings if word.partition("=")[0] not in chosen), *words])


def only_run(output: Path) -> Path:
    (run,) = (output / "train" / "small").iterdir()
    return run


def tower(path: Path, name: str = "image") -> dict[str, torch.Tensor]:
    model: Any = triptych.load(path)
    return (model.towers[name] if isinstance(model, Contrastive) else model.tower).state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("given", ["classifier", "pair"])
def test_a_locked_tower_is_the_given_one_to_the_last_bit(world: Path, tmp_path: Path, given: str) -> None:
    """LiT; and the run goes on from its checkpoint as if nobody had stopped it, without the weights that it had."""
    whole = [f"tower_weights.image={world / given}", "model.locked=[image]", "optimizer=adamw"]
    whole += [*AS_VIT, "model.towers.image.norm.eps=1e-6"] if given == "classifier" else []
    assert train(world, tmp_path / "whole", *whole) == 0
    run = only_run(tmp_path / "whole")
    assert_same(tower(run), tower(world / given))
    saved = read_checkpoint(run / "checkpoints" / "last")
    model = cast(Contrastive, triptych.load(run))
    trained = [name for name, _ in model.named_parameters() if not name.startswith("towers.image.")]
    assert sum(len(group["params"]) for group in saved["optimizer_states"][0]["param_groups"]) == len(trained)
    text = tower(run, "text")
    assert train(world, tmp_path / "parts", *whole, "checkpoint.every_steps=2", "checkpoint.keep=9") == 0
    parts = only_run(tmp_path / "parts")
    (parts / "summary.json").unlink()
    config = (parts / "config.yaml").read_text()
    gone = str(world / "gone")
    (parts / "config.yaml").write_text(config.replace(str(world / given), gone))
    assert start("train", [f"resume={parts / 'checkpoints' / 'step_0000002'}"]) == 0
    assert_same(tower(parts, "text"), text)
    assert_same(tower(parts), tower(world / given))
    assert (parts / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


@pytest.mark.parametrize("form", ["timm", "huggingface"])
def test_towers_of_other_libraries(world: Path, tmp_path: Path, form: str) -> None:
    words = [
        f"tower_weights.image={world / form}", "model.locked=[image]", "model.towers.image.dim=64",
        "model.towers.image.mixer.heads=1", "model/tower/feedforward@model.towers.image.feedforward=gelu",
        "model/tower/position@model.towers.image.position=learned", "trainer.max_steps=1",
        "model/tower/pool@model.towers.image.pool=class_token", "model.towers.image.norm.eps=1e-6",
        "model.towers.image.patch.bias=true", "model.towers.image.input_norm=null",
        "model.towers.image.pool.norm_after=false",
        *(["model.towers.image.position.antialias=false"] if form == "huggingface" else []),
    ]  # fmt: skip
    assert train(world, tmp_path, *words) == 0
    assert_same(tower(only_run(tmp_path)), tower(world / form))


def test_a_text_tower_brings_its_tokenizer(world: Path, tmp_path: Path) -> None:
    words = [f"tower_weights.text={world / 'pair'}", "model.locked=[text]", "trainer.max_steps=2"]
    assert train(world, tmp_path, *words, "checkpoint.every_steps=1", "checkpoint.keep=9") == 0
    run = only_run(tmp_path)
    assert cast(Any, triptych.load(run)).tokenizer.config == WORDS | {"clean": "lower"}
    assert_same(tower(run, "text"), tower(world / "pair", "text"))
    (run / "summary.json").unlink()
    assert start("train", [f"resume={run / 'checkpoints' / 'step_0000001'}"]) == 0


def test_any_architecture_of_timm_reads_the_images(world: Path, tmp_path: Path) -> None:
    words = [
        "model=clip_timm", "model.towers.image.name=test_resnet", "model.towers.image.image_size=32",
        "model.towers.text.depth=1", "model/tokenizer=words", "trainer.max_steps=1",
    ]  # fmt: skip
    settings = [word for word in COMMON if not word.startswith(("model", "trainer.max_steps"))]
    settings += [f"data.train.file={world / 'captions.csv'}", f"output={tmp_path}", *words]
    assert start("train", settings) == 0
    first = only_run(tmp_path)
    model = cast(Contrastive, triptych.load(first))
    assert model.embed("image", torch.randn(2, 3, 32, 32)).shape == (2, 512)
    first.rename(tmp_path / "first")
    assert start("train", [*settings, f"tower_weights.image={tmp_path / 'first'}", "model.locked=[image]"]) == 0
    assert_same(tower(only_run(tmp_path)), tower(tmp_path / "first"))


AS_VIT = ["model.towers.image.input_norm=null", "model.towers.image.patch.bias=true"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "another width": (
        ["tower_weights.image={world}/wide", *AS_VIT],
        "tower_weights.image={world}/wide does not fit this tower: patch.projection.weight is (32, 192) there and "
        "(16, 192) here. Set model.towers.image.dim=32 model.towers.image.norm.eps=1e-06",
    ),
    "another depth": (
        ["tower_weights.image={world}/classifier", *AS_VIT, "model.towers.image.depth=1"],
        "stack.blocks.1.mixer_norm.weight is (16,) there and missing here. Set model.towers.image.depth=2",
    ),
    "a norm too many": (
        ["tower_weights.image={world}/classifier"],
        "input_norm.weight is missing there and (16,) here. Set model.towers.image.input_norm=null model.towers.image.",
    ),
    "other parts": (
        ["tower_weights.image={world}/classifier", *AS_VIT, "model/tower/pool@model.towers.image.pool=class_token"],
        "class_token is missing there and (1, 16) here. Set model.towers.image.norm.eps=1e-06. There model.towers."
        "image.pool is a MeanPool (model/tower/pool@model.towers.image.pool=... chooses it)",
    ),
    "other heads": (
        ["tower_weights.image={world}/heads", *AS_VIT],
        "would compute something else in this tower: mixer.heads is 4 there and 2 here, norm.eps is 1e-06 there and "
        "1e-05 here. Set model.towers.image.mixer.heads=4 model.towers.image.norm.eps=1e-06",
    ),
    "no text tower": (["tower_weights.text={world}/classifier"], "holds a Classifier, which has no text tower"),
    "another tokenizer": (
        ["tower_weights.text={world}/pair", "model/tokenizer=bytes"],
        "reads the ids of its own tokenizer (WordTokenizer, context_length=9), and the model has another",
    ),
    "both kinds of weights": (
        ["weights={world}/pair", "tower_weights.image={world}/pair"], "set one of the two",
    ),
    "nothing there": (["tower_weights.image={world}/clasifier"], "did you mean {world}/classifier?"),
    "no such tower": (["tower_weights.audio={world}/pair"], "there is no setting 'tower_weights.audio'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = MISTAKES[mistake]
    assert train(world, tmp_path, *(word.replace("{world}", str(world)) for word in words)) == 2
    captured = capsys.readouterr()
    (error,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert message.replace("{world}", str(world)) in error
    assert "Traceback" not in captured.err + captured.out
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_has_no_single_towers(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=folder", f"data.root={world / 'pictures'}", f"tower_weights.image={world / 'pair'}"]
    assert start("train", [*words, f"output={tmp_path}"]) == 2
    assert "is for contrastive towers, and the model has none: choose one such as" in capsys.readouterr().err
