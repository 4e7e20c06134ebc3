"""Runs that only save, each with a fault at another call: `python saver.py FOLDER STEPS HOW CALL...`.

For every CALL it makes the runs FOLDER/CALL/0001, 0002, ... until one has no such call left to fail. HOW is "patch"
(SIGKILL right before the n-th call of a function of `os`, or of "write", a checkpoint's file), "strace-kill" (SIGKILL
inside the n-th system call) or "strace-error" (it fails with EIO). One process imports, children save. Each
acknowledged save adds its step to the run's `acknowledged`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from triptych.callbacks.checkpointing import Checkpointing
from triptych.checkpoints import format
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.errors import UserError


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
        strategy=SimpleNamespace(broadcast=lambda value: value, checkpoint_io=FolderCheckpointIO()),
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        is_global_zero=True,
        sanity_checking=False,
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


def run_child(place: Path, steps: int, how: str, call: str, number: int) -> int:
    """One run in a forked child, with its fault armed; returns its wait status."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.read(ready, 1)
            if how == "patch":
                kill_before(call, number)
            save_steps(place, steps)
            status = 0
        except UserError as error:
            (place / "error").write_text(str(error))
            status = error.exit_code
        finally:
            os._exit(status)
    tracer = None
    if how != "patch":
        action = "signal=KILL" if how == "strace-kill" else "error=EIO"
        fault = ["-e", f"trace={call}", "-e", f"inject={call}:{action}:when={number}"]
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", str(place / "trace"), "-p", str(child), *fault])
        while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
            if tracer.poll() is not None:
                os.kill(child, signal.SIGKILL)
                sys.exit("strace could not attach")
            time.sleep(0.005)
    os.write(go, b"1")
    _, status = os.waitpid(child, 0)
    os.close(ready)
    os.close(go)
    if tracer is not None:
        tracer.wait()
    return status


def main() -> None:
    run, steps, how, calls = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    for call in calls:
        number, status = 0, -1
        while status != 0:
            number += 1
            place = run / call / f"{number:04d}"
            place.mkdir(parents=True)
            status = run_child(place, steps, how, call, number)


if __name__ == "__main__":
    main()
