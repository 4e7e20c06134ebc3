"""A clip among others gives what it gives alone, whatever their lengths; patchout leaves out what it says."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.features.spectrograms import Spectrograms
from triptych.models.classifier import Classifier
from triptych.nn.convolutional_patch import ConvolutionalPatchEmbedding
from triptych.nn.coordinates import running_time
from triptych.nn.drop import Patchout
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.head import NormedHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, MeanPool, PrefixMeanPool
from triptych.nn.position import RotaryPosition
from triptych.nn.time_position import LearnedTimePosition
from triptych.towers.audio import AudioTower

BINS, FRAMES = 48, 400
POSITIONS: dict[str, Any] = {
    "learned": LearnedTimePosition,
    "learned, centred": partial(LearnedTimePosition, centred=True),
    "rotary": partial(RotaryPosition, coordinates=running_time),
}
POOLS: dict[str, Any] = {"prefix": PrefixMeanPool, "mean": MeanPool, "attention": partial(AttentionPool, heads=2)}
# A second has about 100 frames.
clips = st.lists(st.integers(48, 998), min_size=1, max_size=6)


def make(position: str = "learned", tail: str = "complete", pool: str = "prefix", **changed: Any) -> Classifier:
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "patch": partial(PatchEmbedding, patch_size=16, channels=1, stride=10), "mixer": partial(SoftmaxMixer, heads=2),
        "feedforward": GELUFeedForward, "norm": LayerNorm, "position": POSITIONS[position], "pool": POOLS[pool],
        "registers": 1, "tail": tail, "pad_value": -1.25,
    }  # fmt: skip
    tower = AudioTower(BINS, FRAMES, 16, 2, **{**parts, **changed})
    model = Classifier(tower, 5, head=partial(NormedHead, norm=LayerNorm))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def draw(lengths: list[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, BINS, generator=generator) for length in lengths]


@pytest.mark.parametrize("tail", ["complete", "drop"])
@pytest.mark.parametrize("position", POSITIONS)
@settings(max_examples=12, deadline=None)
@given(lengths=clips, seed=st.integers(0, 99))
def test_each_clip_gives_what_it_gives_alone(position: str, tail: str, lengths: list[int], seed: int) -> None:
    model, mels = make(position, tail), draw(lengths, seed)
    batch = Spectrograms.of(mels, -1.25)
    padded, sizes = batch.padded()
    # What stands in the padding is nothing to anybody.
    for row, size in zip(padded, sizes, strict=True):
        row[size:] = 1e3
    with torch.no_grad():
        alone = torch.cat([model(mel[None]) for mel in mels])
        torch.testing.assert_close(model(batch), alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(padded, list(sizes)), alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(padded, torch.tensor(sizes)), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("position", POSITIONS)
def test_one_batch_trains_as_its_clips_do(position: str, pool: str) -> None:
    """With gradients in every parameter."""
    model, mels = make(position, pool=pool).train(), draw([60, 998, 233, 16, 233])
    weights = torch.randn(len(mels), 5)
    found = []
    for outputs in (model(Spectrograms.of(mels, -1.25)), torch.cat([model(mel[None]) for mel in mels])):
        model.zero_grad()
        (outputs * weights).sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for name, grad in found[0].items():
        assert grad is not None, name
        largest = float(grad.abs().max())
        assert largest > 1e-6 or "bias" in name, name
        torch.testing.assert_close(grad, found[1][name], rtol=1e-4, atol=1e-5 * max(1, largest), msg=name)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 300), stride=st.sampled_from([10, 16]))
def test_tails(length: int, stride: int) -> None:
    patch = partial(PatchEmbedding, patch_size=16, channels=1, stride=stride)
    complete, drop = (make(tail=tail, patch=patch) for tail in ("complete", "drop"))
    (mel,) = draw([length])
    bands, beyond = (BINS - 16) // stride + 1, max(0, length - 16)
    assert complete.tower(mel[None]).tokens.shape[1] == 2 + bands * (1 + -(-beyond // stride))
    assert drop.tower(mel[None]).tokens.shape[1] == 2 + bands * (1 + beyond // stride)
    # What is filled up is what a clip with the pad value behind it is, and what is dropped is never read.
    missing = -beyond % stride if length >= 16 else 16 - length
    filled = torch.cat([mel, torch.full((missing, BINS), -1.25)])
    with torch.no_grad():
        torch.testing.assert_close(complete(mel[None]), complete(filled[None]), rtol=0, atol=1e-6)
        if length >= 16:
            kept = mel[: 16 + beyond // stride * stride]
            torch.testing.assert_close(drop(mel[None]), drop(kept[None]), rtol=0, atol=1e-6)


def test_the_tower_reads_patches_as_a_convolution_over_bins_and_frames_does() -> None:
    """As AST's code has it: bins are rows and frames are columns."""
    model = make(tail="drop")
    patch = model.tower.patch
    (mel,) = draw([123])
    weight = patch.projection.weight.view(16, 1, 16, 16)
    expected = torch.nn.functional.conv2d(mel.T[None, None], weight, patch.projection.bias, stride=10)
    position = model.tower.position
    with torch.no_grad():
        table = position.table((4, 11), torch.device("cpu"))
        tokens, _ = model.tower.embed(mel[None])
        prefix = torch.cat([model.tower.class_token, model.tower.registers]) + position.prefix_places
        torch.testing.assert_close(tokens[0, :2], prefix)
        torch.testing.assert_close(tokens[0, 2:], expected[0].flatten(1).T + table, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("shares", "kept"),
    [
        ({"rate": 0.5}, lambda rows, columns: round(rows * columns * 0.5)),
        ({"time": 0.25}, lambda rows, columns: rows * round(columns * 0.75)),
        ({"frequency": 0.5}, lambda rows, columns: round(rows * 0.5) * columns),
        (
            {"time": 0.4, "frequency": 0.25, "rate": 0.2},
            lambda rows, columns: round(0.8 * round(rows * 0.75) * round(columns * 0.6)),
        ),
    ],
)
def test_patchout_keeps_its_share_in_training_alone(shares: dict[str, float], kept: Any, packed: bool) -> None:
    model = make(patchout=partial(Patchout, **shares))
    whole = make()
    lengths = [316, 126, 996] if packed else [316, 316]
    batch = Spectrograms.of(draw(lengths), -1.25)
    columns = [(length - 16) // 10 + 1 for length in lengths]
    with torch.no_grad():
        torch.testing.assert_close(model(batch), whole(batch), rtol=0, atol=0)
    layout = model.train().tower.embed(batch)[1]
    assert layout.host_sizes == tuple(2 + kept(4, count) for count in columns)


@pytest.mark.parametrize("position", POSITIONS)
def test_what_patchout_keeps_is_whole_columns_and_rows_at_their_places(position: str) -> None:
    """The tokens that are left are those that the tower has without patchout."""
    model = make(position, patchout=partial(Patchout, time=0.5, frequency=0.5))
    (mel,) = draw([216])
    with torch.no_grad():
        whole = model.tower.embed(mel[None])[0][0, 2:].view(4, 21, -1)
        model.train()
        for seed in range(5):
            torch.manual_seed(seed)
            left = model.tower.embed(mel[None])[0][0, 2:]
            near = (left[:, None] - whole.flatten(0, 1)).abs().amax(-1)
            assert near.min(1).values.max() < 1e-4
            places = near.argmin(1).tolist()
            rows, columns = {place // 21 for place in places}, {place % 21 for place in places}
            assert (len(rows), len(columns)) == (2, 10)
            assert sorted(places) == sorted(row * 21 + column for row in rows for column in columns)


def test_patchout_still_trains_every_parameter() -> None:
    model = make(patchout=partial(Patchout, time=0.3, frequency=0.25, rate=0.2)).train()
    model(Spectrograms.of(draw([300, 120, 998]), -1.25)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_longer_than_built_for_and_shorter_than_a_patch() -> None:
    for position in POSITIONS:
        model = make(position)
        for length in (1, 15, 16, 17, 400, 5000):
            with torch.no_grad():
                assert model(draw([length])[0][None]).isfinite().all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tail": "keep"}, "tail is 'keep'; it must be one of complete, drop"),
        ({"patch": partial(PatchEmbedding, patch_size=16)}, "patch.channels is 3; a spectrogram has 1"),
        ({"patch": partial(PatchEmbedding, patch_size=64, channels=1)}, "mel_bins is 48, but a patch is 64 high"),
        ({"registers": 0}, "PrefixMeanPool reads 1 of them"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(**change)


def test_other_bins_than_the_towers_are_refused() -> None:
    with pytest.raises(ValueError, match="have 40 mel bins, but the tower takes 48"):
        make()(torch.randn(2, 100, 40))


@pytest.mark.parametrize("patch", ["linear", "convolutional"])
def test_an_embedding_is_the_same_whenever_it_is_asked_for(patch: str) -> None:
    """From the sound on: what was drawn before does not matter, nor do patchout and dropped blocks, of training."""
    chosen: dict[str, Any] = {} if patch == "linear" else {
        "patch": partial(ConvolutionalPatchEmbedding, patch_size=[BINS, 8], channels=1, stride=[BINS, 4]),
    }  # fmt: skip
    tower = make(patchout=partial(Patchout, time=0.5, rate=0.5), stochastic_depth=0.5, **chosen).tower
    preprocess = AudioPreprocess(ast(mel_bins=BINS), 2.0)
    sounds = [0.1 * torch.randn(size) for size in (9000, 40_000, 16_000)]
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        torch.rand(seed)
        with torch.no_grad():
            found.append(tower(preprocess(sounds)).pooled)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert found[0].std() > 0.01
