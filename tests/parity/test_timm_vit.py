"""timm's plain ViTs, random weights, saved by its hub writer: the same logits and gradients here, and back again."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models._hub import save_for_hf
from torch import Tensor, nn

from triptych.checkpoints.remap import export_state
from triptych.checkpoints.timm import describe, load_timm, read, save_timm
from triptych.models.classifier import Classifier

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32, "patch_size": 8, "num_classes": 7}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "class token": ("vit_tiny_patch16_224", {}),
    "class token, rectangular": ("vit_tiny_patch16_224", {"img_size": (24, 40)}),
    "class token, rectangular patches": ("vit_tiny_patch16_224", {"patch_size": (8, 4)}),
    "class token, norm after": ("vit_tiny_patch16_224", {"fc_norm": True}),
    "mean, class token kept": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "mean, no class token": ("vit_small_patch16_224", {"global_pool": "avg", "class_token": False}),
    "mean, rectangular": ("vit_small_patch16_224", {"global_pool": "avg", "class_token": False, "img_size": (16, 40)}),
    "mean, norm before": ("vit_base_patch16_224", {"global_pool": "avg", "class_token": False, "fc_norm": False}),
    "registers, mean": ("vit_little_patch16_reg4_gap_256", {}),
    "registers, mean, rectangular": ("vit_medium_patch16_reg4_gap_256", {"img_size": (40, 24)}),
    "registers, class token": ("vit_small_patch14_reg4_dinov2", {}),
    "registers with positions": ("vit_tiny_patch16_224", {"reg_tokens": 4}),
    "layer scale, no class place": ("deit3_small_patch16_224", {}),
    "normalised queries and keys": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "no biases": ("vit_tiny_patch16_224", {"qkv_bias": False, "proj_bias": False}),
    "tanh GELU": ("vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}),
    "quick GELU": ("vit_tiny_patch16_224", {"act_layer": "quick_gelu"}),
    "SwiGLU": ("vit_giant_patch14_dinov2", {"mlp_ratio": 4.0}),
    "SwiGLU without layer scale": ("vit_giant_patch14_dinov2", {"mlp_ratio": 4.0, "init_values": 0.0}),
    "RMS norm": ("vit_tiny_patch16_224", {"norm_layer": "rmsnorm"}),
    "attention pool": ("vit_base_patch16_siglip_224", {}),
    "no positions": ("vit_tiny_patch16_224", {"pos_embed": "none"}),
    "grey images": ("vit_tiny_patch16_224", {"in_chans": 1}),
    "DINOv2 giant with registers": ("vit_giant_patch14_reg4_dinov2", {"mlp_ratio": 4.0}),
    "SigLIP, mean": ("vit_so400m_patch14_siglip_gap_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "EVA": ("eva_large_patch14_196", {}),
    "EVA-02": ("eva02_tiny_patch14_224", {}),
    "EVA-02 at another size than its reference": ("eva02_tiny_patch14_336", {"img_size": (24, 40)}),
    "EVA-02 with a norm in its feed-forward": ("eva02_base_patch14_224", {}),
    "rotary, registers": ("vit_betwixt_patch16_rope_reg4_gap_256", {}),
    "rotary, registers, no biases": ("vit_mediumd_patch16_rope_reg1_gap_256", {}),
    "RoPE-ViT": ("vit_small_patch16_rope_224", {}),
    "RoPE-ViT with learned positions": ("vit_small_patch16_rope_ape_224", {"img_size": (24, 40)}),
    "DINOv3": ("vit_small_patch16_dinov3", {}),
    "DINOv3 with biases, class token": ("vit_base_patch16_dinov3_qkvb", {"global_pool": "token"}),
    "DINOv3 with SwiGLU": ("vit_small_plus_patch16_dinov3", {}),
}
# Where the peer keeps queries, keys and values, or gate and value, apart, its folder is written with both in one.
FUSED_BY_US = {"EVA-02 with a norm in its feed-forward", "DINOv3 with SwiGLU"}


def randomise(model: nn.Module) -> None:
    """Every parameter its own random numbers, gains and biases too, so that nothing is trivially zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and ("norm" in name and "weight" in name)
            parameter.copy_(1 + 0.3 * noise if gain else 0.15 * noise)


def peer(variant: str, folder: Path, **options: Any) -> nn.Module:
    architecture, settings = VARIANTS[variant]
    torch.manual_seed(0)
    model = timm.create_model(architecture, **{**SMALL, **settings}, **options)
    randomise(model)
    save_for_hf(model, str(folder), safe_serialization=True)
    return model.eval()


def gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    logits = model(images)
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weights).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(grads) == len(list(model.parameters()))
    return logits.detach(), grads


def images_for(model: nn.Module, size: tuple[int, int]) -> Tensor:
    channels = model.in_chans
    assert isinstance(channels, int)
    return torch.randn(3, channels, *size, generator=torch.Generator().manual_seed(2))


def compare(theirs: nn.Module, ours: Classifier, images: Tensor, folder: Path) -> float:
    """Largest difference over the logits and all gradients, relative to the largest entry of each (at least one)."""
    their_logits, their_grads = gradients(theirs, images)
    our_logits, our_grads = gradients(ours, images)
    renamed = export_state(describe(*read(folder)).rules, our_grads)
    assert renamed.keys() == their_grads.keys()
    assert their_logits.std() > 0.05
    # A bias of the keys moves all of a query's scores alike, so its gradient is zero.
    assert not [k for k, grad in their_grads.items() if grad.abs().max() < 1e-6 and not k.endswith("k_norm.bias")]
    errors = [
        float((mine - theirs).abs().max() / max(1.0, float(theirs.abs().max())))
        for theirs, mine in [(their_logits, our_logits), *((their_grads[k], renamed[k]) for k in their_grads)]
    ]
    return max(errors)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_all_gradients_match(variant: str, tmp_path: Path) -> None:
    theirs = peer(variant, tmp_path)
    size = VARIANTS[variant][1].get("img_size", 32)
    images = images_for(theirs, (size, size) if isinstance(size, int) else size)
    assert compare(theirs, load_timm(tmp_path), images, tmp_path) < 1e-5


@pytest.mark.parametrize(
    "variant",
    [
        "class token", "mean, no class token", "registers, mean", "registers, class token", "distilled", "EVA-02",
        "EVA-02 at another size than its reference", "rotary, registers", "RoPE-ViT", "RoPE-ViT with learned positions",
        "DINOv3", "DINOv3 with biases, class token",
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(48, 48), (16, 16), (24, 56)])
def test_other_image_sizes_match(variant: str, size: tuple[int, int], tmp_path: Path) -> None:
    theirs = peer(variant, tmp_path, dynamic_img_size=True)
    assert compare(theirs, load_timm(tmp_path), images_for(theirs, size), tmp_path) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_written_back_timm_loads_it(variant: str, tmp_path: Path) -> None:
    theirs = peer(variant, tmp_path / "in")
    ours = load_timm(tmp_path / "in")
    save_timm(ours, tmp_path / "out")
    again = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    size = VARIANTS[variant][1].get("img_size", 32)
    images = images_for(theirs, (size, size) if isinstance(size, int) else size)
    with torch.no_grad():
        torch.testing.assert_close(again(images), theirs(images), rtol=1e-5, atol=1e-5)
    if variant not in FUSED_BY_US:
        assert again.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch32_224", "vit_base_patch16_224"])
def test_sizes_of_the_table_of_heads(name: str, tmp_path: Path) -> None:
    """Where the config names only an architecture, the number of heads follows from the name."""
    theirs = timm.create_model(name, depth=1, num_classes=5, img_size=64)
    randomise(theirs)
    save_for_hf(theirs, str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    assert "num_heads" not in config["model_args"]
    ours = load_timm(tmp_path)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(images)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
