"""The data module: real loaders, classes matched by name, and an exact restart under Lightning."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor

from triptych.data.folder import FolderSource
from triptych.data.module import ImageData
from triptych.data.shards import ShardSource
from triptych.data.source import Source
from triptych.data.torchvision_sets import ArraySource
from triptych.data.transforms import CentreCrop, RandomResizedCrop
from triptych.errors import UserError
from triptych.paths import resource


def array(size: int, classes: list[str], multilabel: bool = False) -> Source:
    pixels = torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))
    source = ArraySource(pixels, [index % len(classes) for index in range(size)], classes)
    source.multilabel = multilabel
    return source


def image_data(**changes: Any) -> ImageData:
    settings: dict[str, Any] = {
        "train": partial(array, 22, ["a", "b", "c"]),
        "validation": partial(array, 7, ["a", "b", "c"]),
        "augment": RandomResizedCrop(8),
        "evaluate": CentreCrop(8),
        "batch_size": 4,
        "image_size": 8,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "max_bad_fraction": 0.0,
    }
    return ImageData(**settings | changes)


def test_what_others_read_of_it() -> None:
    data = image_data()
    assert (data.classes, data.channels, data.image_size, data.multilabel) == (["a", "b", "c"], 3, (8, 8), False)
    assert (data.steps_per_epoch, data.mean, data.validation_names) == (6, (0.5, 0.5, 0.5), ["validation"])
    batch = next(iter(data.train_dataloader()))
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "image": (torch.uint8, (4, 3, 8, 8)),
        "label": (torch.int64, (4,)),
        "index": (torch.int64, (4,)),
    }


def test_classes_of_a_split_are_matched_by_name() -> None:
    data = image_data(validation={"same": partial(array, 3, ["a", "b", "c"]), "fewer": partial(array, 4, ["c", "a"])})
    same, fewer = data.val_dataloader()
    assert next(iter(same))["label"].tolist() == [0, 1, 2]
    assert next(iter(fewer))["label"].tolist() == [2, 0, 2, 0]
    with pytest.raises(UserError, match="'held' has the class 'bb', which is none of the 3 classes"):
        image_data(validation={"held": partial(array, 3, ["bb"])}).setup("fit")


def test_multilabel_columns_are_matched_by_name(shards: Path) -> None:
    train = partial(ShardSource, str(shards), label="tags", multilabel=True)
    data = image_data(
        train=train, validation=partial(train, classes=["y", "x"]), augment=CentreCrop(8), cache=True, workers=1
    )
    assert data.multilabel
    (loader,) = data.val_dataloader()
    labels = torch.cat([batch["label"].clone() for batch in loader])
    assert labels.dtype == torch.float32
    assert labels[:3].tolist() == [[0, 0], [1, 0], [1, 1]]
    with pytest.raises(UserError, match="multilabel=True, the training data multilabel=False"):
        image_data(validation=train).setup("fit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": [0.5]}, "mean has 1 values and std 3"),
        ({"std": [0.2, 0, 0.2]}, "each must be above 0"),
        ({"workers": -1}, "data.workers is -1"),
        ({"max_bad_fraction": 1.5}, "data.max_bad_fraction is 1.5"),
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"image_size": [8, 0]}, "image_size is"),
    ],
)
def test_settings_out_of_range_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_data(**changes).setup("fit")


@pytest.mark.parametrize("cache", [False, True])
def test_channels_that_do_not_agree_are_told(cache: bool) -> None:
    with pytest.raises(UserError, match=r"is \(3, 8, 8\) .* and \(1, 8, 8\) .*is expected"):
        next(iter(image_data(mean=[0.5], std=[0.5], cache=cache).train_dataloader()))


class Recorder(lightning.LightningModule):
    """Trains one number, by hand, and writes down what it saw."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], int]] = []
        self.stop_after = stop_after

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: dict[str, Tensor]) -> None:
        self.seen.append((self.trainer.global_step, batch["index"].tolist(), int(batch["image"].sum())))
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        self.manual_backward(self.weight * batch["label"].float().mean())
        optimizer.step()
        if self.trainer.global_step == self.stop_after:
            self.trainer.should_stop = True

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        pass


def trainer(folder: Path, max_steps: int) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*tensorboardX.*", "ignore:.*LeafSpec.*")
@pytest.mark.parametrize(("stop", "workers"), [(4, 0), (6, 2), (9, 2)])
def test_lightning_goes_on_where_it_was(stop: int, workers: int, tmp_path: Path) -> None:
    whole, first, second = Recorder(), Recorder(), Recorder()
    trainer(tmp_path, 15).fit(whole, datamodule=image_data())
    interrupted = trainer(tmp_path, stop)
    interrupted.fit(first, datamodule=image_data(workers=workers))
    interrupted.save_checkpoint(tmp_path / "kept.ckpt")
    trainer(tmp_path, 15).fit(second, datamodule=image_data(workers=workers), ckpt_path=tmp_path / "kept.ckpt")
    assert len(whole.seen) == 15
    assert first.seen + second.seen == whole.seen


def test_a_bad_image_in_a_folder_is_named(
    image_folder: Callable[[dict[str, int]], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = image_folder({"train/cat": 30, "train/dog": 30, "val/cat": 2})
    bad = root / "train" / "cat" / "5.png"
    bad.write_bytes(bad.read_bytes()[:-60])
    data = image_data(
        train=partial(FolderSource, str(root)),
        validation=partial(FolderSource, str(root), split="validation"),
        max_bad_fraction=0.02,
    )
    assert sum(len(batch["label"]) for batch in data.train_dataloader()) == 59
    assert data.skipped == 1
    assert f"{bad}: cannot be decoded" in caplog.text


def test_real_folder(shared_data: Path) -> None:
    folder = str(shared_data / "signdigits")
    data = image_data(
        train=partial(FolderSource, folder),
        validation=partial(FolderSource, folder, split="validation"),
        augment=RandomResizedCrop(32),
        evaluate=CentreCrop(32),
        image_size=32,
        batch_size=64,
        workers=2,
    )
    seen = torch.cat([batch["index"] for batch in data.val_dataloader()[0]])
    assert seen.tolist() == list(range(len(data.validation_sources["validation"])))
    batches = iter(data.train_dataloader())
    assert sum(len(next(batches)["label"]) for _ in range(3)) == 192


def test_shipped_emoji() -> None:
    folder = str(resource("data/emoji"))
    split = partial(ShardSource, folder, label="group")
    data = image_data(
        train=partial(split, shards="held_out_concepts-*.tar*"),
        validation={"held_out_style": partial(split, shards="held_out_style-*.tar*")},
        augment=RandomResizedCrop(48),
        image_size=48,
        batch_size=128,
    )
    assert len(data.classes) == 10
    assert data.validation_sources["held_out_style"].classes == data.classes
    labels = torch.cat([batch["label"] for batch in data.train_dataloader()])
    assert labels.unique().numel() >= 8
    image, _ = data.validation_sources["held_out_style"].read(0)
    assert torch.as_tensor(image).float().mean() > 100, "drawings lie on white"
