"""Bytes that autograd keeps are counted exactly on graphs that one can count by hand; sizes read as written."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from triptych.errors import UserError
from triptych.measure.memory import held_bytes, parse_bytes, peak_bytes, saved_bytes, shown_bytes
from triptych.measure.step import step_memory

sizes = st.integers(1, 33)


@settings(deadline=None)
@given(batch=sizes, width=sizes)
def test_a_square_keeps_its_input_and_an_exponential_its_output(batch: int, width: int) -> None:
    x = torch.randn(batch, width, requires_grad=True)
    assert saved_bytes(lambda: x.exp()) == batch * width * 4
    assert saved_bytes(lambda: x**2) == batch * width * 4
    assert saved_bytes(lambda: x + 1) == 0


@settings(deadline=None)
@given(batch=sizes, width=sizes, out=sizes)
def test_a_linear_map_keeps_its_input_and_not_its_weight(batch: int, width: int, out: int) -> None:
    linear = nn.Linear(width, out)
    x = torch.randn(batch, width)
    assert saved_bytes(lambda: linear(x), linear.parameters()) == batch * width * 4
    # An input that wants a gradient makes the weight kept too: it is counted where it is not left out.
    x.requires_grad_()
    assert saved_bytes(lambda: linear(x)) == (batch * width + out * width) * 4
    assert saved_bytes(lambda: linear(x), linear.parameters()) == batch * width * 4


def test_a_storage_counts_once_and_whole() -> None:
    x = torch.randn(8, 16, requires_grad=True)
    y = x.exp()
    assert saved_bytes(lambda: (y.sin(), y.cos(), y[:, :4].square(), y.t().tanh().detach())) == 8 * 16 * 4 + 8 * 16 * 4


def test_checkpointing_keeps_less() -> None:
    parts = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(4)))
    x = torch.randn(4, 8, requires_grad=True)
    plain = saved_bytes(lambda: parts(x), parts.parameters())
    kept = saved_bytes(lambda: checkpoint(parts, x, use_reentrant=False), parts.parameters())
    assert kept < plain


def test_counting_leaves_the_gradients_right() -> None:
    x = torch.randn(5, requires_grad=True)
    kept = []
    saved_bytes(lambda: kept.append(x.exp().sum()))
    kept[0].backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.detach().exp())


def test_adamw_holds_four_times_the_weights() -> None:
    model = nn.Linear(16, 16)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 16)).sum().backward()
    optimizer.step()
    weights = (16 * 16 + 16) * 4
    assert weights * 4 <= held_bytes(model, optimizer) <= weights * 4 + 64  # and a step count for each parameter


def test_memory_of_a_step_grows_by_what_a_sample_saves() -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    measure = step_memory(lambda size: model(torch.randn(size, 32)).sum(), model, optimizer, torch.device("cpu"))
    found = [measure(size) for size in (1, 2, 3, 10)]
    assert None not in found
    a_sample = (32 + 64 + 64) * 4
    assert [each - found[0] for each in found if each and found[0]] == [0, a_sample, 2 * a_sample, 9 * a_sample]


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("500MB", 500_000_000), ("1.5 GiB", 3 * 2**29), ("64kB", 64_000), ("64KiB", 65536),
     ("123", 123), (123, 123), ("2TB", 2 * 10**12), ("7B", 7)],
)  # fmt: skip
def test_sizes_read_as_written(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["4gigs", "GiB", "-1GB", "0", "4 GiB free", "", "1e9", "4Gi"])
def test_what_is_no_size_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UserError, match=r"trainer.memory=.* is no amount of memory: .*trainer.memory=4GiB"):
        parse_bytes(text, "trainer.memory")


@given(st.integers(1, 2**50))
def test_shown_sizes_read_back_nearly(size: int) -> None:
    shown = shown_bytes(size).replace(" bytes", "B").replace(" ", "")
    assert parse_bytes(shown) == pytest.approx(size, rel=0.006, abs=1)


def test_peak_of_a_cpu_is_not_known() -> None:
    with pytest.raises(ValueError, match="CUDA"):
        peak_bytes(lambda: None, torch.device("cpu"))


@pytest.mark.gpu
def test_peak_on_a_gpu_is_what_was_held_at_once() -> None:
    device = torch.device("cuda")
    torch.empty(1, device=device)

    def step() -> None:
        a = torch.empty(2**26, dtype=torch.uint8, device=device)
        b = torch.empty(2**25, dtype=torch.uint8, device=device)
        del a, b
        torch.empty(2**25, dtype=torch.uint8, device=device)

    before = torch.cuda.memory_allocated(device)
    assert peak_bytes(step, device) == before + 2**26 + 2**25


@pytest.mark.gpu
def test_what_does_not_fit_into_a_gpu_is_none_and_frees_it() -> None:
    device = torch.device("cuda")
    total = torch.cuda.get_device_properties(device).total_memory
    assert peak_bytes(lambda: torch.empty(2 * total, dtype=torch.uint8, device=device), device) is None
    assert peak_bytes(lambda: torch.empty(total // 2, dtype=torch.uint8, device=device), device) is not None
