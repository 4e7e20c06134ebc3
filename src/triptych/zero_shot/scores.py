"""The numbers of retrieval and of probes, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from triptych.analysis import statistics
from triptych.analysis.bootstrap import Estimate, Statistic, bootstrap
from triptych.analysis.linear_probe import Probe, draw_shots, linear_probe
from triptych.data.source import Source
from triptych.evaluation.scores import Rules, SetScores
from triptych.measure.retrieval import Ranks

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalScores:
    """Retrieval on one set, measured.

    Args:
        image_to_text: ranks of the captions of the images, or sounds.
        text_to_image: ranks of the captions' images.
        image_of_text: place of the image that each caption is of.
        rules: draws and seed of the bootstrap, which draws images, each with all its captions.
        left_out: images without a caption, or that could not be read.
        perceived: "image", or what else the captions are of.
    """

    image_to_text: Ranks
    text_to_image: Ranks
    image_of_text: Int[np.ndarray, " texts"]
    rules: Rules
    left_out: int = 0
    perceived: str = "image"

    @cached_property
    def metrics(self) -> dict[str, Estimate]:
        """The metrics by name: shares with their intervals, and the median ranks."""
        images = len(self.image_to_text.above)
        found: dict[str, Statistic] = {}
        for k in RECALL_AT:
            found[f"{self.perceived}_to_text_recall_at_{k}"] = statistics.mean_of(self.image_to_text.recall(k))
        for k in RECALL_AT:
            found[f"text_to_{self.perceived}_recall_at_{k}"] = _mean_of_texts(
                self.text_to_image.recall(k), self.image_of_text, images
            )
        measured = bootstrap(found, images, self.rules.resamples, self.rules.seed)
        medians = {
            f"{self.perceived}_to_text": self.image_to_text,
            f"text_to_{self.perceived}": self.text_to_image,
        }
        return measured | {
            f"{name}_median_rank": Estimate(float(np.median(ranks.expected))) for name, ranks in medians.items()
        }


def _mean_of_texts(
    values: Float[np.ndarray, " texts"], image_of_text: Int[np.ndarray, " texts"], images: int
) -> Statistic:
    """The mean over texts where whole images are drawn: captions of one image go together."""
    totals = np.bincount(image_of_text, values, images)
    numbers = np.bincount(image_of_text, minlength=images).astype(np.float64)
    return lambda counts: (counts * totals).sum(axis=1) / np.maximum((counts * numbers).sum(axis=1), 1)


@dataclass(frozen=True)
class FewShot:
    """Probes on so many samples a class: the mean accuracy over several draws, and its standard deviation (None where
    there is one draw).

    `scarce` classes have fewer samples, and give all of them.
    """

    shots: int
    draws: int
    mean: float
    deviation: float | None
    scarce: int


@dataclass(frozen=True)
class ProbeScores:
    """Probes on one set, fitted on the training set."""

    linear: Estimate | None
    strength: float | None
    few: tuple[FewShot, ...]


@dataclass(frozen=True)
class SetResult:
    """What was found of one set; None for what was not asked, or cannot be.

    Args:
        source: the data set.
        templates: that stood for its classes.
        scores: of classification.
        retrieval: of captions and images.
        probes: fitted on the training set.
    """

    source: Source
    templates: list[str]
    scores: SetScores | None
    retrieval: RetrievalScores | None
    probes: ProbeScores | None


class Prober:
    """Probes that are fitted on the features of a training set once, and asked about several sets.

    Args:
        features: of the training set.
        labels: of its samples.
        classes: names of its classes.
        draws: probes for each number of shots.
        rules: seed and draws of the bootstrap.
    """

    def __init__(
        self,
        features: Float[Tensor, "samples dim"],
        labels: Int[np.ndarray, " samples"],
        classes: list[str],
        draws: int,
        rules: Rules,
    ) -> None:
        self.classes = classes
        self._features, self._labels, self._draws, self._rules = features, labels, draws, rules
        self._linear: Probe | None = None
        self._few: dict[int, list[Probe]] = {}

    def fit(self, linear: bool, shots: Sequence[int]) -> None:
        """Fits a probe on all samples where `linear`, and some on so many samples of each class as `shots` says."""
        number, seed = len(self.classes), self._rules.seed
        targets = torch.from_numpy(self._labels)
        if linear:
            self._linear = linear_probe(self._features, targets, number, seed)
        for k in dict.fromkeys(shots):
            drawn = [torch.from_numpy(draw_shots(self._labels, k, seed + draw)) for draw in range(self._draws)]
            self._few[k] = [linear_probe(self._features[rows], targets[rows], number, seed) for rows in drawn]

    def measure(
        self, features: Float[Tensor, "samples dim"], labels: Int[np.ndarray, " samples"], classes: list[str]
    ) -> ProbeScores:
        """How often the probes are right about a set whose classes are among those of the training set."""
        place = {name: index for index, name in enumerate(self.classes)}
        targets = np.array([place[name] for name in classes])[labels]
        linear = None
        if self._linear is not None:
            right = statistics.mean_of(self._right(self._linear, features, targets))
            linear = bootstrap({"accuracy": right}, len(targets), self._rules.resamples, self._rules.seed)["accuracy"]
        few = []
        size = np.bincount(self._labels, minlength=len(self.classes))
        for k, probes in self._few.items():
            shares = np.array([self._right(probe, features, targets).mean() for probe in probes])
            deviation = float(shares.std(ddof=1)) if len(shares) > 1 else None
            few.append(FewShot(k, len(probes), float(shares.mean()), deviation, int((size < k).sum())))
        return ProbeScores(linear, self._linear.strength if self._linear else None, tuple(few))

    def _right(self, probe: Probe, features: Tensor, targets: np.ndarray) -> Bool[np.ndarray, " samples"]:
        return probe(features).argmax(1).numpy() == targets
