"""Processes that are started again through one store tell their attempts apart."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import HashStore

from triptych.parallel.attempt import agree_on_attempt


def attempt(store: HashStore, ranks: list[int]) -> list[str]:
    with ThreadPoolExecutor(len(ranks)) as threads:
        return list(threads.map(lambda rank: agree_on_attempt(store, rank, len(ranks), 20.0), ranks))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_all_find_the_same_name_and_each_attempt_a_new_one(order: list[int]) -> None:
    store = HashStore()
    store.set_timeout(timedelta(seconds=20))
    store.set("hello/1", "left by a process that died before it was answered")
    names = [attempt(store, order) for _ in range(3)]
    assert [len(set(each)) for each in names] == [1, 1, 1]
    assert len({each[0] for each in names}) == 3


def test_who_does_not_arrive_is_named() -> None:
    with pytest.raises(TimeoutError, match=r"processes \[1\] of 2 have not arrived within 0.1 s"):
        agree_on_attempt(HashStore(), 0, 2, 0.1)
