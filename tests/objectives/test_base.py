"""What every objective gets: exact micro-batches, clipping, faults before the update, exact resume."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from triptych.callbacks.ema import EMACallback
from triptych.errors import TrainingFault, UserError
from triptych.objectives.mixing import BatchMix
from triptych.optim.adamw import adamw

Make = Callable[..., Any]
shared = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Record(Callback):
    """Gradients just before each optimizer step (after clipping), and the metrics of each step."""

    def __init__(self) -> None:
        self.gradients: list[list[Tensor]] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # zero_grad comes at the start of a step, so the gradients of the last one are still there.
        self.gradients.append([p.grad.clone() for p in pl_module.parameters() if p.grad is not None])
        self.metrics.append({name: value.item() for name, value in trainer.logged_metrics.items()})


def gradients(objective: Make, loader: Make, trainer: Make, count: int, **chosen: Any) -> list[Tensor]:
    record = Record()
    trainer(max_steps=1, max_epochs=-1, callbacks=[record]).fit(
        objective(schedule=_flat, **chosen), loader(count, count)
    )
    return record.gradients[0]


def _flat(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    from triptych.optim.schedule import constant

    return constant(optimizer, total_steps)


@shared
@given(count=st.integers(1, 13), size=st.integers(1, 14), mixed=st.booleans())
def test_micro_batches_of_any_size_give_the_gradients_of_the_batch(
    objective: Make, loader: Make, trainer: Make, count: int, size: int, mixed: bool
) -> None:
    mix = BatchMix(mixup=1.0) if mixed else None
    whole = gradients(objective, loader, trainer, count, mix=mix)
    split = gradients(objective, loader, trainer, count, mix=mix, micro_batch_size=size)
    assert len(whole) == len(split) > 0
    for left, right in zip(whole, split, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-7)


def test_no_micro_batch_exceeds_the_size(objective: Make, loader: Make, trainer: Make) -> None:
    model = objective(micro_batch_size=3, schedule=_flat)
    seen: list[int] = []
    model.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    trainer(max_steps=2, max_epochs=-1).fit(model, loader(11, 8))
    assert seen == [3, 3, 2, 3]


def test_clipping_bounds_the_global_norm_and_logs_the_norm_before(objective: Make, loader: Make, trainer: Make) -> None:
    norms = {}
    for clip in (None, 1e-3, 1e3):
        record = Record()
        run = trainer(max_steps=1, max_epochs=-1, callbacks=[record])
        run.fit(objective(clip=clip, schedule=_flat), loader(8, 8))
        norms[clip] = torch.cat([g.flatten() for g in record.gradients[0]]).norm().item()
        assert run.logged_metrics["grad_norm"].item() == pytest.approx(norms[None])
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1e3] == pytest.approx(norms[None])


def test_the_rate_logged_is_the_one_of_the_step(objective: Make, loader: Make, trainer: Make) -> None:
    record = Record()
    trainer(max_steps=4, max_epochs=-1, callbacks=[record]).fit(objective(), loader(8, 4))
    assert [row["lr"] for row in record.metrics[:2]] == pytest.approx([0.005, 0.01])


class Exploding(nn.Module):
    """A model whose loss is nan from its third call on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits = self.layer(images.flatten(1))
        return logits * float("nan") if self.calls >= 3 else logits


def test_a_nan_stops_before_the_update(objective: Make, loader: Make, trainer: Make) -> None:
    reference, model = Exploding(), Exploding()
    model.load_state_dict(reference.state_dict())
    trainer(max_steps=2, max_epochs=-1).fit(objective(model=reference, schedule=_flat), loader(16, 4))
    with pytest.raises(TrainingFault, match="the loss is nan at step 3; the step was not made") as fault:
        trainer(max_steps=9, max_epochs=-1).fit(objective(model=model, schedule=_flat), loader(16, 4))
    assert fault.value.step == 3
    assert torch.equal(model.layer.weight, reference.layer.weight)


def test_on_a_device_that_should_not_wait_nothing_spoilt_is_saved(
    objective: Make, loader: Make, trainer: Make, tmp_path: Path
) -> None:
    model = objective(model=Exploding(), schedule=_flat)
    model.guard.lazy = True
    run = trainer(max_steps=6, max_epochs=-1, log_every_n_steps=5)
    with pytest.raises(TrainingFault, match="at step 3"):
        run.fit(model, loader(32, 4))
    assert run.global_step == 4  # noticed at the next logged step, before its update
    with pytest.raises(TrainingFault, match="at step 3"):
        run.save_checkpoint(tmp_path / "spoilt.ckpt")
    assert not (tmp_path / "spoilt.ckpt").exists()


class Overflowing(nn.Module):
    """A finite loss with a gradient that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale.sqrt() + images.flatten(1)[:, :3]


def test_a_gradient_that_is_not_finite_stops_before_the_update(objective: Make, loader: Make, trainer: Make) -> None:
    model = Overflowing()
    with pytest.raises(TrainingFault, match=r"the norm of the gradients is .* at step 1"):
        trainer(max_steps=1, max_epochs=-1).fit(objective(model=model, clip=1.0, schedule=_flat), loader(4, 4))
    assert torch.equal(model.scale, torch.zeros(3))


def state(model: Any, ema: EMACallback, run: Trainer) -> dict[str, Any]:
    assert ema.average is not None
    return {
        "weights": copy.deepcopy(model.state_dict()),
        "ema": copy.deepcopy(ema.average.state_dict()),
        "lr": [group["lr"] for group in run.optimizers[0].param_groups],
    }


def test_a_resumed_training_is_bit_equal_to_an_unbroken_one(
    objective: Make, loader: Make, trainer: Make, tmp_path: Path
) -> None:
    chosen: dict[str, Any] = {"clip": 0.5, "micro_batch_size": 3}

    def part(steps: int, path: Path | None) -> tuple[dict[str, Any], Trainer]:
        model = objective(mix=BatchMix(mixup=0.8, cutmix=1.0), schedule=_six, **chosen)
        ema = EMACallback(0.9)
        torch.manual_seed(steps)  # what was drawn elsewhere must not matter
        run = trainer(max_steps=steps, max_epochs=-1, callbacks=[ema])
        # The same samples at each step: where a run goes on in the data is the loader's business.
        run.fit(model, loader(8, 8), ckpt_path=path, weights_only=False)
        return state(model, ema, run), run

    whole, _ = part(6, None)
    _, stopped = part(3, None)
    stopped.save_checkpoint(tmp_path / "three.ckpt")
    resumed, _ = part(6, tmp_path / "three.ckpt")
    assert resumed["lr"] == whole["lr"]
    for kind in ("weights", "ema"):
        assert resumed[kind].keys() == whole[kind].keys()
        for name in whole[kind]:
            assert torch.equal(resumed[kind][name], whole[kind][name]), (kind, name)


def _six(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    from triptych.optim.schedule import cosine

    return cosine(optimizer, 6, warmup=2.0)


def test_a_resume_takes_its_settings_from_the_configuration(
    objective: Make, loader: Make, trainer: Make, tmp_path: Path
) -> None:
    first = trainer(max_steps=3, max_epochs=-1)
    first.fit(objective(schedule=_six), loader(12, 4))
    first.save_checkpoint(tmp_path / "three.ckpt")
    changed = objective(schedule=_six, optimizer=partial(adamw, lr=0.5, weight_decay=0.3, betas=[0.5, 0.6]))
    second = trainer(max_steps=4, max_epochs=-1)
    second.fit(changed, loader(12, 4), ckpt_path=tmp_path / "three.ckpt", weights_only=False)
    decay, rest = second.optimizers[0].param_groups
    assert (decay["weight_decay"], rest["weight_decay"], decay["betas"]) == (0.3, 0.0, (0.5, 0.6))
    assert decay["initial_lr"] == 0.5
    assert decay["lr"] == 0.5 * _six(torch.optim.SGD([torch.zeros(1)], lr=1.0), 6).factor(4)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [({"clip": 0.0}, "clip is 0.0.*null turns clipping off"), ({"micro_batch_size": 0}, "micro_batch_size is 0")],
)
def test_settings_that_cannot_be_are_refused(objective: Make, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        objective(**chosen)
