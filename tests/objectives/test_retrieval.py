"""Retrieval metrics: ties are ranked fairly, and nothing but the ids decides."""

import pytest
import torch

from triptych.objectives.retrieval import RetrievalMetrics


def test_embeddings_that_are_all_the_same_find_no_more_than_chance() -> None:
    metrics = RetrievalMetrics(["image", "text"])
    same = torch.ones(10, 1)
    metrics.update([same, same], torch.arange(10), torch.tensor(0.0), 10)
    found = metrics.compute()
    assert found["image_to_text_recall_at_1"].item() == pytest.approx(0.1)
    assert found["text_to_image_recall_at_5"].item() == pytest.approx(0.5)


def test_each_way_counts_by_itself_and_batches_are_one_set() -> None:
    """Both texts lie nearest to the first picture; samples of two batches are compared with each other."""
    metrics = RetrievalMetrics(["image", "text"])
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.1], [0.9, 0.2]])
    for row in range(2):
        metrics.update([images[row : row + 1], texts[row : row + 1]], torch.tensor([row]), torch.tensor(2.0 + row), 1)
    found = metrics.compute()
    assert set(found) == set(metrics.names)
    assert found["text_to_image_recall_at_1"].item() == 0.5
    assert found["image_to_text_recall_at_1"].item() == 1.0
    assert found["recall_at_1"].item() == 0.75
    assert found["loss"].item() == 2.5
    assert metrics.samples == 2
    metrics.reset()
    assert metrics.samples == 0


def test_samples_with_the_same_id_are_found_in_place_of_each_other() -> None:
    metrics = RetrievalMetrics(["image", "text", "audio"])
    features = [torch.eye(3), torch.eye(3)[[1, 0, 2]], torch.eye(3)]
    metrics.update(features, torch.tensor([4, 4, 7]), torch.tensor(0.0), 3)
    assert metrics.compute()["recall_at_1"].item() == 1.0
    assert len([name for name in metrics.compute() if name.endswith("to_audio_recall_at_1")]) == 2
    assert set(metrics.compute()) == set(metrics.names)
