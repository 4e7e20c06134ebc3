"""Two sounds at once: right targets, draws of nothing but seed and step, and nobody mixed with himself."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from triptych.errors import UserError
from triptych.features.mel_presets import ast
from triptych.features.spec_augment import SpecAugment
from triptych.features.waveforms import Waveforms
from triptych.losses import binary_cross_entropy
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool
from triptych.nn.position import NoPosition
from triptych.objectives.clip_mix import ClipMix
from triptych.optim.schedule import constant
from triptych.towers.audio import AudioTower

Make = Callable[..., Any]
RATE, CLASSES = 8000, 3


def clips(count: int, seed: int = 0) -> Waveforms:
    """Random clips of random lengths, with means of their own."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(300, 2000, (count,), generator=generator).tolist()
    return Waveforms.of([torch.randn(length, generator=generator) + length / 1000 for length in lengths], RATE)


def pairs(mix: ClipMix, given: Waveforms, step: int) -> list[tuple[int, float]]:
    """The partner and the weight of each clip, read off the targets of a class a clip."""
    count = len(given)
    _, targets = mix(given, torch.arange(count), count, step)
    assert targets.sum(1).allclose(torch.ones(count))
    found = []
    for place, row in enumerate(targets):
        own = float(row[place])
        others = row.clone()
        others[place] = 0
        found.append((int(others.argmax()) if own < 1 else place, own))
    return found


@settings(deadline=None, max_examples=25)
@given(count=st.integers(2, 12), seed=st.integers(0, 99), step=st.integers(0, 9999))
def test_targets_say_what_was_mixed(count: int, seed: int, step: int) -> None:
    given_clips, mix = clips(count, seed), ClipMix(0.8, 0.7, seed)
    mixed, _ = mix(given_clips, torch.arange(count), count, step)
    assert (mixed.lengths, mixed.sample_rate) == (given_clips.lengths, RATE)
    for place, (partner, weight) in enumerate(pairs(mix, given_clips, step)):
        own, other = given_clips[place], given_clips[partner]
        if weight == 1:
            assert torch.equal(mixed[place], own)
            continue
        assert partner != place
        wanted = weight * (own - own.mean())
        length = min(len(own), len(other))
        wanted[:length] += (1 - weight) * (other - other.mean())[:length]
        torch.testing.assert_close(mixed[place], wanted, rtol=1e-4, atol=1e-5)


def test_draws_hang_on_seed_and_step_alone() -> None:
    given_clips = clips(9)
    torch.manual_seed(0)
    first = pairs(ClipMix(0.5, 0.9, 1), given_clips, 7)
    state = torch.default_generator.get_state()
    torch.manual_seed(5)
    again = ClipMix(0.5, 0.9, 1)
    again(given_clips, torch.arange(9), 9, 6)
    assert pairs(again, given_clips, 7) == first
    assert pairs(ClipMix(0.5, 0.9, 2), given_clips, 7) != first
    assert pairs(again, given_clips, 8) != first
    torch.default_generator.set_state(state)
    expected = torch.rand(3)
    torch.default_generator.set_state(state)
    again(given_clips, torch.arange(9), 9, 3)
    assert torch.equal(torch.rand(3), expected), "the stream of random numbers of the process is not touched"


def test_a_share_of_the_clips_is_mixed() -> None:
    given_clips = clips(40)
    for share in (0.0, 0.5, 1.0):
        mixed = sum(weight < 1 for step in range(20) for _, weight in pairs(ClipMix(1.0, share), given_clips, step))
        assert mixed / 800 == pytest.approx(share, abs=0.08)
    weights = [weight for step in range(20) for _, weight in pairs(ClipMix(1.0, 1.0), given_clips, step)]
    assert sum(weights) / len(weights) == pytest.approx(0.5, abs=0.05), "Beta(1, 1) is even"


def test_several_labels_and_one_are_mixed_alike() -> None:
    given_clips, mix = clips(6), ClipMix(1.0, 1.0, 3)
    several = (torch.rand(6, CLASSES, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    _, targets = mix(given_clips, several, CLASSES, 4)
    for place, (partner, weight) in enumerate(pairs(mix, given_clips, 4)):
        torch.testing.assert_close(targets[place], weight * several[place] + (1 - weight) * several[partner])
    one = torch.tensor([0, 1, 2, 0, 1, 2])
    _, single = mix(given_clips, one, CLASSES, 4)
    _, rows = mix(given_clips, torch.eye(CLASSES)[one], CLASSES, 4)
    assert torch.equal(single, rows)


def test_a_clip_alone_stays_as_it_is() -> None:
    given_clips = clips(1)
    mixed, targets = ClipMix(1.0, 1.0)(given_clips, torch.tensor([2]), CLASSES, 0)
    assert torch.equal(mixed.samples, given_clips.samples)
    assert targets.tolist() == [[0, 0, 1]]
    none, rows = ClipMix(1.0, 1.0)(given_clips[[]], torch.zeros(0, dtype=torch.long), CLASSES, 0)
    assert (len(none), tuple(rows.shape)) == (0, (0, CLASSES))


def test_settings_out_of_range_are_told() -> None:
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"mix\.mixup is .*, but must be above 0; take mix=null to mix nothing"):
            ClipMix(value)
    with pytest.raises(UserError, match=r"mix\.probability is 1\.5, but must be at least 0 and at most 1"):
        ClipMix(1.0, 1.5)


def model() -> Classifier:
    torch.manual_seed(0)
    tower = AudioTower(
        32, 100, 16, 1, partial(PatchEmbedding, patch_size=(32, 4), channels=1), partial(SoftmaxMixer, heads=2),
        GELUFeedForward, LayerNorm, NoPosition, MeanPool,
    )  # fmt: skip
    return Classifier(tower, CLASSES)


def one_batch(labels: Tensor, most: int | None = None) -> DataLoader[Any]:
    given_clips = clips(len(labels))
    batch = {
        "audio": Waveforms(given_clips.samples, given_clips.lengths, RATE, most),
        "label": labels,
        "index": torch.arange(len(labels)),
    }
    return DataLoader([batch], batch_size=None, collate_fn=lambda batch: batch)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("multi_label", [False, True])
def test_micro_batches_change_nothing(objective: Make, trainer: Make, multi_label: bool) -> None:
    """The whole batch is mixed and masked before it is split, by clips or by seconds."""
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 1])
    given_labels = torch.eye(CLASSES)[labels] if multi_label else labels
    found: list[list[Tensor]] = []
    counts: list[int] = []
    for size, most in ((None, None), (2, None), (None, 2500)):
        made = objective(
            model=model(), schedule=lambda optimizer, _: constant(optimizer, 1),
            front_end=ast(mel_bins=32, sample_rate=RATE),
            mix=ClipMix(0.8, 0.9, 1), mask=SpecAugment(8, 20, seed=2), micro_batch_size=size, multi_label=multi_label,
            **({"loss": binary_cross_entropy} if multi_label else {}),
        )  # fmt: skip
        passes: list[int] = []
        made.model.register_forward_pre_hook(lambda _, inputs, passes=passes: passes.append(len(inputs[0])))
        trainer(max_steps=1, max_epochs=-1).fit(made, one_batch(given_labels, most))
        assert sum(passes) == len(labels)
        counts.append(len(passes))
        found.append([p.grad.clone() for p in made.parameters() if p.grad is not None])
    assert counts[:2] == [1, 4]
    assert counts[2] > 1, "a bound in seconds holds of spectrograms too"
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_a_share_without_samples_is_left_alone(objective: Make) -> None:
    """The last batch of an epoch may leave a process none."""
    made = objective(
        model=model(), front_end=ast(mel_bins=32, sample_rate=RATE), mix=ClipMix(), mask=SpecAugment(8, 20)
    )
    empty = {"audio": clips(3)[3:], "label": torch.zeros(0, dtype=torch.long), "index": torch.zeros(0)}
    assert made.prepare(empty) is empty
    assert made.loss(made.blank(empty)).isfinite()
