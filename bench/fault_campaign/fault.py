"""What is done to a run from inside one of its processes, and what must come of it."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

MESSAGE = 2
"""Exit code of a run that tells its user what is wrong."""
LOST = 75
"""Exit code of a process that ends because another was lost."""
SECRET = "hf_planted_4f1c77aa93"
"""Stands in the environment of every run as HF_TOKEN, and must turn up nowhere."""


class NotHere(Exception):
    """This machine does not let it be tried; the message says what."""


@dataclass(frozen=True)
class Scene:
    """Where a run takes place.

    Args:
        place: a folder for this event alone.
        output: where the run directory is made; on a file system of its own in some events.
        pictures: the data.
        device: of the mounted file system; empty where there is none.
    """

    place: Path
    output: Path
    pictures: Path
    device: str = ""

    @property
    def run(self) -> Path | None:
        """The run directory, once there is one."""
        return next(iter(sorted(self.output.glob("train/toy/*"))), None)


Strike = Callable[[Scene], None]


@dataclass(frozen=True)
class Event:
    """One fault to one run.

    Args:
        name: of its own; what is done is done once.
        invariant: of docs/reliability.md.
        injection: the row of the table.
        subject: who trains.
        where: the place of the fault, in words.
        step, rank: the strike comes in this process before this step; step 0: before training.
        strike: what is done there.
        codes: exit codes that it may have.
        says: what the message must say.
        file_system: "", or what the output lies on: "ext4", "writeback" (ext4 that orders less), "tmpfs".
        own_pictures: whether the event may spoil the data.
        words: more overrides.
        mend: what a person does before the run goes on.
        refuses: what a resume must say, which then ends; the run goes on from the checkpoint that it names, or, after
            `repair`, from the last one.
        repair: see `refuses`.
        resumes: in which subject it goes on; None for the same.
        within: seconds in which all of its processes must have ended.
        check: looks at what is left, before the run goes on; what is wrong, or nothing.
        lasting: likewise, when it has come to its end.
        compare: whether the weights at the end must be those of the undisturbed run.
    """

    name: str
    invariant: int
    injection: str
    subject: str
    where: str
    strike: Strike
    step: int = 5
    rank: int = 0
    codes: Sequence[int] = ()
    says: str = ""
    file_system: str = ""
    own_pictures: bool = False
    words: tuple[str, ...] = ()
    mend: Strike | None = None
    refuses: str = ""
    repair: Strike | None = None
    resumes: str | None = None
    within: float = 60.0
    check: Callable[[Scene], str] | None = None
    lasting: Callable[[Scene], str] | None = None
    compare: bool = True


@dataclass
class Moments(Callback):
    """Strikes at its moment; notes the samples of each step outside of the run."""

    event: Event | None
    scene: Scene
    part: str
    struck: bool = field(default=False, init=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.event is not None and self.event.step == 0:
            self._strike(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        with open(self.scene.place / f"samples_{self.part}_{trainer.global_rank}", "a") as file:
            print(trainer.global_step, *batch["index"].tolist(), file=file)
        if self.event is not None and trainer.global_step >= self.event.step > 0:
            self._strike(trainer)

    def _strike(self, trainer: Trainer) -> None:
        if self.struck or self.event is None or trainer.global_rank != self.event.rank:
            return
        self.struck = True
        (self.scene.place / "struck").touch()
        try:
            self.event.strike(self.scene)
        except NotHere as error:
            (self.scene.place / "not_here").write_text(str(error))
            os._exit(1)


def die(scene: Scene) -> None:
    """As the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_saved(scene: Scene) -> None:
    """Likewise, when what has been saved so far is published."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not _published(scene):
        time.sleep(0.02)
    die(scene)


def _published(scene: Scene) -> bool:
    run = scene.run
    folders = sorted(run.glob("checkpoints/step_*")) if run else []
    last = run / "checkpoints" / "last" if run else None
    staged = any(run.glob("checkpoints/.tmp-*")) if run else True
    return bool(folders and last and last.is_symlink() and os.readlink(last) == folders[-1].name and not staged)
