"""The batch that is found fits, and the next larger one does not, whether memory grows in a straight line or not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from triptych.errors import UserError
from triptych.measure.batch_size import largest_batch, sizes
from triptych.measure.step import step_memory

MiB = 2**20


@given(
    held=st.integers(0, 500 * MiB), each=st.integers(1, 50 * MiB), power=st.sampled_from([0.8, 1.0, 1.3]),
    memory=st.integers(1, 4000 * MiB), most=st.integers(1, 2**12),
)  # fmt: skip
def test_the_largest_that_fits(held: int, each: int, power: float, memory: int, most: int) -> None:
    def taken(size: int) -> int:
        return held + int(each * size**power)

    fitting = [size for size in sizes(most) if taken(size) <= memory]
    if not fitting:
        with pytest.raises(UserError, match=r"one sample takes .*, and memory is"):
            largest_batch(taken, memory, most)
        return
    found = largest_batch(taken, memory, most)
    assert found.batch_size == fitting[-1]
    assert found.bytes == taken(fitting[-1])
    assert found.measured[found.batch_size] == found.bytes


def test_a_line_is_followed_in_few_steps() -> None:
    asked: list[int] = []

    def taken(size: int) -> int:
        asked.append(size)
        return 100 * MiB + size * MiB

    assert largest_batch(taken, 1000 * MiB).batch_size == 768
    assert len(asked) <= 4


@given(room=st.integers(1, 5000))
def test_a_device_that_runs_out_of_memory_is_understood(room: int) -> None:
    found = largest_batch(lambda size: size if size <= room else None, 10**9)
    assert found.batch_size == max(size for size in sizes() if size <= room)


def test_sizes_are_powers_of_two_and_half_way_between() -> None:
    assert sizes(40) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert sizes(1) == [1]


def test_nothing_fits() -> None:
    with pytest.raises(UserError, match=r"one sample does not fit into the device.*smaller model"):
        largest_batch(lambda size: None, 10**9)


def test_a_real_step() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    measure = step_memory(lambda size: model(torch.randn(size, 256)).sum(), model, optimizer, torch.device("cpu"))
    found = largest_batch(measure, 3 * MiB)
    assert found.bytes <= 3 * MiB
    following = measure(sizes()[sizes().index(found.batch_size) + 1])
    assert following is not None
    assert following > 3 * MiB


@pytest.mark.gpu
def test_a_real_step_on_a_gpu() -> None:
    device = torch.device("cuda")
    model = nn.Sequential(nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 10)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())

    def loss_of(size: int) -> torch.Tensor:
        return model(torch.randn(size, 1024, device=device)).sum()

    measure = step_memory(loss_of, model, optimizer, device)
    found = largest_batch(measure, 500 * MiB)
    following = measure(sizes()[sizes().index(found.batch_size) + 1])
    assert found.bytes <= 500 * MiB < (following or 10**12)
