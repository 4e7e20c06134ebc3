"""A contrastive run on shards with broken members, killed mid-epoch, is the run that was never interrupted."""

import csv
import io
import json
import multiprocessing
import os
import random
import signal
import tarfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from triptych.callbacks.summary import end_table
from triptych.command.start import start
from triptych.objectives.batch import Batch
from triptych.objectives.contrastive import ContrastiveObjective

pytestmark = pytest.mark.slow

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["triptych.run", "triptych.command.start"])

SHARDS, PER_SHARD, BATCH = 3, 20, 10
BROKEN = (5, 26, 47)  # 5 percent
STEPS_PER_EPOCH = 6
SETTINGS = [
    "model=clip_nano", "objective=contrastive", "data=pairs_shards", "name=killed", f"data.batch_size={BATCH}",
    "data.workers=2", "data.max_bad_fraction=0.1", "trainer.micro_batch_size=3", "model.towers.image.image_size=16",
    "model.towers.image.patch.patch_size=4", "model.towers.image.dim=16", "model.towers.image.depth=2",
    "model.towers.image.mixer.heads=2", "model.towers.image.stochastic_depth=0.3",
    "model.towers.image.patch_dropout=0.25", "model.towers.text.dim=16", "model.towers.text.depth=1",
    "model.towers.text.mixer.heads=2", "model.embedding_dim=8", "ema=ema", "trainer.epochs=3", "trainer.log_every=1",
    "checkpoint.every_steps=2", "logger=null", "trainer.threads=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Shards of pictures with one or two captions; some pictures are cut short."""
    draw = random.Random(0)
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(SHARDS + 1):
        name = f"train-{shard:06d}.tar" if shard < SHARDS else "val-000000.tar"
        with tarfile.open(folder / name, "w") as archive:
            for number in range(shard * PER_SHARD, shard * PER_SHARD + (PER_SHARD if shard < SHARDS else 6)):
                buffer = io.BytesIO()
                Image.frombytes("RGB", (20, 18), draw.randbytes(1080)).save(buffer, "png")
                image = buffer.getvalue()[: 60 if number in BROKEN else None]
                fields = {"captions": [f"thing {number % 9}", f"a {number}"][: 1 + number % 2]}
                for kind, content in (("png", image), ("json", json.dumps(fields).encode())):
                    member = tarfile.TarInfo(f"{number:06d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


def traced(words: list[str], file: str) -> None:
    """`triptych train`, with the samples of each step written to a file as it begins."""
    step = ContrastiveObjective.training_step

    def written(self: ContrastiveObjective, batch: Batch, batch_idx: int) -> Tensor:
        with open(file, "a") as out:
            print(self.trainer.global_step + 1, *batch["index"].tolist(), file=out, flush=True)
        return step(self, batch, batch_idx)

    ContrastiveObjective.training_step = written
    raise SystemExit(start("train", words))


def launch(words: list[str], file: Path) -> BaseProcess:
    process = CONTEXT.Process(target=traced, args=(words, str(file)))
    process.start()
    return process


def kill_after(process: BaseProcess, run: Path, step: int) -> None:
    """SIGKILL as soon as `step` is logged."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        files = list(run.glob("*/metrics.csv"))
        if files and sum(line[:1].isdigit() for line in files[0].read_text().splitlines()[:-1]) >= step:
            break
        time.sleep(0.002)
    assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def samples(file: Path) -> dict[int, list[int]]:
    """The samples of each step; a step that was made twice, before and after the kill, had the same both times."""
    found: dict[int, list[int]] = {}
    for line in file.read_text().splitlines():
        step, *rows = map(int, line.split())
        assert found.setdefault(step, rows) == rows
    return found


def weights(run: Path) -> dict[str, Tensor]:
    last = run / "checkpoints" / "last"
    return {
        f"{name}/{key}": value
        for name in ("model", "ema")
        for key, value in load_file(last / f"{name}.safetensors").items()
    }


def test_killed_and_resumed_equals_never_interrupted(shards: Path, tmp_path: Path) -> None:
    words = [*SETTINGS, f"data.root={shards}", "data.train.caption.fields=[captions]"]
    process = launch([*words, f"output={tmp_path / 'whole'}"], tmp_path / "whole.txt")
    process.join(120)
    assert process.exitcode == 0
    broken = tmp_path / "broken" / "train" / "killed"
    process = launch([*words, f"output={tmp_path / 'broken'}"], tmp_path / "broken.txt")
    kill_after(process, broken, 9)  # in the second epoch
    (run,) = broken.iterdir()
    process = launch([f"resume={run}"], tmp_path / "broken.txt")
    process.join(120)
    assert process.exitcode == 0

    (whole,) = (tmp_path / "whole" / "train" / "killed").iterdir()
    expected, found = samples(tmp_path / "whole.txt"), samples(tmp_path / "broken.txt")
    assert sorted(expected) == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert found == expected
    good = sorted(set(range(SHARDS * PER_SHARD)) - set(BROKEN))
    for epoch in range(3):
        steps = range(epoch * STEPS_PER_EPOCH + 1, (epoch + 1) * STEPS_PER_EPOCH + 1)
        assert sorted(number for step in steps for number in expected[step]) == good
    rows = [list(csv.DictReader((each / "metrics.csv").read_text().splitlines())) for each in (whole, run)]
    assert [int(row["step"]) for row in rows[0] if row["train/loss"]] == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert rows[0] == rows[1]
    before, after = weights(whole), weights(run)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["data"]["skipped_samples"] == len(BROKEN)
    told = dict(end_table(summary, whole))["skipped"]
    assert told == f"{len(BROKEN)} samples that could not be read, named in run.log"
    for each in (whole, run):
        said = (each / "run.log").read_text()
        for number in BROKEN:
            assert f"skipped sample {number}, " in said
            assert f"{number:06d}" in said.split(f"skipped sample {number}, ")[1].splitlines()[0]


def test_a_resume_with_other_captions_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.callbacks.pictures.RunPictures.on_fit_end", lambda *_: None)
    draw = random.Random(0)
    rows = []
    for number in range(12):
        Image.frombytes("RGB", (16, 16), draw.randbytes(768)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,a thing {'cat' if number % 2 else 'dog'},{'train' if number < 8 else 'val'}")
    table = tmp_path / "captions.csv"
    table.write_text("\n".join(["path,caption,split", *rows]) + "\n")
    settings = [word for word in SETTINGS if not word.startswith(("data=", "data.workers"))]
    words = [*settings, "data=pairs_manifest", "data.workers=0", f"data.train.file={table}", f"output={tmp_path}"]
    assert start("train", [*words, "trainer.max_steps=1"]) == 0
    (run,) = (tmp_path / "train" / "killed").iterdir()
    before = {file: file.read_bytes() for file in run.glob("*.*") if file.name != "run.log"}
    table.write_text(table.read_text().replace("dog", "owl"))
    capsys.readouterr()
    assert start("train", [f"resume={run}", "trainer.max_steps=2"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "was trained with another tokenizer than this configuration and its captions make now (4 words" in error
    assert "4 words there and 4 now; gone: dog; new: owl): a token would mean another word. Put the captions" in error
    assert "Traceback" not in error
    assert {file: file.read_bytes() for file in before} == before
    table.write_text(table.read_text().replace("owl", "dog"))
    assert start("train", [f"resume={run}", "trainer.max_steps=2"]) == 0
