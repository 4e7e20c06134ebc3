"""Whole runs on sounds: a model learns to tell tones apart, and every command takes it from there."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

import triptych
from triptych.command.start import start
from triptych.data.sound import Sounds
from triptych.models.classifier import Classifier

from .sounds import RATE, tone, write

pytestmark = pytest.mark.slow

PITCHES = {"high": 1800, "low": 300, "middle": 800}
TINY = [
    "data.batch_size=12", "data.workers=0", "data.max_seconds=0.3", f"data.front_end.sample_rate={RATE}",
    "data.front_end.mel_bins=32", "model=ast_nano", "model.tower.mel_bins=32", "model.tower.patch.patch_size=[32,4]",
    "model.tower.dim=32", "model.tower.depth=1", "model.tower.mixer.heads=2", "optimizer=adamw", "optimizer.lr=0.01",
    "schedule.warmup=0.1", "logger=null", "trainer.accelerator=cpu",
]  # fmt: skip


@dataclass(frozen=True)
class World:
    """`tones` of three pitches in folders train and val, and the `run` that was trained on them."""

    root: Path
    tones: Path
    run: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("tones")
    for kind, pitch in PITCHES.items():
        for number in range(12):
            signal = tone(pitch, 0.1 + 0.03 * number, seed=number)
            write(root / "tones" / "train" / kind / f"{number}.wav", signal)
        for number in range(5):
            signal = tone(1.03 * pitch, 0.1 + 0.05 * number, seed=100 + number)
            write(root / "tones" / "val" / kind / f"{number}.wav", signal)
    write(root / "tones" / "val" / "low" / "really_high.wav", tone(PITCHES["high"], seed=9))
    words = ["data=audio_folder", f"data.root={root / 'tones'}", f"output={root / 'out'}", "name=tones"]
    assert (
        start("train", [*TINY, *words, "trainer.epochs=6", "checkpoint.mode=min", "checkpoint.monitor=val/loss"]) == 0
    )
    (run,) = (root / "out" / "train" / "tones").iterdir()
    return World(root, root / "tones", run)


def test_tones_are_told_apart_and_shown(world: World) -> None:
    told = json.loads((world.run / "summary.json").read_text())["metrics"]
    assert told["val/accuracy"] == pytest.approx(15 / 16), "all but the one with the wrong label"
    for name in ("predictions", "mistakes", "attention", "confusion", "curves"):
        with Image.open(world.run / "plots" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5, f"{name}.png shows something"
    assert "was not made" not in (world.run / "run.log").read_text()
    page = (world.run / "report.html").read_text()
    assert page.count("<audio ") == 1
    assert "low, heard as high" in page


def test_evaluate_agrees_with_the_run(world: World) -> None:
    words = [f"checkpoint={world.run}", f"output={world.root / 'out'}", "device.accelerator=cpu", "data.workers=0"]
    assert start("evaluate", [*words, "resamples=50"]) == 0
    (folder,) = (world.root / "out" / "evaluate").glob("*/*")
    found = json.loads((folder / "metrics.json").read_text())["sets"]["val"]
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(15 / 16)
    for name in ("confusion", "mistakes"):
        assert (folder / "plots" / f"val_{name}.png").stat().st_size > 1000
    assert len((folder / "predictions.csv").read_text().splitlines()) == 1 + 16
    assert "· really_high.wav</figcaption><audio controls" in (folder / "report.html").read_text()


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """A graph is traced with sizes that are no numbers, which checks of shapes at run time would pin down."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("form", ["triptych", "onnx"])
def test_a_card_speaks_of_sounds_and_its_piece_of_python_runs(form: str, world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start("export", [f"checkpoint={world.run}", f"format={form}", f"out={out}"]) == 0
    card = (out / "README.md").read_text()
    assert "image" not in card.partition("## Training")[0].lower().replace("image_net", "")
    for said in (
        "pipeline_tag: audio-classification", "An audio spectrogram transformer that tells 3 classes of sounds apart: ",
        "| spectrogram | 32 mel bins, any number of frames |", "| patches | 32 x 4 mel bins and frames |",
        f"| frames sample rate | {RATE} |", "| val | 16 | accuracy | 0.9375 |", "| training sounds | 36 |",
    ):  # fmt: skip
        assert said in card, said
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(out))
    waveform = torch.from_numpy(tone(PITCHES["high"]))
    made = triptych.load(world.run).preprocess(waveform, RATE)  # pyright: ignore
    found: dict[str, Any] = {"waveform": waveform, "sample_rate": RATE, "spectrograms": made.padded()[0].numpy()}
    exec(
        code.replace('"model.onnx"', repr(str(out / "model.onnx"))).replace("config.json", str(out / "config.json")),
        found,
    )
    logits = torch.as_tensor(found["logits"]).detach()
    assert found["classes"][int(logits[0].argmax())] == "high"


def predicted(capsys: pytest.CaptureFixture[str], world: World, *words: str) -> list[dict[str, str]]:
    capsys.readouterr()
    given = [f"checkpoint={world.run}", "device.accelerator=cpu", "output=-", *words]
    assert start("predict", given) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_predict_a_folder_says_what_the_model_itself_says(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    rows = predicted(capsys, world, f"input={world.tones / 'val'}", "top=1", "batch_size=5")
    assert len(rows) == 16
    model = triptych.load(world.run)
    assert isinstance(model, Classifier)
    for row in rows:
        path = Path(row["file"])
        if path.stem != "really_high":
            assert row["label"] == path.parent.name
        with torch.no_grad():
            logits = model(model.preprocess(Sounds(RATE).decode(path.read_bytes())))
        assert float(row["probability"]) == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)


def test_predict_a_long_recording_by_windows(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [tone(PITCHES[kind], 0.6, seed=place) for place, kind in enumerate(("low", "high", "middle"))]
    long = write(world.root / "long.wav", np.concatenate(parts))
    rows = predicted(capsys, world, f"input={long}", "over_time=true", "hop_seconds=0.15", "top=3")
    wanted = [f"{long} {0.15 * place:.2f}-{0.15 * place + 0.3:.2f} s" for place in range(11)]
    assert [row["file"] for row in rows] == wanted
    for first, last, kind in ((0, 2, "low"), (4, 6, "high"), (8, 10, "middle")):
        assert {row["label"] for row in rows[first : last + 1]} == {kind}
    halves = predicted(capsys, world, f"input={long}", "over_time=true")
    assert [row["file"] for row in halves] == wanted, "half a window is the usual way from one to the next"
    (whole,) = predicted(capsys, world, f"input={long}", "hop_seconds=0.15", "top=3")
    for place in ("", "_2", "_3"):
        name = whole[f"label{place}"]
        each = [float(row[f"probability{rank}"]) for row in rows for rank in ("", "_2", "_3")
                if row[f"label{rank}"] == name]  # fmt: skip
        assert float(whole[f"probability{place}"]) == pytest.approx(mean(each), abs=1e-5)
    (short,) = predicted(capsys, world, f"input={world.tones / 'val/low/0.wav'}", "over_time=true", "top=1")
    assert short["file"].endswith("0.wav 0.00-0.10 s")


def test_a_training_for_each_fold(tmp_path: Path) -> None:
    for number in range(18):
        kind = list(PITCHES)[number % 3]
        write(tmp_path / "data" / f"{kind}_{'xyz'[number // 3 % 3]}_{number}.wav", tone(PITCHES[kind], seed=number))
    words = [
        "data=audio_pattern", f"data.root={tmp_path / 'data'}", "data.train.folds.held_out=each", "trainer.epochs=3",
        "data.train.pattern='(?P<label>[a-z]+)_(?P<fold>[xyz])_'", f"output={tmp_path / 'out'}", "name=cross",
    ]  # fmt: skip
    assert start("train", [*TINY, *words]) == 0
    (path,) = (tmp_path / "out").rglob("*folds*.json")
    told = json.loads(path.read_text())
    assert list(told["folds"]) == ["x", "y", "z"]
    for name, each in told["folds"].items():
        summary = json.loads((Path(each["run"]) / "summary.json").read_text())
        assert each["metrics"] == summary["metrics"]
        assert f"held_out: {name}" in (Path(each["run"]) / "config.yaml").read_text().replace("'", "")
    for metric in ("val/accuracy", "val/loss"):
        values = [each["metrics"][metric] for each in told["folds"].values()]
        assert told["mean"][metric] == pytest.approx(mean(values))
        assert told["deviation"][metric] == pytest.approx(stdev(values))
    assert not any(name.startswith("train/") for name in told["mean"])


def test_several_labels_a_clip_and_their_average_precision(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = ["path,tags,split"]
    for number in range(40):
        kinds = [kind for kind in PITCHES if draw.random() < 0.5]
        signal = sum((tone(PITCHES[kind], 0.2, seed=number) for kind in kinds), 0.05 * tone(5, 0.2, seed=number))
        write(tmp_path / f"{number}.wav", np.asarray(signal, dtype=np.float32))
        lines.append(f"{number}.wav,{'|'.join(kinds)},{'train' if number < 24 else 'val'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    words = [
        "data=audio_manifest", f"data.train.file={tmp_path / 'table.csv'}", "data.train.label_separator='|'",
        "data.train.label=tags", "objective=multi_label", "objective/mix=clips", "objective/mask=spec_augment",
        "objective.mask.frequency_width=4", "objective.mask.time_width=3", "trainer.epochs=3", "name=several",
        f"output={tmp_path / 'out'}",
    ]  # fmt: skip
    assert start("train", [*TINY, *words]) == 0
    (run,) = (tmp_path / "out/train/several").iterdir()
    told = json.loads((run / "summary.json").read_text())["metrics"]
    model = triptych.load(run / "checkpoints" / "last")
    assert isinstance(model, Classifier)
    assert model.config is not None
    rows = [line.split(",") for line in lines[25:]]
    sounds = [Sounds(RATE).decode((tmp_path / row[0]).read_bytes()) for row in rows]
    with torch.no_grad():
        scores = model(model.preprocess(sounds)).sigmoid().numpy()
    wanted = np.array([[kind in row[1].split("|") for kind in model.config["classes"]] for row in rows])
    expected = average_precision_score(wanted, scores, average="macro")
    assert told["val/mean_average_precision"] == pytest.approx(float(expected), abs=1e-5)
    assert 0.3 < expected < 1, "neither chance nor so easy that every order is right"
