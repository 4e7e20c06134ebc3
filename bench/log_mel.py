"""Log-mel front ends side by side, interleaved in one process: ours, torchaudio clip by clip, and transformers'
extractor of AST by both of its roads, that with torchaudio and the one with NumPy alone.

    OMP_NUM_THREADS=1 uv run python bench/log_mel.py [pairs]

Without the variable all take the threads that they take by default: NumPy's wait busily for one another, and run on
into the time of what comes next.

Clips are noise at 16 kHz. torchaudio's numbers and ours are compared to the last bit first. All have the memory
settings of a training process.
"""

import statistics
import sys
import time
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from triptych.features.mel_presets import ast
from triptych.features.torchaudio_import import import_torchaudio
from triptych.features.waveforms import Waveforms
from triptych.heap import keep_freed_memory
from triptych.measure.timing import Step, compare

RATE = 16_000
PEER = "transformers.models.audio_spectrogram_transformer.feature_extraction_audio_spectrogram_transformer"
CASES = ((1.0, 1), (1.0, 32), (10.0, 1), (10.0, 8))
"""Seconds of a clip, and clips of a batch."""


def main(pairs: int = 15) -> None:
    keep_freed_memory()
    import_torchaudio()
    from torchaudio.compliance import kaldi

    peer: Any = import_module(PEER)

    def torchaudio_loop(clips: list[Tensor]) -> list[Tensor]:
        return [
            kaldi.fbank(
                clip[None], htk_compat=True, use_energy=False, window_type="hanning", num_mel_bins=128, dither=0.0,
                frame_shift=10, sample_frequency=RATE,
            )
            for clip in clips
        ]  # fmt: skip

    front_end = ast()
    peers: dict[str, Any] = {"torchaudio": peer.ASTFeatureExtractor()}
    peer.is_speech_available = lambda: False
    peers["numpy"] = peer.ASTFeatureExtractor()
    for seconds, count in CASES:
        clips = [torch.randn(round(seconds * RATE)) / 10 for _ in range(count)]
        batch, arrays = Waveforms.of(clips, RATE), [clip.numpy() for clip in clips]
        bits = front_end.unnormalised(batch)
        assert all(torch.equal(left, right) for left, right in zip(bits, torchaudio_loop(clips), strict=True))
        ours = partial(front_end, batch)
        case = f"{count} x {seconds:g} s"
        _tell(f"{case}, torchaudio's loop", partial(torchaudio_loop, clips), ours, pairs, count)
        for road, extractor in peers.items():
            # Which road is taken is asked again at each call.
            peer.is_speech_available = lambda road=road: road == "torchaudio"
            theirs = partial(extractor, arrays, sampling_rate=RATE, return_tensors="pt")
            _tell(f"{case}, transformers' extractor ({road})", theirs, ours, pairs, count)


def _tell(name: str, theirs: Step, ours: Step, pairs: int, count: int) -> None:
    result = compare(theirs, ours, pairs)
    first, second = 1000 * result.first.median / count, 1000 * result.second.median / count
    cpu = [1000 * _cpu_time(step) / count for step in (theirs, ours)]
    print(
        f"{name}: {first:.2f}, ours {second:.2f} ms a clip: {result} times as fast; "
        f"CPU time {cpu[0]:.2f}, ours {cpu[1]:.2f} ms a clip: {cpu[0] / cpu[1]:.1f}",
        flush=True,
    )


def _cpu_time(step: Step, runs: int = 9) -> float:
    """Median seconds that all threads of the process are busy for a run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
