"""Classification that also listens to another model (Hinton et al., 2015, "Distilling the Knowledge in a Neural
Network").
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.features.front_end import FrontEnd
from triptych.features.mixed_images import MixedImages
from triptych.features.pixels import Pixels
from triptych.losses import softmax_cross_entropy
from triptych.objectives.base import Batch
from triptych.objectives.classification import ClassificationObjective, Loss
from triptych.objectives.mixing import Mix
from triptych.objectives.teacher import Teacher


class DistillationObjective(ClassificationObjective):
    """Part of the loss is on the labels, and part on the probabilities of a teacher, which sees the same images, mixed
    if they are.

    The teacher is no part of what is trained or saved. Each sample has one label. The other arguments and the metrics:
    `ClassificationObjective`; validation is on the labels alone.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        num_classes: int,
        front_end: FrontEnd,
        teacher: Teacher,
        loss: Loss = softmax_cross_entropy,
        mix: Mix | None = None,
        clip: float | None = None,
        micro_batch_size: int | None = None,
        validation_names: Sequence[str] = ("val",),
    ) -> None:
        super().__init__(
            model, optimizer, schedule, num_classes, front_end, loss, mix, None, False, clip, micro_batch_size,
            validation_names,
        )  # fmt: skip
        if not isinstance(front_end, Pixels):
            raise UserError("objective=distillation learns from images alone: take objective=classification")
        teacher.check(num_classes, None)
        self.teacher, self._pixels = teacher, front_end

    def prepare(self, batch: Batch) -> Batch:
        """Adds what the teacher says of the whole batch, after mixing."""
        batch = super().prepare(batch)
        if isinstance(batch.get("image"), MixedImages):
            raise UserError(
                "a teacher looks at images of one size, and these have their own: take objective=classification"
            )
        images = batch["prepared"] if "prepared" in batch else self.normalise(self.raw(batch))
        return {**batch, "teacher": self.teacher.ask(self._pixels.undo(images))}

    def loss(self, batch: Batch) -> Tensor:
        """The weighted mean of both losses."""
        logits = self.logits(batch, "train")
        own = self.compute_loss(logits, batch["label"])
        return self.teacher.loss(own, logits, batch["teacher"])
