"""Made-up predictions of a classifier that is right more often than not."""

from collections.abc import Callable

import pytest
import torch

from triptych.analysis.results import ClassificationResults

Make = Callable[..., ClassificationResults]


@pytest.fixture
def make_results() -> Make:
    def make(classes: list[str], samples: int = 60, multi_label: bool = False) -> ClassificationResults:
        generator = torch.Generator().manual_seed(0)
        number = len(classes)
        labels = torch.randint(0, number, (samples,), generator=generator)
        logits = torch.randn(samples, number, generator=generator)
        logits[torch.arange(samples), labels] += 1.5
        confusion = torch.zeros(number, number, dtype=torch.int64)
        confusion.index_put_((labels, logits.argmax(1)), torch.ones(samples, dtype=torch.int64), accumulate=True)
        if multi_label:
            rows = torch.nn.functional.one_hot(labels, number).float()
            return ClassificationResults(logits, rows, torch.arange(samples), None, classes, True)
        return ClassificationResults(logits, labels, torch.arange(samples), confusion, classes)

    return make
