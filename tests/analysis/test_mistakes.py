"""The worst mistakes are the wrong ones of highest loss."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis.mistakes import worst_mistakes
from triptych.analysis.results import ClassificationResults


@given(samples=st.integers(1, 30), most=st.integers(1, 40), scale=st.sampled_from([0.1, 3.0, 300.0]))
@settings(deadline=None)
def test_worst_are_as_sorted_by_hand(samples: int, most: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(samples * 100 + most)
    logits = torch.randn(samples, 4, generator=generator) * scale  # 300: probabilities that float32 rounds to 0
    labels = torch.randint(4, (samples,), generator=generator)
    results = ClassificationResults(logits, labels, torch.arange(samples) + 7, None, list("abcd"))
    losses = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none").tolist()
    wrong = [row for row in range(samples) if int(logits[row].argmax()) != int(labels[row])]
    expected = sorted(wrong, key=lambda row: (-losses[row], row))[:most]
    assert [each.index - 7 for each in worst_mistakes(results, most)] == expected
