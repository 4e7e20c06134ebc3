"""FLOPs and peaks are counted or known, never guessed."""

import os
import sys

import pytest
import torch
from torch import nn

from triptych.analysis import machine
from triptych.analysis.flops import forward_flops, model_flops_utilisation


def test_flops_of_known_layers_leave_the_module_and_the_generators_alone() -> None:
    module = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Dropout(0.5), nn.Linear(16, 4, bias=False)).train()
    module[1].eval()
    before = torch.random.get_rng_state()
    assert forward_flops(module, lambda: module(torch.zeros(1, 8))) == 2 * (8 * 16 + 16 * 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [part.training for part in module] == [True, False, True]


def test_attention_counts() -> None:
    query = torch.zeros(1, 2, 5, 8)
    flops = forward_flops(nn.Identity(), lambda: nn.functional.scaled_dot_product_attention(query, query, query))
    assert flops == 2 * 2 * (5 * 8 * 5) * 2


def test_peaks_are_of_the_very_product() -> None:
    assert machine.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert machine.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert machine.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert machine.peak_flops("NVIDIA L4") == 121e12
    assert machine.peak_flops("NVIDIA L40S") == 362e12
    for unknown in ("NVIDIA A100X", "NVIDIA H100", "Tesla T4", "NVIDIA H800", ""):
        assert machine.peak_flops(unknown) is None
    assert model_flops_utilisation(10**9, 100_000.0, 1e15, 1) == 0.3


def test_a_cpu_has_a_name_and_no_peak() -> None:
    cpu = machine.device(torch.device("cpu"), 1)
    assert "cores" in cpu.name
    assert cpu.peak_flops is None


def test_free_memory_is_less_than_there_is() -> None:
    free = machine.free_memory(torch.device("cpu"))
    if sys.platform == "linux":
        assert free is not None
        assert 0 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.gpu
def test_free_memory_of_a_gpu_shrinks_by_what_is_held() -> None:
    device = torch.device("cuda")
    torch.empty(1, device=device)
    before = machine.free_memory(device)
    held = torch.empty(2**28, dtype=torch.uint8, device=device)
    after = machine.free_memory(device)
    assert before is not None
    assert after is not None
    assert before - after >= held.numel() // 2
