"""Pictures of their own sizes with captions: trained, stopped and resumed, asked; and each embedded as if alone."""

import csv
import json
import random
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.data.decode import decode_image
from triptych.losses import contrastive, softmax_contrastive
from triptych.models.contrastive import Contrastive
from triptych.objectives.batch import Batch, split
from triptych.objectives.gradient_cache import cached_backward

pytestmark = pytest.mark.slow

SETTINGS = [
    "model=clip_nano", "objective=contrastive", "data=pairs_manifest", "data/image_size=native", "data.workers=0",
    "data.image_size.max_tokens=12", "data.image_size.max_batch_tokens=30", "data.image_size.sides=[8,20]",
    "trainer.micro_batch_size=3", "data.batch_size=8", "model.towers.image.image_size=16",
    "model.towers.image.patch.patch_size=4", "model.towers.image.dim=16", "model.towers.image.depth=2",
    "model.towers.image.mixer.heads=2", "model.towers.image.patch_dropout=0.3", "model.towers.text.dim=16",
    "model.towers.text.depth=1", "model.towers.text.mixer.heads=2", "model.embedding_dim=8", "name=native",
    "logger=null", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.log_every=1", "trainer.epochs=2",
    "checkpoint.every_steps=3", "checkpoint.keep=9",
]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("native")
    draw = random.Random(0)
    rows = ["path,caption,split"]
    for number in range(28):
        size = (draw.randint(5, 40), draw.randint(5, 40))
        Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(root / f"{number}.png")
        rows.append(f"{number}.png,thing {number} of {'abc'[number % 3]},{'train' if number < 20 else 'val'}")
    (root / "captions.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    words = [*SETTINGS, f"data.train.file={pictures / 'captions.csv'}", f"output={output}"]
    assert start("train", words) == 0
    (run,) = (output / "train" / "native").iterdir()
    return run


@torch.no_grad()
def test_each_picture_is_embedded_as_if_alone(pictures: Path, run: Path) -> None:
    model = cast(Any, triptych.load(run))
    assert model.preprocess.native.max_tokens == 12
    assert model.preprocess.native.sides is None
    pixels = [decode_image((pictures / f"{number}.png").read_bytes(), 3) for number in range(20)]
    cut = [model.preprocess.cut(each) for each in pixels]
    assert len({each.shape for each in cut}) > 5
    together = model.embed("image", model.preprocess.normalise(model.preprocess.batch(cut)))
    alone = torch.cat([model.embed("image", model.preprocess(each)[None]) for each in pixels])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_zero_shot_finds_what_validation_found(
    pictures: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"checkpoint={run / 'checkpoints' / 'last'}", "resamples=0", "device.accelerator=cpu", "data.batch_size=3"]
    assert start("zero_shot", words) == 0
    (file,) = tmp_path.glob("outputs/zero_shot/*/*/summary.json")
    said = json.loads((run / "summary.json").read_text())["metrics"]
    found = json.loads(file.read_text())["sets"]["val"]["retrieval"]["metrics"]
    for metric in ("image_to_text_recall_at_1", "text_to_image_recall_at_1", "image_to_text_recall_at_5"):
        assert found[metric]["value"] == pytest.approx(said[f"val/{metric}"])
    capsys.readouterr()
    asked = [f"checkpoint={run}", f"image={pictures}", "labels=thing,a", "device.accelerator=cpu"]
    assert start("zero_shot", asked) == 0
    assert capsys.readouterr().out.count(".png") == 28


def test_resumed_is_the_same_run(run: Path) -> None:
    def trace() -> list[dict[str, str]]:
        with (run / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    whole = trace()
    (run / "summary.json").unlink()
    assert start("train", [f"resume={run / 'checkpoints' / 'step_0000003'}"]) == 0
    assert trace() == whole


def test_gradients_in_pieces_of_mixed_sizes_are_those_of_the_batch(pictures: Path, run: Path) -> None:
    """Patch dropout draws in both passes what it drew in the first."""
    model = cast(Contrastive, triptych.load(run)).double().train()
    wants = model.preprocess
    assert wants is not None
    assert model.tokenizer is not None
    cut = [wants.cut(decode_image((pictures / f"{number}.png").read_bytes(), 3)) for number in range(7)]
    ids, lengths = model.tokenizer([f"thing {number}" for number in range(7)])
    images = wants.normalise(wants.batch(cut)).map(torch.Tensor.double)
    chunks = list(split({"image": images, "text": ids, "text_length": lengths}, 3))
    assert len(chunks) > 2

    def features(batch: Batch) -> list[torch.Tensor]:
        return [model.embed("image", batch["image"]), model.embed("text", batch["text"], batch["text_length"])]

    def loss(found: list[torch.Tensor], shared: list[torch.Tensor]) -> torch.Tensor:
        return contrastive(found, shared[0], None, torch.arange(7), softmax_contrastive)

    torch.manual_seed(0)
    whole = loss([torch.cat(each) for each in zip(*map(features, chunks), strict=True)], [model.logit_scale])
    wanted = torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)
    torch.manual_seed(0)
    model.zero_grad()
    value = cached_backward(chunks, features, loss, [model.logit_scale], lambda part, last: part.backward())
    assert value.item() == pytest.approx(whole.item(), rel=1e-12)
    for parameter, expected in zip(model.parameters(), wanted, strict=True):
        if expected is not None:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-12)
