"""Classification that also listens to another model (Hinton et al., 2015, "Distilling the Knowledge in a Neural
Network").
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.features.front_end import FrontEnd
from triptych.features.mixed_images import MixedImages
from triptych.features.pixels import Pixels
from triptych.features.waveforms import Waveforms
from triptych.losses import distillation, multi_label_distillation, softmax_cross_entropy
from triptych.objectives.batch import Batch
from triptych.objectives.classification import MANY, ClassificationObjective, Loss
from triptych.objectives.mixing import Mask, Mix
from triptych.objectives.teacher import Teacher


class DistillationObjective(ClassificationObjective):
    """Part of the loss is on the labels, and part on the probabilities of a teacher, which gets the same images or
    sounds: mixed if they are, but not masked.

    The teacher is no part of what is trained or saved. The other arguments and the metrics: `ClassificationObjective`;
    validation is on the labels alone.

    Raises UserError for a teacher of another number of classes, or of images where the data are sounds.
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
        mask: Mask | None = None,
        multi_label: bool = False,
        clip: float | None = None,
        micro_batch_size: int | None = None,
        validation_names: Sequence[str] = ("val",),
    ) -> None:
        super().__init__(
            model, optimizer, schedule, num_classes, front_end, loss, mix, mask, multi_label, clip, micro_batch_size,
            validation_names,
        )  # fmt: skip
        if teacher.modality != front_end.modality:
            raise UserError(
                f"objective.teacher.path={teacher.path} is a model of {MANY[teacher.modality]}, and the data are "
                f"{MANY.get(front_end.modality, front_end.modality)}: choose a teacher of those"
            )
        teacher.check(num_classes, None)
        self.teacher = teacher
        self._distance = multi_label_distillation if multi_label else distillation

    def prepare(self, batch: Batch) -> Batch:
        """Adds what the teacher says of the whole batch, after mixing."""
        if not len(batch["label"]):
            return {**batch, "teacher": torch.zeros(0, self.num_classes, device=batch["label"].device)}
        raw, labels = self.mixed(batch)
        made = self.finish(raw, labels)
        if isinstance(raw, Waveforms):
            return {**made, "teacher": self.teacher.hear(raw)}
        images, front_end = made["prepared"], self.front_end
        if isinstance(images, MixedImages) or not isinstance(front_end, Pixels):
            raise UserError(
                "a teacher looks at images of one size, and these have their own: take objective=classification"
            )
        return {**made, "teacher": self.teacher.ask(front_end.undo(images))}

    def loss(self, batch: Batch) -> Tensor:
        """The weighted mean of both losses."""
        logits = self.logits(batch, "train")
        own = self.compute_loss(logits, batch["label"])
        return self.teacher.loss(own, logits, batch["teacher"], self._distance)
