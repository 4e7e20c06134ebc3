"""Log-mel front ends side by side, interleaved in one process, one thread: ours, torchaudio clip by clip, and
transformers' extractor of AST by both of its roads (with torchaudio, and with numpy).

    uv run python bench/log_mel.py [pairs]

Clips are noise at 16 kHz. torchaudio's and ours are compared to the last bit first.
"""

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor

from triptych.features.mel_presets import ast
from triptych.features.torchaudio_import import import_torchaudio
from triptych.features.waveforms import Waveforms
from triptych.measure.timing import compare

RATE = 16_000
CASES = ((1.0, 1), (1.0, 32), (10.0, 1), (10.0, 8))
"""Seconds of a clip, and clips of a batch."""


def main(pairs: int = 15) -> None:
    torch.set_num_threads(1)
    import_torchaudio()
    from torchaudio.compliance import kaldi
    from transformers.models.audio_spectrogram_transformer import (
        feature_extraction_audio_spectrogram_transformer as peer,
    )

    def torchaudio_loop(clips: list[Tensor]) -> list[Tensor]:
        return [
            kaldi.fbank(
                clip[None], htk_compat=True, use_energy=False, window_type="hanning", num_mel_bins=128, dither=0.0,
                frame_shift=10, sample_frequency=RATE,
            )
            for clip in clips
        ]  # fmt: skip

    front_end = ast()
    extractors: dict[str, Any] = {}
    for road in ("torchaudio", "numpy"):
        peer.is_speech_available = lambda road=road: road == "torchaudio"
        extractors[road] = peer.ASTFeatureExtractor()
    for seconds, count in CASES:
        clips = [torch.randn(round(seconds * RATE)) / 10 for _ in range(count)]
        batch, arrays = Waveforms.of(clips, RATE), [clip.numpy() for clip in clips]
        bits = front_end.unnormalised(batch)
        assert all(torch.equal(left, right) for left, right in zip(bits, torchaudio_loop(clips), strict=True))
        case = f"{count} x {seconds:g} s"
        ours = partial(front_end, batch)
        result = compare(partial(torchaudio_loop, clips), ours, pairs)
        _tell(case, "torchaudio's loop", result, count)
        for road, extractor in extractors.items():
            # The numpy road is chosen at each call.
            peer.is_speech_available = lambda road=road: road == "torchaudio"
            result = compare(partial(extractor, arrays, sampling_rate=RATE, return_tensors="pt"), ours, pairs, warmup=1)
            _tell(case, f"transformers' extractor ({road})", result, count)


def _tell(case: str, name: str, result: Any, count: int) -> None:
    first, second = 1000 * result.first.median / count, 1000 * result.second.median / count
    print(f"{case}: {name} {first:.2f}, ours {second:.2f} ms a clip: {result} times as fast", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
