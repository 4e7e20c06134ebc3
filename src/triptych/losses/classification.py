"""Losses of class logits; they compute in float32 whatever the precision of the logits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from triptych.errors import UserError


def softmax_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean over the batch of the cross-entropy (in nats) between softmax(logits) and the target distribution.

    A target is a class number, or a row of class probabilities (mixup, cutmix, distillation). Smoothing by `s` moves
    the target to `(1 - s) * target + s / classes` (Szegedy et al. 2016, "Rethinking the Inception Architecture"), on
    both kinds.
    """
    _check_smoothing(label_smoothing)
    return F.cross_entropy(logits.float(), _float32(target), label_smoothing=label_smoothing)


def binary_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean over batch and classes of the cross-entropy (in nats) between sigmoid(logits) and one target in 0..1 per
    class.

    A target is a row of values (multi-label), or a class number, which stands for its one-hot row: the single-label
    recipe of Wightman et al. 2021, "ResNet strikes back". Smoothing by `s` moves each target to `(1 - s) * target + s
    / 2`, as each class is a choice between two.
    """
    _check_smoothing(label_smoothing)
    if not target.is_floating_point():
        target = F.one_hot(target.long(), logits.shape[-1])
    target = target.float()
    if label_smoothing:
        target = target.lerp(torch.full_like(target, 0.5), label_smoothing)
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def distillation(
    logits: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Mean over the batch of the Kullback-Leibler divergence (in nats) from the student's probabilities to the
    teacher's, both softened by the temperature (Hinton et al., 2015).

    It is multiplied by the square of the temperature, so that gradients keep their size. Raises UserError for a
    temperature that is not above 0.
    """
    if not temperature > 0:
        raise UserError(f"temperature is {temperature}, but must be above 0")
    student = F.log_softmax(logits.float() / temperature, dim=-1)
    target = F.log_softmax(teacher.float() / temperature, dim=-1)
    return F.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2


def multi_label_distillation(
    logits: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """`distillation` where each class is a choice of its own: the mean over batch and classes of the divergence between
    the two probabilities that the student and the teacher give to it.
    """
    if not temperature > 0:
        raise UserError(f"temperature is {temperature}, but must be above 0")
    student, target = logits.float() / temperature, teacher.float() / temperature
    share = target.sigmoid()
    apart = share * (F.logsigmoid(target) - F.logsigmoid(student))
    apart = apart + (1 - share) * (F.logsigmoid(-target) - F.logsigmoid(-student))
    return apart.mean() * temperature**2


def _float32(target: Tensor) -> Tensor:
    return target.float() if target.is_floating_point() else target.long()


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing is {label_smoothing}, but must be at least 0 and below 1")
