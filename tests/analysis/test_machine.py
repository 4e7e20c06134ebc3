"""FLOPs and peaks are counted or known, never guessed."""

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
