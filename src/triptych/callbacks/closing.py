"""The end of a run that made all its steps, and was stopped before it had told how it ended."""

import logging

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop

from triptych.callbacks.checkpointing import Checkpointing

log = logging.getLogger("triptych.run")


class Closing(_FitLoop):
    """Validates once more in place of training; what follows a training (summary, pictures, report) follows this.

    Args:
        trainer: whose loop it takes the place of.
        checkpoint: the callback that saves.
    """

    def __init__(self, trainer: Trainer, checkpoint: Checkpointing) -> None:
        super().__init__(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
        self.epoch_loop = trainer.fit_loop.epoch_loop
        self._checkpoint = checkpoint

    def run(self) -> None:
        log.info("all %d steps are made; what the run came to is told again", self.epoch_loop.global_step)
        self.setup_data()
        self._checkpoint.validate_now(self.trainer)
