"""Mixed, distinct and shard-wise orders: each a function of (seed, epoch, step), each with its promise kept."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.pairs_order import PairsOrder, Share, apportioned
from triptych.errors import UserError

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def batches(order: PairsOrder, epoch: int = 0) -> list[list[int]]:
    steps = order.steps_per_epoch
    return [order.indices(step).tolist() for step in range(epoch * steps, (epoch + 1) * steps)]


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 3))
def test_without_weights_an_epoch_has_each_sample_once(sizes: list[int], batch: int, seed: int, epoch: int) -> None:
    order = PairsOrder([Share(size, size) for size in sizes], batch, seed=seed)
    assert sorted(order.permutation(epoch).tolist()) == list(range(sum(sizes)))


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**40), st.data())
def test_a_step_is_a_function_of_its_number(
    sizes: list[int], batch: int, ranks: int, seed: int, data: st.DataObject
) -> None:
    weights = [data.draw(st.floats(0.1, 5)) for _ in sizes]
    samples = data.draw(st.integers(1, 60))

    def fresh() -> PairsOrder:
        return PairsOrder([Share(*pair) for pair in zip(sizes, weights, strict=True)], batch, samples, seed=seed)

    whole = fresh()
    expected = [whole.indices(step).tolist() for step in range(3 * whole.steps_per_epoch)]
    for step in data.draw(st.permutations(range(len(expected))))[:12]:
        one = fresh()
        assert np.concatenate([one.indices(step, rank, ranks) for rank in range(ranks)]).tolist() == expected[step]


def test_shares_are_the_weights() -> None:
    order = PairsOrder([Share(1000, 3.0), Share(50, 1.0), Share(400, 0.5)], 32, samples=900)
    assert order.counts == [600, 200, 100]
    for epoch in range(4):
        visits = order.permutation(epoch) % order.total
        assert np.histogram(visits, [0, 1000, 1050, 1450])[0].tolist() == [600, 200, 100]
    # Within an epoch, too: no source is left to the end.
    first = order.permutation(0)[:300] % order.total
    assert 150 < np.count_nonzero(first < 1000) < 250


def test_no_sample_comes_again_before_all_have_come() -> None:
    order = PairsOrder([Share(70, 1.0), Share(9, 1.0)], 8, samples=40)
    seen: Counter[int] = Counter()
    for epoch in range(10):
        seen.update((order.permutation(epoch) % order.total).tolist())
    large, small = [[seen[index] for index in part] for part in (range(70), range(70, 79))]
    assert sum(large) == sum(small) == 200
    assert max(large) - min(large) <= 1
    assert max(small) - min(small) <= 1


def test_visits_of_one_epoch_are_told_apart() -> None:
    order = PairsOrder([Share(5, 1.0)], 4, samples=23)
    for epoch in range(6):
        visits = order.permutation(epoch)
        assert len(set(visits.tolist())) == 23
        assert set((visits % order.total).tolist()) == set(range(5))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9), st.integers(1, 10_000))
def test_apportioned_adds_up(weights: list[float], samples: int) -> None:
    counts = apportioned(weights, samples)
    assert sum(counts) == samples
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - samples * weight / sum(weights)) < 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 2**40), st.data())
def test_a_batch_has_each_concept_once(size: int, batch: int, seed: int, data: st.DataObject) -> None:
    full = max(size // batch, 1)
    concepts = data.draw(st.integers(-(-size // full), size + 3))
    ids = np.random.default_rng(seed).permutation(np.arange(size) % concepts)
    order = PairsOrder([Share(size, 1.0)], batch, ids=ids, seed=seed)
    for epoch in (0, 2):
        found = batches(order, epoch)
        assert [len(each) for each in found[:-1]] == [batch] * (len(found) - 1)
        assert sorted(chain(*found)) == list(range(size))
        for each in found:
            assert len({int(ids[index]) for index in each}) == len(each)


def test_distinct_batches_differ_from_epoch_to_epoch() -> None:
    ids = np.arange(600) // 6
    order = PairsOrder([Share(600, 1.0)], 50, ids=ids)
    together: Counter[frozenset[int]] = Counter()
    for epoch in range(60):
        for each in batches(order, epoch):
            concepts = sorted(int(ids[index]) for index in each)
            together.update(frozenset((a, b)) for a in concepts for b in concepts if a < b)
    # Any two concepts meet: 12 batches of 50 of 100 concepts give about 3 meetings an epoch.
    assert len(together) == 100 * 99 // 2
    assert max(together.values()) < 2 * 60 * 12 * 0.25


def test_distinct_batches_that_cannot_be_are_told() -> None:
    with pytest.raises(
        UserError, match=r"the concept 'cat' has 5 samples in an epoch of 4 batches.*Lower data.batch_size"
    ):
        PairsOrder([Share(16, 1.0)], 4, ids=np.array([0] * 5 + list(range(1, 12))), classes=["cat"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 2**40))
def test_shards_are_read_a_few_at_a_time(sizes: list[int], at_once: int, seed: int) -> None:
    places = np.repeat(np.arange(len(sizes)), sizes)
    order = PairsOrder([Share(len(places), 1.0, places, at_once)], 4, seed=seed)
    for epoch in range(2):
        visits = order.permutation(epoch)
        assert sorted(visits.tolist()) == list(range(len(places)))
        shards = places[visits]
        first = {shard: int(np.flatnonzero(shards == shard)[0]) for shard in range(len(sizes))}
        last = {shard: int(np.flatnonzero(shards == shard)[-1]) for shard in range(len(sizes))}
        for position in range(len(shards)):
            assert sum(first[shard] <= position <= last[shard] for shard in first) <= at_once


def test_the_order_of_shards_changes() -> None:
    places = np.repeat(np.arange(40), 5)
    order = PairsOrder([Share(200, 1.0, places, 2)], 10)
    firsts = {tuple(dict.fromkeys(places[order.permutation(epoch)].tolist())) for epoch in range(3)}
    assert len(firsts) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([Share(3, 0.0)], 2), "weight 0; it must be above 0"),
        (([Share(3, 1.0)], 2, 0), "data.samples is 0"),
        (([Share(3, 1.0)], 0), "data.batch_size is 0"),
        (([Share(4, 1.0, np.zeros(4, dtype=np.int64))], 2, None, np.arange(4)), "data.distinct=true mixes all"),
    ],
)
def test_wrong_settings_are_told(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PairsOrder(*arguments)
