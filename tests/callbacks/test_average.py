"""Averages of weights: their rules, their exactness under swaps, and their life in checkpoints."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from triptych.callbacks.average import AverageCallback
from triptych.callbacks.ema import EMACallback
from triptych.callbacks.swa import SWACallback
from triptych.errors import UserError
from triptych.features.pixels import Pixels
from triptych.objectives.classification import ClassificationObjective
from triptych.optim.adamw import adamw
from triptych.optim.ema import EMA
from triptych.optim.schedule import constant
from triptych.optim.swa import SWA

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
]

Make = Callable[[], AverageCallback]
EACH = pytest.mark.parametrize("make", [partial(EMACallback, 0.9), partial(SWACallback, 0.3)], ids=["ema", "swa"])


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def move(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model(torch.randn(4, 3, 2, 2, generator=generator))


def clone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_parameters_are_averaged_and_buffers_copied() -> None:
    model = make_model()
    ema = EMA(model, decay=0.9, warmup=False)
    expected = clone(dict(model.named_parameters()))
    for step in range(1, 4):
        move(model, step)
        ema.update(step)
        expected = {name: 0.9 * expected[name] + 0.1 * p.detach() for name, p in model.named_parameters()}
    state = ema.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value)
    for name, buffer in model.named_buffers():
        assert torch.equal(state[name], buffer)


def test_warmup_forgets_the_start_and_ends_at_the_decay() -> None:
    ema = EMA(make_model(), decay=0.99)
    assert [ema.decay_at(1), ema.decay_at(8)] == [2 / 11, 0.5]
    assert ema.decay_at(10_000) == 0.99
    assert EMA(make_model(), decay=0.99, warmup=False).decay_at(1) == 0.99


@settings(deadline=None, max_examples=20)
@given(steps=st.integers(1, 12), first=st.integers(1, 12))
def test_the_mean_is_of_all_weights_from_the_first_step_on(steps: int, first: int) -> None:
    model = make_model()
    swa, seen = SWA(model, first), []
    for step in range(1, steps + 1):
        move(model, step)
        swa.update(step)
        seen.append(clone(dict(model.named_parameters())))
    kept = seen[first - 1 :] or seen[-1:]
    for name, value in swa.state_dict().items():
        if name in kept[0]:
            torch.testing.assert_close(value, torch.stack([each[name] for each in kept]).mean(0))


def test_the_mean_begins_after_its_share_of_the_steps(tmp_path: Path) -> None:
    callback = SWACallback(0.75)
    trainer(tmp_path, 8, callback).fit(objective(), loader())
    assert isinstance(callback.average, SWA)
    assert callback.average.first == 7
    with pytest.raises(UserError, match=r"ema\.start is 1\.0, but must be at least 0 and below 1"):
        SWACallback(1.0)


def test_swapping_twice_gives_back_every_bit_and_keeps_addresses() -> None:
    model = make_model()
    ema = EMA(model, decay=0.5)
    move(model, 1)
    ema.update(1)
    weights, average = clone(model.state_dict()), clone(ema.state_dict())
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    ema.swap()
    assert equal(model.state_dict(), average)
    assert equal(ema.state_dict(), average)
    assert equal(ema.raw_state_dict(), weights)
    with pytest.raises(AssertionError, match="swap back"):
        ema.update(2)
    ema.swap()
    assert equal(model.state_dict(), weights)
    assert equal(ema.state_dict(), average)
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses


def test_a_shared_weight_is_averaged_once_and_named_twice() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    ema = EMA(nn.Sequential(first, second), decay=0.5, warmup=False)
    start = first.weight.detach().clone()
    with torch.no_grad():
        first.weight.add_(1.0)
    ema.update(1)
    state = ema.state_dict()
    torch.testing.assert_close(state["0.weight"], start + 0.5)
    assert torch.equal(state["1.weight"], state["0.weight"])


def test_a_model_moved_after_the_start_is_still_the_one_that_is_swapped() -> None:
    model = make_model()
    ema = EMA(model, decay=0.5)
    model.double().float()  # new storage for every tensor, as a move to another device makes
    average = clone(ema.state_dict())
    move(model, 1)
    ema.swap()
    assert equal(model.state_dict(), average)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    for make in (partial(EMA, make_model(), decay), partial(EMACallback, decay)):
        with pytest.raises(UserError, match=f"ema.decay is {decay}, but must be at least 0 and below 1"):
            make()


def test_half_precision_weights_are_refused() -> None:
    with pytest.raises(UserError, match=r"an average of weights needs float32 ones, but 1\.weight is torch\.bfloat16"):
        EMA(make_model().bfloat16())


def test_an_average_of_another_model_is_refused() -> None:
    ema = EMA(make_model())
    state = clone(ema.state_dict())
    with pytest.raises(UserError, match=r"1.weight of shape \(1, 1\).*\(6, 12\)"):
        ema.load_state_dict({**state, "1.weight": torch.zeros(1, 1)})
    with pytest.raises(UserError, match="extra only on one side"):
        ema.load_state_dict({**state, "extra": torch.zeros(1)})


class SaveDuringValidation(Callback):
    """Saves in the middle of a validation, when the model holds the average."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, Tensor] = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, ClassificationObjective)
        self.seen = clone(pl_module.model.state_dict())
        trainer.save_checkpoint(self.path)


class StopAfter(Callback):
    """Ends the training early, as an interruption does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.step


def objective() -> ClassificationObjective:
    return ClassificationObjective(
        make_model(), partial(adamw, lr=0.05), constant, num_classes=2, front_end=Pixels([0.5] * 3, [0.5] * 3)
    )


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (8, 3, 2, 2), dtype=torch.uint8, generator=generator)
    samples = [{"image": images[i], "label": torch.tensor(i % 2), "index": torch.tensor(i)} for i in range(8)]
    return DataLoader(samples, batch_size=4)  # pyright: ignore[reportArgumentType]


def trainer(root: Path, steps: int, *callbacks: Callback) -> Trainer:
    return Trainer(
        max_steps=steps, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=root,
        callbacks=list(callbacks), check_val_every_n_epoch=None, val_check_interval=2,
    )  # fmt: skip


@EACH
def test_a_checkpoint_saved_during_validation_holds_weights_and_average(make: Make, tmp_path: Path) -> None:
    ema, saver, model = make(), SaveDuringValidation(tmp_path / "mid.ckpt"), objective()
    trainer(tmp_path, 4, ema, saver).fit(model, loader(), loader())
    saved = torch.load(saver.path, weights_only=False)
    raw = {name.removeprefix("model."): value for name, value in saved["state_dict"].items()}
    assert equal(saved["ema"], saver.seen)
    assert equal(raw, model.model.state_dict())
    assert not equal(raw, saver.seen)


@EACH
def test_a_resume_goes_on_with_the_same_average(make: Make, tmp_path: Path) -> None:
    whole, model = make(), objective()
    trainer(tmp_path, 6, whole).fit(model, loader(), loader())

    first, part, stop = make(), objective(), StopAfter(4)
    run = trainer(tmp_path, 6, first, stop)
    run.fit(part, loader(), loader())
    run.save_checkpoint(tmp_path / "four.ckpt")
    second, again = make(), objective()
    trainer(tmp_path, 6, second).fit(again, loader(), loader(), ckpt_path=tmp_path / "four.ckpt", weights_only=False)
    assert whole.average is not None
    assert second.average is not None
    assert equal(whole.average.state_dict(), second.average.state_dict())
    assert equal(model.model.state_dict(), again.model.state_dict())


@EACH
def test_validation_of_a_checkpoint_uses_its_average(make: Make, tmp_path: Path) -> None:
    callback, model = make(), objective()
    run = trainer(tmp_path, 4, callback)
    run.fit(model, loader(), loader())
    run.save_checkpoint(tmp_path / "end.ckpt")
    assert callback.average is not None
    averaged = copy.deepcopy(model)
    averaged.model.load_state_dict(callback.average.state_dict())
    expected = trainer(tmp_path, 1).validate(averaged, loader(), verbose=False)[0]
    fresh = trainer(tmp_path, 1, make())
    got = fresh.validate(objective(), loader(), ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=False)[0]
    assert got == expected
    raw = trainer(tmp_path, 1).validate(model, loader(), verbose=False)[0]
    assert raw["val/loss"] != expected["val/loss"]


def test_a_checkpoint_without_an_average_starts_it_at_the_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trainer(tmp_path, 2)
    run.fit(objective(), loader(), loader())
    run.save_checkpoint(tmp_path / "plain.ckpt")
    callback, model = EMACallback(0.9), objective()
    trainer(tmp_path, 2, callback).fit(model, loader(), loader(), ckpt_path=tmp_path / "plain.ckpt", weights_only=False)
    assert "no average" in caplog.text
    assert callback.average is not None
    assert equal(callback.average.state_dict(), model.model.state_dict())
