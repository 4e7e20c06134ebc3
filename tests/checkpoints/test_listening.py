"""Image models that become audio models by themselves."""

from typing import Any

import pytest
import torch

import triptych
from triptych.checkpoints.listening import listening
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.nn.stack import Stack

PREPROCESS = AudioPreprocess(ast(mel_bins=64), 2.0)
SMALL = {"tower.dim": 48, "tower.depth": 2, "tower.mixer.heads": 3}


@pytest.mark.parametrize(
    "overrides",
    [
        {"tower/position": "rotary"},
        {"tower/position": "learned", "tower/pool": "class_token"},
        {"tower/position": "sinusoidal", "tower/feedforward": "gelu", "tower.registers": 2},
    ],
)
@pytest.mark.parametrize("pair", [False, True])
def test_the_blocks_are_the_image_models_and_sounds_of_any_length_go_through(
    overrides: dict[str, object], pair: bool
) -> None:
    torch.manual_seed(0)
    given = triptych.create("vit_nano_patch16_64", 3, overrides=SMALL | overrides)
    if pair:
        tower = {key.replace("tower", "towers.image", 1): value for key, value in SMALL.items()}
        text = {key.replace("image", "text"): value for key, value in tower.items()}
        given = triptych.create("clip_nano", overrides=tower | text, captions=["a dog", "a cat"])
    made: Any = listening(given, PREPROCESS)  # pyright: ignore[reportArgumentType]
    source: Any = given.towers["image"] if pair else given.tower  # pyright: ignore
    assert isinstance(source.stack, Stack)
    for name, tensor in source.stack.state_dict().items():
        torch.testing.assert_close(made.tower.stack.state_dict()[name], tensor, rtol=0, atol=0)
    assert made.tower.patch.channels == 1
    assert made.tower.patch.patch_size == (16, 16)
    features = made.eval()(made.preprocess([torch.randn(n) for n in (800, 16_000, 40_000)]))
    assert features.shape == (3, 48)
    assert features.isfinite().all()
    again = triptych.create("ast_nano", 3)  # the configuration that it was made by is one that a checkpoint can keep
    assert set(made.config["model"]["tower"]) <= set(again.config["model"]["tower"])  # pyright: ignore


def test_another_tower_is_told() -> None:
    given = triptych.create("timm", 3, overrides={"tower.name": "resnet18", "tower.image_size": 64})
    with pytest.raises(UserError, match=r"no plain ViT of ours.*triptych train model=ast_nano weights="):
        listening(given, PREPROCESS)  # pyright: ignore[reportArgumentType]
