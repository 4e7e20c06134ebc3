"""Runs of a toy model through a real Trainer: what is saved when, and that a resume goes on as if nothing had been."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from triptych.callbacks.checkpointing import Checkpointing
from triptych.checkpoints.find import find_checkpoint, step_folders
from triptych.checkpoints.format import read_checkpoint, write_checkpoint
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.manifest import verify
from triptych.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*not resumable"),
    # Lightning and this torch disagree on the name of a tree's leaf.
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec"),
]
EPOCH = 4


class Numbers(Dataset[Tensor]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((4,), float(index))


class Batches:
    """Batches of two in order; starts once from `done`, as a resume wants it."""

    done = 0

    def __len__(self) -> int:
        return EPOCH

    def __iter__(self) -> Iterator[list[int]]:
        start, self.done = self.done, 0
        return iter([[2 * batch, 2 * batch + 1] for batch in range(start, EPOCH)])


class Data(LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.batches = Batches()

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(Numbers(2 * EPOCH), batch_sampler=cast(Any, self.batches), generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(Numbers(4), batch_size=2)

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"done": progress.processed % EPOCH}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches.done = state_dict["done"]


class Toy(LightningModule):
    """Draws random numbers in training (dropout) and in validation, so that a wrong RNG state shows."""

    def __init__(self, scores: dict[int, float] | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.scores = scores
        self.events: list[tuple[Any, ...]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer, schedule = cast(Any, self.optimizers()), cast(Any, self.lr_schedulers())
        optimizer.zero_grad()
        loss = self.model(batch).square().mean()
        self.manual_backward(loss)
        optimizer.step()
        schedule.step()
        self.count += 1
        self.events.append(("train", self.trainer.global_step, batch[:, 0].tolist(), loss.item()))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        noisy = self.model(batch).square().mean() + torch.rand(())
        self.log("val/loss", noisy if self.scores is None else self.scores[self.trainer.global_step])

    def on_validation_epoch_end(self) -> None:
        self.events.append(("validation", self.trainer.global_step, float(self.trainer.callback_metrics["val/loss"])))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]


def train(
    folder: Path,
    resume: Path | None = None,
    seed: int = 0,
    callbacks: tuple[Callback, ...] = (),
    scores: dict[int, float] | None = None,
    checkpointing: Checkpointing | None = None,
    **trainer: Any,
) -> Toy:
    seed_everything(seed, verbose=False)
    module = Toy(scores)
    saves = checkpointing or Checkpointing(every_steps=1, monitor="val/loss", keep=99)
    Trainer(
        default_root_dir=folder,
        callbacks=[saves, *callbacks],
        plugins=[FolderCheckpointIO()],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **trainer,
    ).fit(module, datamodule=Data(), ckpt_path=resume, weights_only=True)
    return module


def equal_weights(left: Toy, right: Toy) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))


PLANS: dict[str, dict[str, Any]] = {
    "steps": {"max_steps": 9, "max_epochs": -1},
    "epochs": {"max_epochs": 2},
    "validation by step": {"max_steps": 9, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None},
    "validation within epochs": {"max_epochs": 2, "val_check_interval": 2},
    "no validation": {"max_epochs": 2, "limit_val_batches": 0},
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_resume_from_any_step_is_the_same_to_the_last_bit(tmp_path: Path, plan: dict[str, Any]) -> None:
    whole = train(tmp_path / "whole", **plan)
    folders = step_folders(tmp_path / "whole" / "checkpoints")
    steps = [event[1] for event in whole.events if event[0] == "train"]
    assert [read_checkpoint(folder)["global_step"] for folder in folders] == steps
    for folder, step in zip(folders, steps, strict=True):
        resumed = train(tmp_path / folder.name, resume=folder, seed=99, **plan)
        assert equal_weights(whole, resumed), folder
        assert resumed.events == [event for event in whole.events if event[1] > step], folder


class Interrupt(Callback):
    """Asks for a save during a step, as a signal handler would, and ends the run once it is made."""

    def __init__(self, checkpointing: Checkpointing, step: int) -> None:
        self.checkpointing, self.step = checkpointing, step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step - 1:
            self.checkpointing.request("SIGTERM")
        elif trainer.global_step == self.step:
            raise SystemExit(143)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == self.step and self.checkpointing.requested is None:
            raise SystemExit(143)


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_a_requested_save_comes_before_a_validation_that_the_resume_then_makes(tmp_path: Path, step: int) -> None:
    plan: dict[str, Any] = {"max_steps": 8, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None}
    whole = train(tmp_path / "whole", **plan)
    saves = Checkpointing(monitor="val/loss")
    with pytest.raises(SystemExit):
        train(tmp_path / "run", checkpointing=saves, callbacks=(Interrupt(saves, step),), **plan)
    store = tmp_path / "run" / "checkpoints"
    assert saves.last_step == step
    assert read_checkpoint(find_checkpoint(store))["global_step"] == step
    again = Checkpointing(monitor="val/loss")
    resumed = train(tmp_path / "run", resume=store / "last", seed=99, checkpointing=again, **plan)
    assert equal_weights(whole, resumed)
    due = 1 if step % 3 == 0 else 0
    assert resumed.events == [
        event for event in whole.events if event[1] > step or (event[1] == step and event[0] == "validation")
    ]
    assert len([event for event in resumed.events if event[:2] == ("validation", step)]) == due
    best = min((event for event in whole.events if event[0] == "validation"), key=lambda event: event[2])
    assert read_checkpoint(store / "best")["global_step"] == best[1]


def test_the_whole_trainer_state_goes_through(tmp_path: Path) -> None:
    train(tmp_path, max_steps=3, max_epochs=-1)
    back = read_checkpoint(tmp_path / "checkpoints" / "last")
    assert {
        "state_dict",
        "loops",
        "optimizer_states",
        "lr_schedulers",
        "callbacks",
        "rng",
        "Data",
        "epoch",
    } <= back.keys()
    assert back["optimizer_states"][0]["state"][0]["step"] == 3
    assert [len(back["rng"]), back["Data"]] == [1, {"done": 3}]
    assert back["state_dict"]["count"] == 3


SCORES = {2: 0.5, 4: float("nan"), 6: 0.2, 8: 0.9, 10: 0.3}
BY_TWO: dict[str, Any] = {"max_steps": 10, "max_epochs": -1, "val_check_interval": 2, "check_val_every_n_epoch": None}
TO_SIX: dict[str, Any] = BY_TWO | {"max_steps": 6}


@pytest.mark.parametrize(("mode", "steps"), [("min", 6), ("max", 8)])
def test_best_is_the_best_and_last_the_last(tmp_path: Path, mode: Any, steps: int) -> None:
    saves = Checkpointing(monitor="val/loss", mode=mode, keep=1)
    train(tmp_path, scores=SCORES, checkpointing=saves, **BY_TWO)
    store = tmp_path / "checkpoints"
    assert saves.best_score == pytest.approx(SCORES[steps])
    assert os.readlink(store / "best") == f"step_{steps:07d}"
    assert os.readlink(store / "last") == "step_0000010"
    assert [folder.name for folder in step_folders(store)] == [f"step_{steps:07d}", "step_0000010"]


def test_a_resume_knows_the_best_so_far(tmp_path: Path) -> None:
    def saves() -> Checkpointing:
        return Checkpointing(monitor="val/loss", keep=1)

    train(tmp_path, scores=SCORES, checkpointing=saves(), **TO_SIX)
    train(tmp_path, resume=tmp_path / "checkpoints", scores=SCORES, checkpointing=saves(), **BY_TWO)
    assert os.readlink(tmp_path / "checkpoints" / "best") == "step_0000006"
    assert os.readlink(tmp_path / "checkpoints" / "last") == "step_0000010"


def test_a_run_never_removes_what_it_did_not_save(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "checkpoints", tmp_path / "second" / "checkpoints"
    train(
        tmp_path / "first",
        scores=SCORES,
        checkpointing=Checkpointing(keep=3, monitor="val/loss"),
        **TO_SIX,
    )
    before = sorted(first.rglob("*"))
    (second / "step_0000001").mkdir(parents=True)
    (second / "step_0000002").symlink_to(first / "step_0000002")
    saves = Checkpointing(keep=1, monitor="val/loss")
    train(tmp_path / "second", resume=first, scores=SCORES, checkpointing=saves, **BY_TWO)
    assert sorted(first.rglob("*")) == before
    assert os.readlink(second / "best") == "step_0000010"  # the best of the first run is not in this folder
    assert [entry.name for entry in sorted(second.iterdir())] == [
        *("best", "last", "step_0000001", "step_0000002", "step_0000010")
    ]
    assert (second / "step_0000001").is_dir()
    assert (second / "step_0000002").is_symlink()


def test_a_second_save_of_a_step_gets_a_name_of_its_own(tmp_path: Path) -> None:
    train(tmp_path, max_steps=4, max_epochs=-1, limit_val_batches=0)
    older = tmp_path / "checkpoints" / "step_0000002"
    train(tmp_path, resume=older, max_steps=4, max_epochs=-1, limit_val_batches=0)
    names = [folder.name for folder in step_folders(tmp_path / "checkpoints")]
    assert names == ["step_0000001", "step_0000002", "step_0000003", "step_0000003.2", "step_0000004", "step_0000004.2"]
    assert os.readlink(tmp_path / "checkpoints" / "last") == "step_0000004.2"


def test_saves_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("triptych.callbacks.checkpointing.time", clock)

    class Second(Callback):
        """Every step takes one."""

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            clock.now += 1

    saves = Checkpointing(every_seconds=3, keep=99)
    train(tmp_path, checkpointing=saves, callbacks=(Second(),), max_steps=8, max_epochs=-1, limit_val_batches=0)
    assert [int(folder.name[5:]) for folder in step_folders(tmp_path / "checkpoints")] == [3, 6, 8]


def test_leftovers_of_a_crash_are_cleaned_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leftover = tmp_path / "checkpoints" / ".tmp-step_0000003-1-2"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoints" / ".tmp-last-1-2").symlink_to("step_0000003")
    with caplog.at_level(logging.INFO):
        train(tmp_path, max_steps=1, max_epochs=-1, limit_val_batches=0)
    assert "removed 2 unfinished save(s)" in caplog.text
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["last", "step_0000001"]


def test_saves_that_lead_nowhere_go_once_a_newer_one_is_there(tmp_path: Path) -> None:
    """Going on from an older save abandons the later ones; a crash before a publication leaves such a one too."""
    plan: dict[str, Any] = {"max_epochs": -1, "limit_val_batches": 0}
    train(tmp_path, max_steps=5, **plan)
    store = tmp_path / "checkpoints"
    saves = Checkpointing(every_steps=1, keep=2)
    train(tmp_path, resume=store / "step_0000002", checkpointing=saves, max_steps=6, **plan)
    assert [folder.name for folder in step_folders(store)] == ["step_0000005", "step_0000006"]
    assert read_checkpoint(find_checkpoint(store))["global_step"] == 6


def test_a_save_that_fails_ends_the_run_and_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullAtThree(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if trainer.global_step == 2:
                monkeypatch.setattr("triptych.checkpoints.format.free_bytes", lambda folder: 10)

    store = tmp_path / "checkpoints"
    with pytest.raises(
        UserError, match=rf"no room for a checkpoint in {store}.*last checkpoint is whole: {store}/step_0000002"
    ):
        train(tmp_path, callbacks=(FullAtThree(),), max_steps=5, max_epochs=-1, limit_val_batches=0)
    assert [folder.name for folder in step_folders(store)] == ["step_0000001", "step_0000002"]
    verify(find_checkpoint(store))


def test_an_older_save_goes_only_after_the_newer_one_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path) -> None:
        if folder.name != "step_0000001":
            (folder / "model.safetensors").write_bytes(b"")
        verify(folder)

    monkeypatch.setattr("triptych.callbacks.saves.verify", damaged)
    with pytest.raises(UserError, match=r"step_0000002/model\.safetensors is damaged"):
        train(
            tmp_path,
            checkpointing=Checkpointing(every_steps=1, keep=1),
            max_steps=3,
            max_epochs=-1,
            limit_val_batches=0,
        )
    verify(tmp_path / "checkpoints" / "step_0000001")


def test_wrong_settings_get_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.every_steps is 0; it must be above 0"):
        Checkpointing(every_steps=0)
    with pytest.raises(UserError, match=r"checkpoint\.mode is 'best'; expected 'min' or 'max'"):
        Checkpointing(mode=cast(Any, "best"))
    with pytest.raises(UserError, match=r"monitor is 'val/acc', which is not logged; logged are: val/loss"):
        train(tmp_path, checkpointing=Checkpointing(monitor="val/acc"), max_epochs=1)


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_retention_keeps_the_newest_and_the_best(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    run = tmp_path_factory.mktemp("run")
    keep = data.draw(st.integers(1, 4))
    scores = data.draw(st.lists(st.one_of(st.integers(0, 3).map(float), st.just(float("nan"))), min_size=1, max_size=8))
    saves = Checkpointing(monitor="score", mode="max", keep=keep, folder=run)
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda value: value, checkpoint_io=FolderCheckpointIO()),
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        is_global_zero=True,
        sanity_checking=False,
        save_checkpoint=lambda path, weights_only: write_checkpoint(path, {"state_dict": {}}),
    )
    saves.setup(trainer, cast(Any, None), "fit")
    for step, score in enumerate(scores, start=1):
        trainer.global_step, trainer.callback_metrics = step, {"score": torch.tensor(score)}
        saves.on_validation_end(trainer, cast(Any, None))
        seen = [value for value in scores[:step] if value == value]
        newest = set(range(max(1, step - keep + 1), step + 1))
        best = {scores.index(max(seen)) + 1} if seen else set()
        assert {int(folder.name[5:]) for folder in step_folders(run)} == newest | best
        for folder in step_folders(run):
            verify(folder)
