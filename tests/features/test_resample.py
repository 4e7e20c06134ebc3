"""Resampling keeps what is below half the lower rate, and asks for rates that can be."""

import math
import sys

import pytest
import torch

from triptych.errors import UserError
from triptych.features.resample import resample
from triptych.features.torchaudio_import import import_torchaudio


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 16_000), (8_000, 16_000), (48_000, 32_000), (16_000, 11_025)]
)
def test_a_tone_stays_a_tone(from_rate: int, to_rate: int) -> None:
    clip = torch.sin(2 * math.pi * 440 / from_rate * torch.arange(from_rate // 2))
    found = resample(clip[None], from_rate, to_rate)[0]
    assert len(found) == math.ceil(len(clip) * to_rate / from_rate)
    expected = torch.sin(2 * math.pi * 440 / to_rate * torch.arange(len(found)))
    inner = slice(to_rate // 50, -to_rate // 50)
    assert (found - expected)[inner].abs().max() < 0.01
    # torchaudio's function makes the kernel in float32, its transform, used here, in float64.
    peer = import_torchaudio().functional.resample(clip, from_rate, to_rate)
    torch.testing.assert_close(found, peer, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(48_000, 16_000), (44_100, 16_000), (8_000, 44_100), (44_101, 16_000)]
)
def test_in_pieces_it_is_the_same(from_rate: int, to_rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = torch.randn(2, 60_001, generator=torch.Generator().manual_seed(0))
    whole = resample(clip, from_rate, to_rate)
    monkeypatch.setattr("triptych.features.resample._PIECE", 7001)
    torch.testing.assert_close(resample(clip, from_rate, to_rate), whole, rtol=0, atol=2e-6)


def test_the_same_rate_changes_nothing() -> None:
    clip = torch.randn(7)
    assert resample(clip, 16_000, 16_000) is clip


def test_the_version_of_cuda_is_put_back() -> None:
    before = torch.version.cuda  # pyright: ignore[reportAttributeAccessIssue]
    import_torchaudio()
    assert torch.version.cuda == before  # pyright: ignore[reportAttributeAccessIssue]


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="to_rate is 0"):
        resample(torch.zeros(4), 8_000, 0)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(UserError, match=r"torchaudio cannot be loaded .* pip install torchaudio"):
        import_torchaudio()
