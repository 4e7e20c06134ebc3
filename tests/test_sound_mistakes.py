"""Wrong settings and wrong files of sounds: one readable message, exit code 2. Right ones train."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from triptych.command.start import start

pytestmark = pytest.mark.slow

SMALL = [
    "model=ast_nano", "model.tower.dim=24", "model.tower.depth=1", "model.tower.mixer.heads=2", "data.batch_size=4",
    "data.workers=0", "data.front_end.mel_bins=64", "logger=null", "trainer.accelerator=cpu", "trainer.max_steps=2",
]  # fmt: skip


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, 4_000).astype(np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders, tables and shards of sounds, right and wrong."""
    root = tmp_path_factory.mktemp("world")

    def folder(name: str, make: str) -> None:
        for number in range(20):
            path = root / name / "ab"[number % 2] / f"{number}.{'png' if make == 'picture' else 'wav'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = noise(number)
            if make == "nan":
                samples[7] = np.nan
            if make == "picture":
                Image.new("RGB", (8, 8)).save(path)
            else:
                rate = 8_000 if make == "slow" else 16_000
                soundfile.write(path, samples, rate, subtype="FLOAT" if make == "nan" else "PCM_16")

    for name in ("good", "nan", "slow", "picture"):
        folder(name, name)
    rows = [f"good/{'ab'[n % 2]}/{n}.wav,{'ab'[n % 2]},{n % 5 + 1},0.05,0.2" for n in range(20)]

    def table(name: str, header: str, *lines: str) -> None:
        (root / name).write_text("\n".join((header, *lines)) + "\n")

    table("good.csv", "path,label,fold,from,to", *rows)
    table("words.csv", "path,label,from", *(f"{row.rsplit(',', 3)[0]},soon" for row in rows))
    table("plain.csv", "path,label", *(row.rsplit(",", 3)[0] for row in rows))
    with tarfile.open(root / "train-0.tar", "w") as archive:
        for number in range(20):
            buffer = io.BytesIO()
            soundfile.write(buffer, noise(number), 16_000, format="OGG")
            for name, data in ((f"{number}.ogg", buffer.getvalue()),
                               (f"{number}.json", json.dumps({"kind": "ab"[number % 2]}).encode())):  # fmt: skip
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    (root / "empty").mkdir()
    return root


def of(name: str) -> list[str]:
    return ["data=audio_folder", f"data.root={{world}}/{name}"]


PATTERN = ["data=audio_pattern", "data.root={world}/good"]
SHARDS = [
    "data=audio_shards", "data.root={world}", "data.train.label=kind", "data.validation.val.shards=train-*.tar",
]  # fmt: skip
TABLE = ["data=audio_manifest", "data.train.file={world}/good.csv", "data.train.label=label"]

MISTAKES: dict[str, tuple[list[str], str]] = {
    "sounds of another rate": ([*of("slow"), "data.resampling=false"], "its sample rate is 8000 Hz and 16000 Hz is"),
    "samples that are no numbers": (of("nan"), "1 of its 4000 samples are not finite (NaN)"),
    "pictures": (of("picture"), "no sounds in the 2 class folders of"),
    "an unknown way of stereo": ([*of("good"), "data.stereo=both"], "data.stereo=both is out of range: one of"),
    "clips of no length": ([*of("good"), "data.max_seconds=0"], "data.max_seconds=0.0 is out of range: > 0"),
    "clips shorter than a frame": ([*of("good"), "data.max_seconds=0.01"], "shorter than one frame (0.025 s)"),
    "no folder": (["data=audio_folder"], "data.root is not set"),
    "no pattern": (PATTERN, "data.train.pattern is not set"),
    "a pattern that fits nothing": ([*PATTERN, "data.train.pattern='(?P<label>x)'"], "fits none of the 20 sounds in"),
    "a pattern without a class": ([*PATTERN, "data.train.pattern='[ab]'"], "has no group for the class: write"),
    "no such column of labels": ([*TABLE[:2], "data.train.label=lable"], "no column 'lable'; did you mean 'label'?"),
    "no such fold": ([*TABLE, "data.train.folds.held_out=7"], "held_out is '7', which is no fold; there is '1', '2',"),
    "no column of folds": (
        ["data=audio_manifest", "data.train.file={world}/plain.csv", "data.train.folds.held_out=1"],
        "plain.csv has no column 'fold'",
    ),
    "parts by words": (
        ["data=audio_manifest", "data.train.file={world}/words.csv", "data.train.segment.start=from"],
        "has 'soon' in the column 'from', which is no number of seconds",
    ),
    "no such field": ([*SHARDS[:2], SHARDS[3], "data.train.label=kint"], "no field 'kint' in its .json; did you mean"),
    "not the archive": (["data=speech_commands", "data.root={world}/good"], "has no validation_list.txt, which says"),
    "no data set": (["data=audio_datasets"], "no data set is named: give data.root=FOLDER or data.train.hub=NAME"),
}  # fmt: skip

RIGHT: dict[str, list[str]] = {
    "folder of another rate": of("slow"),
    "fold, and parts of files": [
        *TABLE, "data.train.folds.held_out=3", "data.train.segment.start=from", "data.train.segment.end=to",
    ],
    "shards": SHARDS,
}  # fmt: skip


def filled(words: list[str], world: Path) -> list[str]:
    return [*SMALL, *(word.replace("{world}", str(world)) for word in words)]


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistake_is_one_message(
    words: list[str], message: str, world: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert start("train", filled(words, world)) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize("words", RIGHT.values(), ids=list(RIGHT))
def test_every_storage_trains(words: list[str], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start("train", filled(words, world)) == 0
    [summary] = tmp_path.glob("outputs/**/summary.json")
    facts = json.loads(summary.read_text())
    assert facts["steps"] == 2
