"""The original AST: weights of timm's own blocks under its names, and its own steps from mel to logits."""

import logging
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

import triptych
from triptych.checkpoints.ast_original import load_ast
from triptych.errors import UserError
from triptych.features.mel_presets import ast

DIM, CLASSES = 128, 7


class Original(nn.Module):
    """What AST's code makes of a distilled DeiT: patches of one channel that overlap, positions for them, a head over
    the mean of both tokens.
    """

    def __init__(self, stride: int, frames: int, eps: float = 1e-6, head_eps: float = 1e-5) -> None:
        super().__init__()
        self.stride = stride
        places = ((128 - 16) // stride + 1) * ((frames - 16) // stride + 1)
        self.v = nn.Module()
        self.v.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.v.dist_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.v.pos_embed = nn.Parameter(torch.randn(1, places + 2, DIM))
        self.v.patch_embed = nn.Module()
        self.v.patch_embed.proj = nn.Conv2d(1, DIM, 16, stride)
        norm: Any = partial(nn.LayerNorm, eps=eps)
        self.v.blocks = nn.Sequential(*(Block(DIM, 2, qkv_bias=True, norm_layer=norm) for _ in range(2)))
        self.v.norm = norm(DIM)
        self.v.head, self.v.head_dist = nn.Linear(DIM, 1000), nn.Linear(DIM, 1000)
        self.mlp_head = nn.Sequential(nn.LayerNorm(DIM, eps=head_eps), nn.Linear(DIM, CLASSES))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.1 + ("norm" in name and "weight" in name))

    def forward(self, mel: Tensor) -> Tensor:
        v: Any = self.v
        x = v.patch_embed.proj(mel.unsqueeze(1).transpose(2, 3)).flatten(2).transpose(1, 2)
        tokens = [token.expand(len(mel), -1, -1) for token in (v.cls_token, v.dist_token)]
        x = v.norm(v.blocks(torch.cat([*tokens, x], dim=1) + v.pos_embed))
        return self.mlp_head((x[:, 0] + x[:, 1]) / 2)


def saved(model: nn.Module, path: Path, prefix: str = "module.") -> Path:
    torch.save(OrderedDict((f"{prefix}{name}", tensor) for name, tensor in model.state_dict().items()), path)
    return path


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize(
    ("stride", "frames", "tokens"),
    [(10, 1024, 1214), (10, 512, 602), (10, 128, 146), (12, 512, 422), (14, 128, 83), (16, 1024, 514), (16, 128, 66)],
)
def test_logits_and_gradients_match(stride: int, frames: int, tokens: int, prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(stride + frames)
    theirs = Original(stride, frames)
    ours: Any = triptych.load(saved(theirs, tmp_path / "audioset.pth", prefix))
    assert (ours.tower.frames, ours.tower.mel_bins, ours.tower.patch.stride) == (frames, 128, (stride, stride))
    assert ours.preprocess.front_end == ast()
    assert ours.preprocess.front_end.count(ours.preprocess.max_samples) == frames
    mel = torch.randn(2, frames, 128)
    expected, got = theirs(mel), ours(mel)
    assert ours.tower(mel).tokens.shape[1] == tokens
    assert expected.std() > 0.05
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.detach().abs().max())))

    weights = torch.linspace(-1, 1, got.numel()).view_as(got)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    v: Any = theirs.v
    table = torch.cat([ours.tower.position.prefix_places.grad, ours.tower.position.places.grad])[None]
    pairs = [
        (v.pos_embed.grad, table),
        (v.cls_token.grad[0], ours.tower.class_token.grad),
        (v.dist_token.grad[0], ours.tower.registers.grad),
        (v.patch_embed.proj.weight.grad.flatten(1), ours.tower.patch.projection.weight.grad),
        (v.blocks[0].attn.qkv.weight.grad, ours.tower.stack.blocks[0].mixer.qkv.weight.grad),
        (theirs.mlp_head[0].weight.grad, ours.head.norm.weight.grad),
    ]
    for left, right in pairs:
        torch.testing.assert_close(right, left, rtol=1e-4, atol=1e-5 * max(1.0, float(left.abs().max())))


def test_each_eps_is_its_own(tmp_path: Path) -> None:
    """With tokens so small that eps counts, another one would move the logits."""
    found = []
    for eps, head_eps in ((1e-6, 1e-5), (1e-12, 1e-5), (1e-6, 1e-6)):
        torch.manual_seed(0)
        theirs = Original(16, 128, eps, head_eps).eval()
        v: Any = theirs.v
        with torch.no_grad():
            for parameter in (v.cls_token, v.dist_token, v.pos_embed, v.norm.weight):
                parameter.mul_(1e-3)
            v.norm.bias.zero_()
        mel = torch.randn(1, 128, 128)
        ours: Any = triptych.load(saved(theirs, tmp_path / "a.pth"))
        with torch.no_grad():
            found.append(float((ours(mel) - theirs(mel)).abs().max()))
    assert found[0] < 1e-5
    assert min(found[1:]) > 1e-4


def test_a_fresh_head_and_a_front_end_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(Original(10, 512), tmp_path / "esc.pth")
    with caplog.at_level(logging.WARNING):
        ours: Any = triptych.load(path, num_classes=50)
    assert "clips of 512 frames" in caplog.text
    assert ours(torch.randn(1, 512, 128)).shape == (1, 50)
    caplog.clear()
    esc = ast(-6.6268077, 5.358466)
    told = load_ast(path, front_end=esc)
    assert told.preprocess.front_end == esc
    assert not caplog.text
    triptych.export(told, tmp_path / "own")
    assert triptych.load(tmp_path / "own").preprocess == told.preprocess


def test_positions_that_do_not_tell_are_an_error_until_somebody_says(tmp_path: Path) -> None:
    path = saved(Original(10, 300), tmp_path / "own.pth")
    with pytest.raises(UserError, match=r"positions for 348 patches, which fit none of strides of 10, 12, 14, 16"):
        triptych.load(path)
    assert load_ast(path, stride=10).tower.frames == 296  # the least that has as many patches
    assert load_ast(path, frames=300).tower.patch.stride == (10, 10)
    with pytest.raises(UserError, match="fit none of strides of 16 with 300 frames"):
        load_ast(path, stride=16, frames=300)


def test_what_is_no_ast_is_told(tmp_path: Path) -> None:
    state = Original(16, 128).state_dict()
    del state["v.dist_token"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"a pickle without a config\.json"):
        triptych.load(tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"has no weight .v\.dist_token."):
        load_ast(tmp_path / "other.pth")
    state = Original(16, 128).state_dict() | {"v.extra.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"v\.extra\.weight"):
        triptych.load(tmp_path / "more.pth")


def test_transformers_gets_it_with_a_word_about_eps(
    tmp_path: Path, transformers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = Original(16, 128).eval()
    ours = triptych.load(saved(theirs, tmp_path / "a.pth"))
    with caplog.at_level(logging.WARNING):
        triptych.export(ours, tmp_path / "out", format="huggingface")
    assert "the head's, 1e-05, is written as the tower's, 1e-06" in caplog.text
    again = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "out")
    mel = torch.randn(2, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(again(mel).logits, theirs(mel), rtol=0, atol=1e-4)
