"""A run that only saves, to be killed: `python saver.py RUN STEPS [CALL ...]`.

Without a CALL something outside kills it. With CALLs (functions of `os`, or "write" for a checkpoint's file) it makes many runs, each
killed by SIGKILL right before another call of that function. Each acknowledged save adds its step to the run's `acknowledged`.
"""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from triptych.callbacks.checkpointing import Checkpointing
from triptych.checkpoints import format


def content(step: int) -> dict[str, Any]:
    """The state at a step, which a reader can make for itself."""
    return {
        "global_step": step,
        "state_dict": {"model.weight": torch.full((64, 16), float(step)), "other": torch.tensor(step)},
        "ema": {"weight": torch.full((64, 16), step / 2)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.full((64, 16), -float(step))}}}],
    }


def save_steps(run: Path, steps: int) -> None:
    """Every step validates, the even ones better than all before, so that `best` moves and falls behind."""
    checkpointing = Checkpointing(monitor="score", mode="max", keep=1, folder=run / "checkpoints")
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda value: value),
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        is_global_zero=True,
        sanity_checking=False,
        fast_dev_run=False,
        world_size=1,
    )
    trainer.save_checkpoint = lambda path, weights_only: format.write_checkpoint(path, content(trainer.global_step))
    as_trainer, no_module = cast(Trainer, trainer), cast(LightningModule, None)
    checkpointing.setup(as_trainer, no_module, "fit")
    acknowledged = os.open(run / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for step in range(1, steps + 1):
        trainer.global_step = step
        trainer.callback_metrics = {"score": torch.tensor(float(step if step % 2 == 0 else -step))}
        checkpointing.on_validation_end(as_trainer, no_module)
        os.write(acknowledged, f"{step}\n".encode())


def kill_before(call: str, number: int) -> None:
    """Arm the kill."""
    left = [number]

    def armed(function: Any) -> Any:
        def counted(*args: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **named)

        return counted

    if call == "write":
        setattr(format, "write_file", armed(format.write_file))  # noqa: B010
    else:
        setattr(os, call, armed(getattr(os, call)))


def main() -> None:
    run, steps, calls = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if not calls:
        save_steps(run, steps)
    # Many kills from one process that has imported everything: RUN/CALL/0001, 0002 ... until one is not killed any more.
    for call in calls:
        number, status = 0, -1
        while status != 0:
            number += 1
            place = run / call / f"{number:04d}"
            place.mkdir(parents=True)
            child = os.fork()
            if child == 0:
                kill_before(call, number)
                save_steps(place, steps)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status not in (0, signal.SIGKILL):
                sys.exit(f"{call} {number} ended with status {status}")


if __name__ == "__main__":
    main()
