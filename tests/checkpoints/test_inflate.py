"""An image model's weights in an audio model: a spectrogram is a picture whose channels are alike."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import triptych
from triptych.checkpoints.inflate import inflate
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.coordinates import running_time
from triptych.nn.feedforward import GELUFeedForward, SwiGLUFeedForward
from triptych.nn.head import NormedHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding, resample_patches
from triptych.nn.pool import ClassTokenPool, DistilledPool, MeanPool, Pool, PrefixMeanPool
from triptych.nn.position import LearnedPosition, RotaryPosition, SinusoidalPosition
from triptych.nn.time_position import LearnedTimePosition
from triptych.towers.audio import AudioTower
from triptych.towers.timm import TimmTower
from triptych.towers.vision import VisionTower

DIM = 24
PARTS: dict[str, Any] = {
    "mixer": partial(SoftmaxMixer, heads=2), "feedforward": GELUFeedForward, "norm": partial(LayerNorm, eps=1e-6),
}  # fmt: skip
ROTARY = partial(RotaryPosition, coordinates=running_time)


def randomise(model: Any, scale: float = 0.3) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model.eval()


def image_model(size: tuple[int, int] = (32, 48), patch: int = 8, **changed: Any) -> Classifier:
    torch.manual_seed(0)
    settings: dict[str, Any] = {**PARTS, "position": LearnedPosition, "pool": ClassTokenPool, **changed}
    tower = VisionTower(size, DIM, 2, partial(PatchEmbedding, patch_size=patch), **settings)
    return randomise(Classifier(tower, 5))


def audio_model(
    bins: int = 32, frames: int = 48, patch: Any = 8, stride: Any = None, depth: int = 2, dim: int = DIM, **changed: Any
) -> Classifier:
    torch.manual_seed(1)
    settings: dict[str, Any] = {**PARTS, "position": LearnedTimePosition, "pool": PrefixMeanPool, **changed}
    settings.setdefault("registers", settings["pool"].registers if isinstance(settings["pool"], type) else 0)
    cut = partial(PatchEmbedding, patch_size=patch, channels=1, stride=stride)
    tower = AudioTower(bins, frames, dim, depth, cut, **settings)
    return randomise(Classifier(tower, 7, head=partial(NormedHead, norm=LayerNorm)))


def grey(mel: Tensor) -> Tensor:
    """Frames as the picture that the audio tower sees, in three channels."""
    return mel.transpose(1, 2)[:, None].expand(-1, 3, -1, -1)


@pytest.mark.parametrize("embed_prefix", [True, False], ids=["places of prefixes", "no places of prefixes"])
@pytest.mark.parametrize("audio_prefix", [True, False], ids=["audio has such places", "audio has none"])
@pytest.mark.parametrize("pools", [(ClassTokenPool, ClassTokenPool), (DistilledPool, PrefixMeanPool)])
def test_a_spectrogram_gives_what_its_grey_picture_gave(
    pools: tuple[type[Pool], type[Pool]], audio_prefix: bool, embed_prefix: bool
) -> None:
    """Class token and distillation token, and the positions of both, wherever each tower has them."""
    image = image_model(
        pool=pools[0], registers=pools[0].registers, position=partial(LearnedPosition, embed_prefix=embed_prefix)
    )
    audio = audio_model(pool=pools[1], position=partial(LearnedTimePosition, embed_prefix=audio_prefix))
    head = {name: tensor.clone() for name, tensor in audio.head.state_dict().items()}
    report = inflate(audio, image)
    mel = torch.randn(3, 48, 32)
    with torch.no_grad():
        expected, got = image.tower(grey(mel)), audio.tower(mel)
    torch.testing.assert_close(got.tokens, expected.tokens, rtol=1e-4, atol=1e-5)
    assert "patch kernels summed over 3 channels" in str(report)
    assert "positions of 4 x 6 patches to 4 bands x 6 moments" in report.taken
    assert ("distillation token to distillation token" in report.taken) == (pools[0] is DistilledPool)
    assert all(torch.equal(audio.head.state_dict()[name], tensor) for name, tensor in head.items())


def test_one_token_becomes_both() -> None:
    image, audio = image_model(), audio_model()
    report = inflate(audio, image)
    with torch.no_grad():
        tokens = audio.tower.embed(torch.randn(1, 48, 32))[0][0]
        position = image.tower.position
        expected = image.tower.class_token + position.prefix_places
    torch.testing.assert_close(tokens[:2], expected.expand(2, -1))
    assert "class token to distillation token" in report.taken


@pytest.mark.parametrize(
    ("grid", "bins", "frames"), [((7, 7), 128, 128), ((14, 14), 128, 1024), ((6, 20), 128, 128), ((24, 24), 64, 300)]
)
def test_positions_are_cut_where_smaller_and_stretched_where_larger(
    grid: tuple[int, int], bins: int, frames: int
) -> None:
    """As AST's own code does it, time first; patches of 8 every 5."""
    rows, columns = grid
    image = image_model((8 * rows, 8 * columns))
    audio = audio_model(bins, frames, stride=5, tail="drop")
    inflate(audio, image)
    height, width = (bins - 8) // 5 + 1, (frames - 8) // 5 + 1
    picture = image.tower.position.places.view(1, rows, columns, DIM).permute(0, 3, 1, 2)
    if width <= columns:
        start = int(columns / 2) - int(width / 2)
        picture = picture[..., start : start + width]
    else:
        picture = torch.nn.functional.interpolate(picture, size=(rows, width), mode="bilinear")
    if height <= rows:
        start = int(rows / 2) - int(height / 2)
        picture = picture[:, :, start : start + height]
    else:
        picture = torch.nn.functional.interpolate(picture, size=(height, width), mode="bilinear")
    expected = picture[0].permute(1, 2, 0).flatten(0, 1)
    torch.testing.assert_close(audio.tower.position.places, expected, rtol=1e-4, atol=1e-5)


def test_patches_of_another_size_are_resampled() -> None:
    image, audio = image_model(patch=8), audio_model(bins=48, frames=96, patch=(16, 4))
    report = inflate(audio, image)
    summed = image.tower.patch.projection.weight.view(DIM, 3, 64).sum(1)
    expected = resample_patches(summed, (8, 8), (16, 4))
    assert torch.equal(audio.tower.patch.projection.weight, expected)
    assert "patch kernels summed over 3 channels, resampled from 8 x 8 to 16 x 4" in report.taken


@pytest.mark.parametrize("norm_after", [(True, False), (False, True), (True, True)])
def test_the_last_norm_goes_to_where_it_stands(norm_after: tuple[bool, bool]) -> None:
    image = image_model(pool=partial(ClassTokenPool, norm_after=norm_after[0]))
    audio = audio_model(pool=partial(ClassTokenPool, norm_after=norm_after[1]))
    inflate(audio, image)
    mel = torch.randn(2, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(audio.embed(mel), image.embed(grey(mel)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "own", "told"),
    [
        (LearnedPosition, ROTARY, None),
        (SinusoidalPosition, LearnedTimePosition, "learned positions, for the image tower has SinusoidalPosition"),
    ],
)
def test_positions_of_another_kind_stay(theirs: Any, own: Any, told: str | None) -> None:
    image, audio = image_model(position=theirs), audio_model(position=own)
    before = {
        name: tensor.clone() for name, tensor in audio.tower.position.state_dict().items() if "prefix" not in name
    }
    report = inflate(audio, image)
    assert all(torch.equal(audio.tower.position.state_dict()[name], tensor) for name, tensor in before.items())
    assert told is None or told in report.kept
    assert not [line for line in report.taken if line.startswith("positions")]


def test_without_a_class_token_the_own_one_stays() -> None:
    image, audio = image_model(pool=MeanPool), audio_model()
    before = audio.tower.class_token.clone()
    report = inflate(audio, image)
    assert torch.equal(audio.tower.class_token, before)
    assert "class token, for the image tower has none" in report.kept


def test_a_tower_of_timm_itself() -> None:
    torch.manual_seed(0)
    tower = TimmTower("test_vit", (32, 48))
    randomise(tower)
    image = Classifier(tower, 4)
    dim, heads = tower.dim, tower.model.blocks[0].attn.num_heads
    audio = audio_model(
        patch=16, dim=dim, depth=len(tower.model.blocks), pool=ClassTokenPool, mixer=partial(SoftmaxMixer, heads=heads),
        feedforward=partial(GELUFeedForward, hidden_dim=tower.model.blocks[0].mlp.fc1.out_features),
    )  # fmt: skip
    inflate(audio, image)
    mel = torch.randn(2, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(audio.embed(mel), image.embed(grey(mel)), rtol=1e-4, atol=1e-5)


def test_the_image_tower_of_a_clip() -> None:
    clip: Any = randomise(triptych.create("clip_nano"), 0.03)
    clip.lock("image")
    vision = clip.towers["image"]
    block: Any = vision.stack.blocks[0]
    height, width = vision.image_size
    audio = audio_model(
        height, width, vision.patch.patch_size, depth=len(vision.stack.blocks), dim=vision.dim,
        mixer=partial(SoftmaxMixer, heads=block.mixer.heads),
        feedforward=partial(type(block.feedforward), hidden_dim=block.feedforward.down.in_features),
        input_norm=None if isinstance(vision.input_norm, torch.nn.Identity) else partial(LayerNorm, eps=1e-5),
        norm=partial(LayerNorm, eps=block.mixer_norm.eps), pool=type(vision.pool), registers=0,
        position=RotaryPosition,
    )  # fmt: skip
    inflate(audio, clip)
    assert not next(vision.parameters()).requires_grad
    assert next(audio.parameters()).requires_grad
    mel = torch.randn(2, width, height)
    with torch.no_grad():
        expected, got = vision(grey(mel)).tokens, audio.tower(mel).tokens
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("image", "audio", "told"),
    [
        ({}, {"depth": 3}, "has depth=2 and the audio tower depth=3"),
        ({}, {"dim": 32}, "has dim=24 and the audio tower dim=32"),
        ({}, {"mixer": partial(SoftmaxMixer, heads=3)}, "has heads=2 and the audio tower heads=3"),
        (
            {"feedforward": SwiGLUFeedForward},
            {},
            "has feedforward=SwiGLUFeedForward and the audio tower feedforward=GELUFeedForward",
        ),
        ({"layer_scale": 0.1}, {}, "has layer_scale=True and the audio tower layer_scale=False"),
        (
            {"feedforward": partial(GELUFeedForward, hidden_ratio=2.0)},
            {},
            "has hidden_dim=48 and the audio tower hidden_dim=96",
        ),
        (
            {"mixer": partial(SoftmaxMixer, heads=2, qkv_bias=False)},
            {},
            r"stack\.blocks\.0\.mixer\.qkv\.bias is missing in the image tower and \(72,\)",
        ),
    ],
)
def test_towers_that_differ_are_told_and_nothing_changes(
    image: dict[str, Any], audio: dict[str, Any], told: str
) -> None:
    model = audio_model(**audio)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=told):
        inflate(model, image_model(**image))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_patches_with_a_bias_need_one() -> None:
    model = audio_model()
    model.tower.patch.projection.bias = None
    with pytest.raises(UserError, match=r"patches have a bias and the audio tower's have none: give them patch\.bias"):
        inflate(model, image_model())


def test_other_models_are_told() -> None:
    with pytest.raises(UserError, match="Only an AudioTower takes the weights of an image model, not a VisionTower"):
        inflate(image_model(), image_model())
    with pytest.raises(UserError, match="this one has a AudioTower"):
        inflate(audio_model(), audio_model())
