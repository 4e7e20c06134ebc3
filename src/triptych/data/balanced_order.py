"""Rare classes as often as common ones: which samples make up a step where samples have weights."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64, Int64
from torch import Tensor

from triptych.data.order import Order, mixed_seed
from triptych.data.source import BadSample, Label, Targets
from triptych.errors import UserError


class BalancedOrder(Order):
    """The samples of every step where an epoch visits each sample in proportion to its weight.

    As `Order` it is a pure function of (seed, epoch, step), over all ranks; an epoch has as many samples as the data
    set. Each visits a sample as often as its weight asks, rounded up or down by chance (systematic sampling), so that a
    class comes as often as it should in every epoch, not only on average; and what comes less than once an epoch comes
    in some epochs.

    Args:
        weights: of each sample, relative to others.
        batch_size: global batch, the samples of one optimizer step over all ranks.
        seed: of the draws.

    Raises:
        UserError: a weight that is not above 0.
    """

    def __init__(self, weights: Float64[np.ndarray, " size"], batch_size: int, seed: int = 0) -> None:
        super().__init__(len(weights), batch_size, seed)
        if not (np.isfinite(weights).all() and weights.min() > 0):
            raise UserError("the weights of samples must be finite and above 0")
        self._visits = weights / weights.sum() * self.size

    def permutation(self, epoch: int) -> Int64[np.ndarray, " size"]:
        """Numbers of the samples in the order in which `epoch` visits them; the last one asked for is kept."""
        if epoch != self._epoch:
            words = np.random.PCG64(mixed_seed(self.seed, epoch)).random_raw(2 * self.size + 1)
            # Samples in random order lie on a line, each as long as it has visits; every whole step along it is one.
            drawn = np.argsort(words[: self.size], kind="stable")
            start = words[-1] / 2.0**64
            ends = np.cumsum(self._visits[drawn])
            place = np.searchsorted(ends, np.arange(self.size) + start, side="right")
            samples = drawn[np.minimum(place, self.size - 1)]  # rounding may leave the end of the line short
            visit = np.arange(self.size) - np.searchsorted(place, place, side="left")
            mixed = np.argsort(words[self.size : -1], kind="stable")
            self._permutation = (samples + self.total * visit)[mixed]
            self._epoch = epoch
        return self._permutation


def class_weights(labels: Iterable[Label | None], classes: int, balance: float) -> Float64[np.ndarray, " size"]:
    """How often each sample shall come: the sum, over its classes, of their numbers of samples to the power
    ``-balance`` (1: every class as often as any other where each sample has one; AST's, Gong et al., 2021). A sample
    without any class comes as often as one of the commonest.
    """
    rows = [_places(label) for label in labels]
    count = np.bincount(np.concatenate(rows), minlength=classes)
    share = np.maximum(count, 1).astype(np.float64) ** -balance
    return np.array([share[row].sum() if len(row) else share.min() for row in rows])


def target_of(source: Targets, index: int) -> Label | None:
    """The label of a sample; None where it cannot be read."""
    try:
        return source.target(index)
    except BadSample:
        return None


def _places(label: Label | None) -> Int64[np.ndarray, " found"]:
    if isinstance(label, Tensor):
        return np.flatnonzero(label.numpy())
    return np.array([] if label is None else [label], dtype=np.int64)
