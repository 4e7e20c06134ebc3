"""Retrieval against the definition: every order of tied items, one by one or drawn, gives the mean that is counted."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.measure.retrieval import Ranks, Retrieval, retrieve


def by_every_order(scores: list[float], relevant: list[bool], k: int) -> tuple[float, float]:
    """Recall and rank of the first relevant item, by trying each order that sorts the scores."""
    recalls, ranks = [], []
    for order in permutations(range(len(scores))):
        if any(scores[a] < scores[b] for a, b in pairwise(order)):
            continue
        first = next(place for place, item in enumerate(order, start=1) if relevant[item])
        recalls.append(first <= k)
        ranks.append(first)
    return float(np.mean(recalls)), float(np.mean(ranks))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_ties_count_as_the_mean_over_all_orders(data: st.DataObject) -> None:
    """Features with few different values, so that scores tie often; every tile size, every share of the work."""
    draw = data.draw
    numbers = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
    images, texts, dim = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 2))
    groups = draw(st.integers(1, min(images, texts)))
    image_groups = [*range(groups), *draw(st.lists(st.integers(0, groups - 1), min_size=images - groups,
                                                  max_size=images - groups))]  # fmt: skip
    text_groups = [*range(groups), *draw(st.lists(st.integers(0, groups - 1), min_size=texts - groups,
                                                 max_size=texts - groups))]  # fmt: skip
    vectors = st.lists(numbers, min_size=dim, max_size=dim)
    left = torch.tensor(draw(st.lists(vectors, min_size=images, max_size=images)))
    right = torch.tensor(draw(st.lists(vectors, min_size=texts, max_size=texts)))
    search = Retrieval(left, right, np.array(image_groups), np.array(text_groups), tile=draw(st.integers(1, 7)))
    world_size = draw(st.integers(1, 3))
    to_text, to_image = search.ranks([search.count(rank, world_size) for rank in range(world_size)])
    scores = (left.double() @ right.double().T).tolist()
    for ranks, rows, own, other in (
        (to_text, scores, image_groups, text_groups),
        (to_image, [list(column) for column in zip(*scores, strict=True)], text_groups, image_groups),
    ):
        for k in (1, 2, 5):
            wanted = [
                by_every_order(row, [each == mine for each in other], k) for row, mine in zip(rows, own, strict=True)
            ]
            np.testing.assert_allclose(ranks.recall(k), [recall for recall, _ in wanted], atol=1e-12)
            np.testing.assert_allclose(ranks.expected, [rank for _, rank in wanted], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 5), st.integers(1, 64))
def test_without_ties_it_is_the_place_in_the_sorted_scores(seed: int, images: int, captions: int, tile: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(images, 8, generator=generator), torch.randn(images * captions, 8, generator=generator)
    of = np.random.default_rng(seed).permutation(np.repeat(np.arange(images), captions))
    to_text, to_image = retrieve(left, right, of, tile=tile)
    scores = (left.double() @ right.double().T).numpy()
    for image in range(images):
        order = np.argsort(-scores[image])
        first = int(np.flatnonzero(of[order] == image)[0])
        assert to_text.expected[image] == first + 1
    for text in range(len(of)):
        assert to_image.expected[text] == 1 + np.flatnonzero(np.argsort(-scores[:, text]) == of[text])[0]
    assert (to_text.recall(3) == (to_text.expected <= 3)).all()


def test_copies_neither_help_nor_hurt() -> None:
    """All images equal: whatever sorts them, a random one is first."""
    left, right = torch.ones(10, 4) / 2, torch.ones(10, 4) / 2
    to_text, to_image = retrieve(left, right, np.arange(10))
    for ranks in (to_text, to_image):
        assert ranks.recall(1).mean() == pytest.approx(0.1)
        assert ranks.recall(5).mean() == pytest.approx(0.5)
        assert ranks.expected.mean() == pytest.approx(5.5)


def test_equal_captions_tie_wherever_they_lie_in_a_tile() -> None:
    """float32 products of one pair differ by its place in a tile; here 300 copies of a caption are 300 ties."""
    generator = torch.Generator().manual_seed(0)
    left = torch.nn.functional.normalize(torch.randn(37, 513, generator=generator), dim=1)
    caption = torch.nn.functional.normalize(torch.randn(1, 513, generator=generator), dim=1)
    right = torch.cat([caption.expand(300, -1), torch.nn.functional.normalize(left, dim=1)])
    of = np.concatenate([np.arange(300) % 37, np.arange(37)])
    _, to_image = retrieve(left, right, of, tile=64)
    assert (to_image.tied[:300] == 1).all()
    search = Retrieval(right, left, of, np.arange(37), tile=64)
    _, to_caption = search.ranks([search.count()])
    copies = np.bincount(of[:300], minlength=37)
    for image in range(37):
        scores = right.double() @ left[image].double()
        assert to_caption.above[image] + to_caption.tied[image] <= 337
        if scores[0] > scores[300 + image]:
            assert to_caption.tied[image] == 300
            assert to_caption.relevant[image] == copies[image]


def test_the_chance_of_a_hit_is_that_of_drawing_without_replacement() -> None:
    ranks = Ranks(np.array([2, 0, 4]), np.array([6, 5, 1]), np.array([2, 5, 1]))
    assert ranks.recall(4)[0] == pytest.approx(1 - (4 / 6) * (3 / 5))
    assert ranks.recall(1).tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert ranks.recall(8).tolist() == [1.0, 1.0, 1.0]
    assert ranks.expected.tolist() == pytest.approx([2 + 7 / 3, 1.0, 5.0])


def test_something_without_a_counterpart_is_refused() -> None:
    with pytest.raises(ValueError, match="group 2 is on one side only"):
        retrieve(torch.ones(3, 2), torch.ones(2, 2), np.array([0, 1]))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_large_groups_and_small_ones_are_counted_alike(seed: int, groups: int) -> None:
    """Some groups of hundreds and some of a few; features of few values, so that scores tie."""
    draw = np.random.default_rng(seed)
    sizes = draw.choice([2, 70, 200], groups)
    own, other = np.repeat(np.arange(groups), sizes), np.repeat(np.arange(groups), sizes[::-1])
    own, other = draw.permutation(own), draw.permutation(other)
    left, right = (draw.integers(-1, 2, (len(side), 3)).astype(np.float32) for side in (own, other))
    search = Retrieval(torch.from_numpy(left), torch.from_numpy(right), own, other, tile=64)
    scores = left.astype(np.float64) @ right.T.astype(np.float64)
    for ranks, rows, mine, theirs in zip(
        search.ranks([search.count()]), (scores, scores.T), (own, other), (other, own), strict=True
    ):
        positive = mine[:, None] == theirs
        best = np.where(positive, rows, -np.inf).max(1, keepdims=True)
        np.testing.assert_array_equal(ranks.above, (rows > best).sum(1))
        np.testing.assert_array_equal(ranks.tied, (rows == best).sum(1))
        np.testing.assert_array_equal(ranks.relevant, ((rows == best) & positive).sum(1))
