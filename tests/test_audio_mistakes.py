"""A user's mistake with sounds ends with one readable message, exit code 2 and nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.models.classifier import Classifier

from .sounds import RATE, encode, tone, write

pytestmark = pytest.mark.slow

TINY = [
    "data=audio_folder", "data.batch_size=4", "data.workers=0", f"data.front_end.sample_rate={RATE}",
    "data.front_end.mel_bins=32", "model=ast_nano", "model.tower.mel_bins=32", "model.tower.patch.patch_size=[32,4]",
    "model.tower.dim=8", "model.tower.depth=1", "model.tower.mixer.heads=2", "logger=null", "trainer.accelerator=cpu",
    "trainer.max_steps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with every kind of sound that people have, right and wrong, tables of them, and two checkpoints."""
    root = tmp_path_factory.mktemp("world")

    def put(name: str, content: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    for place, kind in enumerate(("cat", "dog")):
        for number in range(10):
            signal = tone(300 + 500 * place, seed=number)
            part = "val" if number > 6 else "train"
            write(root / "good" / kind / f"{kind}_{'ab'[number % 2]}_{number}.wav", signal)
            write(root / "both" / part / kind / f"{number}.wav", signal)
            put(f"stereo/{kind}/{number}.wav", encode(np.stack([signal, signal], axis=1)))
            put(f"zero/{kind}/{number}.wav", encode(signal[:0]))
            put(f"short/{kind}/{number}.wav", encode(signal[:150]))
            put(f"broken/{kind}/{number}.wav", encode(signal)[:-900])
            put(f"nan/{kind}/{number}.wav", encode(np.where(np.arange(len(signal)) == 5, np.nan, signal)))
            picture = root / "pictures" / kind / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (number, 9, 9)).save(picture)
    rows = [f"good/cat/cat_{'ab'[n % 2]}_{n}.wav,{n % 2},{n % 2 + 1}" for n in range(8)]
    put("table.csv", "\n".join(["path,kind,fold", *rows]).encode())
    put("nofolds.csv", "\n".join(["path,kind,fold", *(row[:-1] + "1" for row in rows)]).encode())
    put("hole.csv", "\n".join(["path,kind,fold", *rows[:-1], rows[-1][:-1]]).encode())
    torch.manual_seed(0)
    for name, listens in (("listens", True), ("sees", False)):
        model = (
            triptych.create("ast_nano", num_classes=2, overrides={
                "tower.dim": 24, "tower.depth": 1, "tower.mel_bins": 32, "tower.patch.patch_size": [32, 4]})
            if listens
            else triptych.create("vit_tiny_patch16_224", num_classes=2, overrides={
                "tower.dim": 24, "tower.depth": 1, "tower.image_size": 32})
        )  # fmt: skip
        assert isinstance(model, Classifier)
        assert model.config is not None
        made = AudioPreprocess(ast(mel_bins=32, sample_rate=RATE), 0.4) if listens else model.preprocess
        model.config.update(classes=["cat", "dog"], preprocess=made.to_dict())
        triptych.export(model, root / name)
    return root


def folds(held: str, file: str = "table.csv") -> list[str]:
    return ["data=audio_manifest", f"data.train.file={{world}}/{file}", f"data.train.folds.held_out={held}"]


TRAIN: dict[str, tuple[list[str], str]] = {
    "another sample rate": (
        ["data.resampling=false", "data.front_end.sample_rate=16000"],
        "its sample rate is 8000 Hz and 16000 Hz is asked for: allow data.resampling=true",
    ),
    "sounds without samples": (["data.root={world}/zero"], "it has no samples"),
    "sounds that are not finite": (["data.root={world}/nan"], "1 of its 1600 samples are not finite (NaN)"),
    "stereo that is refused": (
        ["data.root={world}/stereo", "data.stereo=refuse"], "it has 2 channels, and mono is asked for: allow data",
    ),
    "sounds shorter than a frame": (["data.root={world}/short"], "it is 0.01875 s long, shorter than one frame"),
    "sounds cut short": (["data.root={world}/broken"], "cut short: at least 900 bytes are missing behind its 5580"),
    "a column that is not there": (
        ["data=audio_manifest", "data.train.file={world}/table.csv", "data.train.label=knd"],
        "has no column 'knd'; did you mean 'kind'?",
    ),
    "sounds for a model of images": (
        ["model=vit_nano_patch16_64"], "data are sounds, and the model reads images. Choose all of one kind, such as",
    ),
    "images for a model of sounds": (
        ["data=folder", "data.root={world}/pictures"], "data are images, and the model reads sounds. Choose all of one",
    ),
    "pictures in place of sounds": (["data.root={world}/pictures"], "there are files that end in png"),
    "bands that differ": (
        ["data.front_end.mel_bins=64"], "the front end gives 64 bands, and model.tower.mel_bins is 32: set it to 64",
    ),
    "an unknown front end": (["data/front_end=whispr"], "data/front_end=whispr is not a choice"),
    "an unknown front end, as a value": (["data.front_end=whispr"], "Did you mean 'whisper'?"),
    "no seconds": (["data.max_seconds=0"], "data.max_seconds=0.0 is out of range: > 0"),
    "fewer seconds than none": (["data.max_seconds=-1"], "data.max_seconds=-1.0 is out of range: > 0"),
    "fewer seconds than a frame": (
        ["data.max_seconds=0.01"], "data.max_seconds is 0.01, shorter than one frame (0.025 s); raise it",
    ),
    "a micro-batch of less than a clip": (
        ["data.max_batch_seconds=5"], "data.max_batch_seconds is 5.0, below the data.max_seconds=10.0 of one clip",
    ),
    "an unknown fold": (folds("3"), "folds.held_out is '3', which is no fold"),
    "a row without a fold": (folds("1", "hole.csv"), "line 9 has no fold: fill it in or leave the row out"),
    "all folds held out": (folds("[1,2]"), "folds.held_out=[1, 2] is every fold there is; leave one to train on"),
    "each of no folds": (folds("each", "nofolds.csv"), "held_out=each, but the data have 1 fold: at least 2"),
    "a pattern without a label": (
        ["data=audio_pattern", "data.root={world}/good", "data.train.pattern='([a-z]+)_'"],
        "has no group for the class: write (?P<label>...) around it",
    ),
    "a pattern without folds": (
        ["data=audio_pattern", "data.root={world}/good", "data.train.pattern='(?P<label>[a-z]+)_'",
         "data.train.folds.held_out=each"], "has no group (?P<fold>...)",
    ),
    "no pattern": (["data=audio_pattern", "data.root={world}/good"], "data.train.pattern is not set"),
    "mixed images": (
        ["objective/mix=mixup"],
        "objective.mix is BatchMix, which is for images, and the data are sounds: choose another one, or",
    ),
    "mixed sounds of images": (
        ["data=folder", "data.root={world}/pictures", "model=vit_nano_patch16_64", "objective/mix=clips"],
        "objective.mix is ClipMix, which is for sounds, and the data are images",
    ),
    "masked images": (
        ["data=folder", "data.root={world}/pictures", "model=vit_nano_patch16_64", "objective/mask=spec_augment"],
        "objective.mask is SpecAugment, which is for sounds, and the data are images",
    ),
    "a teacher of images": (
        ["objective=distillation", "objective.teacher.path={world}/sees"], "sees is a model of images, and the data",
    ),
    "stereo by another name": (["data.stereo=both"], "data.stereo=both is out of range: one of mean, left, right, ref"),
    "patches higher than the bands": (["model.tower.patch.patch_size=[64,4]"], "mel_bins"),
}  # fmt: skip

OTHERS: dict[str, tuple[str, list[str], str]] = {
    "images for a checkpoint of sounds": (
        "evaluate", ["checkpoint={world}/listens", "data=folder", "data.root={world}/pictures"],
        "the data are images, and the model in {world}/listens is of sounds: choose other data",
    ),
    "sounds for a checkpoint of images": (
        "evaluate", ["checkpoint={world}/sees", "data=audio_folder", "data.root={world}/good"],
        "the data are sounds, and the model in {world}/sees is of images: choose other data",
    ),
    "a picture to listen to": (
        "predict", ["checkpoint={world}/listens", "input={world}/pictures/cat/0.png"],
        "none of the 1 given sounds can be read; the first is",
    ),
    "a sound to look at": (
        "predict", ["checkpoint={world}/sees", "input={world}/good/cat/cat_a_0.wav"],
        "none of the 1 given images can be read; the first is",
    ),
    "a folder of pictures to listen to": (
        "predict", ["checkpoint={world}/listens", "input={world}/pictures"],
        "is a folder without sounds: files that end in wav",
    ),
    "windows that do not move": (
        "predict", ["checkpoint={world}/listens", "input={world}/good", "hop_seconds=0"], "hop_seconds=0.0 is out of",
    ),
    "a set that is not there": (
        "evaluate", ["checkpoint={world}/listens", "data=audio_folder", "data.root={world}/both", "sets=[vol]"],
        "sets has 'vol', which is no set of these data",
    ),
}  # fmt: skip


def check(task: str, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert start(task, words) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert len(errors[0]) < 700
    began = "could not be read" in errors[0]
    assert began or list(tmp_path.iterdir()) == [], "a run that never began left something behind"


@pytest.mark.parametrize("mistake", TRAIN)
def test_mistake_of_a_training_is_one_message(
    mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = TRAIN[mistake]
    words = [word.replace("{world}", str(world)) for word in words]
    chosen = {word.partition("=")[0] for word in words}
    settings = [*TINY, *([] if "data=audio_manifest" in words else [f"data.root={world}/good"])]
    if any(word.startswith("model=") for word in words):
        settings = [word for word in settings if not word.startswith("model")]
    if "data=folder" in words:
        settings = [word for word in settings if not word.startswith("data.front_end")]
    if chosen & {"data.front_end", "data/front_end"}:
        settings = [word for word in settings if not word.startswith("data.front_end")]
    check("train", [*(word for word in settings if word.partition("=")[0] not in chosen), *words],
          message, tmp_path, capsys)  # fmt: skip


@pytest.mark.parametrize("mistake", OTHERS)
def test_mistake_of_another_task_is_one_message(
    mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, words, message = OTHERS[mistake]
    words = [word.replace("{world}", str(world)) for word in words]
    check(task, [*words, "device.accelerator=cpu"], message.replace("{world}", str(world)), tmp_path, capsys)
