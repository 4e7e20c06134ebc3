"""A student learns from its teacher's logits what the reference formula says, whatever the teacher's own input is."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import triptych
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.features.pixels import Pixels
from triptych.features.waveforms import Waveforms
from triptych.losses import binary_cross_entropy, distillation, multi_label_distillation, softmax_cross_entropy
from triptych.objectives.clip_mix import ClipMix
from triptych.objectives.distillation import DistillationObjective
from triptych.objectives.teacher import Teacher
from triptych.optim.adamw import adamw
from triptych.optim.schedule import cosine


def save_teacher(path: Path, classes: int = 3, channels: int = 3, size: int = 16) -> nn.Module:
    overrides = {"tower.depth": 1, "tower.dim": 12, "tower.image_size": size, "tower.patch.patch_size": 8}
    model: Any = triptych.create("vit_tiny_patch16_224", classes, channels, overrides)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    triptych.export(model, path)
    return model.eval()


def make(teacher: Teacher) -> DistillationObjective:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    return DistillationObjective(
        student,
        partial(adamw, lr=1e-2),
        partial(cosine, warmup=0.0),
        3,
        Pixels([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]),
        teacher,
    )


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 1.0), (0.3, 2.0), (1.0, 4.0)])
def test_the_loss_is_hintons(tmp_path: Path, weight: float, temperature: float) -> None:
    reference = save_teacher(tmp_path / "teacher")
    objective = make(Teacher(tmp_path / "teacher", weight, temperature))
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 1, 0])
    batch = objective.prepare({"image": images, "label": labels, "index": torch.arange(5)})
    with torch.no_grad():
        said = reference((images.float() / 255 - 0.5) / 0.5)  # the default normalisation of a model
    torch.testing.assert_close(batch["teacher"], said, atol=1e-4, rtol=1e-4)
    logits = objective.model(objective.normalise(images))
    soft = -(said / temperature).softmax(1) * (logits / temperature).log_softmax(1)
    entropy = -(said / temperature).softmax(1) * (said / temperature).log_softmax(1)
    apart = (soft - entropy).sum(1).mean() * temperature**2
    expected = (1 - weight) * F.cross_entropy(logits, labels) + weight * apart
    torch.testing.assert_close(objective.loss(batch), expected, atol=1e-4, rtol=1e-4)
    assert not any("teacher" in name for name in objective.state_dict())


def test_the_teacher_gets_its_own_size_and_channels(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher", channels=1, size=24)
    said = make(Teacher(tmp_path / "teacher")).teacher.ask(torch.rand(2, 3, 16, 16))
    assert said.shape == (2, 3)
    assert not said.requires_grad


def test_a_teacher_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher", classes=4)
    with pytest.raises(UserError, match="tells 4 classes apart, but the data have 3"):
        make(Teacher(tmp_path / "teacher"))


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher")
    teacher = Teacher(tmp_path / "teacher")
    teacher.model.config = {"classes": ["a", "b", "c"]}
    teacher.check(3, ["a", "b", "c"])
    with pytest.raises(UserError, match="'b' stands where the data have 'x'"):
        teacher.check(3, ["a", "x", "c"])


@pytest.mark.parametrize(("weight", "temperature"), [(-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)])
def test_settings_out_of_range_are_refused(tmp_path: Path, weight: float, temperature: float) -> None:
    with pytest.raises(UserError, match=r"objective\.teacher\.(weight|temperature) is"):
        Teacher(tmp_path, weight, temperature)


def test_a_student_that_says_the_same_is_at_no_distance() -> None:
    logits = torch.randn(4, 5)
    assert distillation(logits, logits + 3, 2.0).abs() < 1e-6
    with pytest.raises(UserError, match="temperature is 0"):
        distillation(logits, logits, 0.0)


def test_apart_in_each_class_is_the_divergence_of_two_coins() -> None:
    logits, teacher = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    for temperature in (1.0, 3.0):
        p, q = (teacher / temperature).sigmoid(), (logits / temperature).sigmoid()
        expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean() * temperature**2
        torch.testing.assert_close(multi_label_distillation(logits, teacher, temperature).double(), expected)
    assert multi_label_distillation(logits, logits, 2.0).abs() < 1e-7
    huge = 200 * torch.randn(4, 5)
    assert multi_label_distillation(huge, -huge).isfinite()
    with pytest.raises(UserError, match="temperature is 0"):
        multi_label_distillation(logits, teacher, 0.0)


TEACHING_RATE, RATE = 16_000, 8_000


def save_listener(path: Path) -> Any:
    overrides = {"tower.depth": 1, "tower.dim": 24, "tower.mel_bins": 32, "tower.patch.patch_size": [32, 4]}
    model: Any = triptych.create("ast_nano", 3, overrides=overrides)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.config["preprocess"] = AudioPreprocess(ast(mel_bins=32, sample_rate=TEACHING_RATE), 0.5).to_dict()
    triptych.export(model, path)
    return triptych.load(path)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_listener_hears_what_the_student_hears_at_its_own_rate(
    tmp_path: Path, multi_label: bool, mixed: bool
) -> None:
    reference = save_listener(tmp_path / "teacher")
    torch.manual_seed(0)
    student: Any = triptych.create("ast_nano", 3, overrides={"tower.dim": 24, "tower.depth": 1, "tower.mel_bins": 32,
                                                             "tower.patch.patch_size": [32, 4]})  # fmt: skip
    objective = DistillationObjective(
        student, partial(adamw, lr=1e-2), partial(cosine, warmup=0.0), 3, ast(mel_bins=32, sample_rate=RATE),
        Teacher(tmp_path / "teacher", 0.3, 2.0), binary_cross_entropy if multi_label else softmax_cross_entropy,
        ClipMix(1.0, 1.0) if mixed else None, multi_label=multi_label,
    )  # fmt: skip
    objective._trainer = SimpleNamespace(global_step=3)  # pyright: ignore
    clips = [torch.randn(size) * 0.1 for size in (2000, 3100, 6000)]  # the last is longer than the teacher listens
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]]) if multi_label else torch.tensor([0, 2, 1])
    batch = objective.prepare({"audio": Waveforms.of(clips, RATE), "label": labels, "index": torch.arange(3)})
    heard, targets = Waveforms.of(clips, RATE), labels
    if mixed:
        heard, targets = ClipMix(1.0, 1.0)(heard, labels, 3, 3)
    with torch.no_grad():
        said = reference(reference.preprocess(list(heard), RATE))
    torch.testing.assert_close(batch["teacher"], said, atol=1e-5, rtol=1e-5)
    logits = student(objective.front_end(heard))
    own = (binary_cross_entropy if multi_label else softmax_cross_entropy)(logits, targets)
    apart = (multi_label_distillation if multi_label else distillation)(logits, said, 2.0)
    torch.testing.assert_close(objective.loss(batch), 0.7 * own + 0.3 * apart, atol=1e-5, rtol=1e-5)


def test_an_empty_share_of_a_batch_is_asked_nothing(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher")
    images = torch.zeros(0, 3, 16, 16, dtype=torch.uint8)
    batch = make(Teacher(tmp_path / "teacher")).prepare({"image": images, "label": torch.zeros(0).long()})
    assert batch["teacher"].shape == (0, 3)


def test_a_teacher_of_sounds_is_refused_for_images(tmp_path: Path) -> None:
    save_listener(tmp_path / "teacher")
    with pytest.raises(UserError, match="teacher is a model of sounds, and the data are images: choose a teacher of"):
        make(Teacher(tmp_path / "teacher"))
