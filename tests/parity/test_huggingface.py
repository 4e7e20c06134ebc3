"""transformers' vision models, random weights, saved by it: the same logits and gradients here, and back again."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import triptych
from triptych.checkpoints.huggingface import read
from triptych.checkpoints.remap import export_state
from triptych.models.classifier import Classifier

SMALL: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8,
}  # fmt: skip
WIDE = {**SMALL, "intermediate_size": 80}

# Class of the model, class of its configuration, settings.
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ViT": ("ViTForImageClassification", "ViTConfig", WIDE),
    "ViT, rectangular, no biases": (
        "ViTForImageClassification", "ViTConfig", {**WIDE, "image_size": (24, 40), "qkv_bias": False},
    ),
    "ViT, grey, quick GELU": (
        "ViTForImageClassification", "ViTConfig", {**WIDE, "num_channels": 1, "hidden_act": "quick_gelu"},
    ),
    "ViT, bare": ("ViTModel", "ViTConfig", WIDE),
    "DeiT": ("DeiTForImageClassification", "DeiTConfig", WIDE),
    "DeiT with teacher": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", WIDE),
    "DINOv2": ("Dinov2ForImageClassification", "Dinov2Config", SMALL),
    "DINOv2, bare": ("Dinov2Model", "Dinov2Config", {**SMALL, "layerscale_value": 0.5}),
    "DINOv2, SwiGLU": ("Dinov2Model", "Dinov2Config", {**SMALL, "use_swiglu_ffn": True}),
    "DINOv2 with registers": ("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", SMALL),
    "DINOv2 with registers, bare, SwiGLU": (
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {**SMALL, "use_swiglu_ffn": True},
    ),
    "SigLIP, bare": ("SiglipVisionModel", "SiglipVisionConfig", WIDE),
    "SigLIP": ("SiglipForImageClassification", "SiglipConfig", WIDE),
}  # fmt: skip
BARE = [name for name in VARIANTS if "bare" in name or name == "DINOv2, SwiGLU"]
DINOV2 = [name for name in VARIANTS if name.startswith("DINOv2")]


def peer(library: ModuleType, variant: str, folder: Path) -> Any:
    kind, config_kind, settings = VARIANTS[variant]
    settings = {**settings, **({} if variant in BARE else {"num_labels": 5})}
    make = getattr(library, config_kind)
    if config_kind == "SiglipConfig":
        config = make(vision_config=settings, num_labels=5, text_config={"bos_token_id": 1, "eos_token_id": 2})
    else:
        config = make(**settings)
    torch.manual_seed(0)
    model = getattr(library, kind)(config)
    randomise(model)
    model.save_pretrained(folder)
    return model.eval()


def randomise(model: nn.Module) -> None:
    """Every parameter its own random numbers, gains and biases too, so that nothing is trivially zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and "norm" in name and "weight" in name
            parameter.copy_(1 + 0.3 * noise if gain else 0.15 * noise)


def answer(model: Any, variant: str, images: Tensor, resized: bool) -> Tensor:
    """Logits, or the embedding of a bare model. DINOv2 resamples its positions unasked."""
    settings = {"interpolate_pos_encoding": True} if resized and variant not in DINOV2 else {}
    output = model(pixel_values=images, **settings)
    if variant not in BARE:
        return output.logits
    return output.last_hidden_state[:, 0] if variant.startswith("ViT") else output.pooler_output


def images_for(model: Classifier, size: tuple[int, int]) -> Tensor:
    return torch.randn(3, model.tower.channels, *size, generator=torch.Generator().manual_seed(2))


def gradients(output: Tensor, model: nn.Module) -> dict[str, Tensor]:
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def under_saved_names(theirs: Any, grads: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Gradients by the names in the file, which differ from those in memory: the library itself is asked, by saving a
    model that holds the gradients for weights.
    """
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(grads.get(name, torch.zeros_like(parameter)))
    theirs.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


# The peer resamples square grids alone.
MATRIX = [(name, size) for name in VARIANTS for size in (None, (48, 48), (24, 56)) if not size or "rect" not in name]


@pytest.mark.parametrize(("variant", "size"), MATRIX)
def test_logits_and_all_gradients_match(
    variant: str, size: tuple[int, int] | None, transformers: ModuleType, tmp_path: Path
) -> None:
    theirs = peer(transformers, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    images = images_for(ours, size or ours.tower.image_size)
    their_output, our_output = answer(theirs, variant, images, size is not None), ours(images)
    assert their_output.std() > 0.05
    largest = max(1.0, float(their_output.detach().abs().max()))
    torch.testing.assert_close(our_output, their_output, rtol=0, atol=1e-5 * largest)

    their_grads = under_saved_names(theirs, gradients(their_output, theirs), tmp_path / "grads")
    described, state = read(tmp_path / "in")
    renamed = export_state(described.rules, gradients(our_output, ours))
    assert renamed.keys() == state.keys() - set(described.unread)
    folded = variant.startswith("DINOv2 with registers")
    for name, theirs_of in their_grads.items():
        if name in described.unread:
            assert not theirs_of.any(), f"{name} is not unread"
            continue
        mine = renamed[name]
        if folded and name.endswith("position_embeddings"):
            # The class token's place is part of our class token: each has the gradient of the sum.
            mine = mine.clone()
            mine[0, 0] = renamed[name.replace("position_embeddings", "cls_token")][0, 0]
        error = float((mine - theirs_of).abs().max() / max(1.0, float(theirs_of.abs().max())))
        assert error < 1e-5, name
        # A bias of the keys moves all of a query's scores alike, so its gradient is zero.
        assert theirs_of.abs().max() > 1e-6 or "key.bias" in name or "k_proj.bias" in name, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_written_back_transformers_loads_it(variant: str, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    triptych.export(ours, tmp_path / "out", format="huggingface")
    architecture = json.loads((tmp_path / "out" / "config.json").read_text())["architectures"][0]
    again, told = getattr(transformers, architecture).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {key: list(value) for key, value in told.items() if value} == {}
    images = images_for(ours, ours.tower.image_size)
    with torch.no_grad():
        expected = answer(theirs, variant, images, False)
        # A bare ViT is written as a classifier without a head, for the pooler of ViTModel is none of its weights.
        output = again(images).logits if variant == "ViT, bare" else answer(again.eval(), variant, images, False)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    reloaded: Any = triptych.load(tmp_path / "out")
    assert reloaded.config == ours.config
    torch.testing.assert_close(reloaded(images), ours(images), rtol=0, atol=1e-6)
