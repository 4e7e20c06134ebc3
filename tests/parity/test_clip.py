"""CLIP and SigLIP of open_clip and transformers, random weights: the same features and gradients here, and back."""

import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import triptych
from triptych.checkpoints.huggingface import read as read_huggingface
from triptych.checkpoints.open_clip import read as read_open_clip
from triptych.checkpoints.remap import export_state

VISION: dict[str, Any] = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 16}
TEXT: dict[str, Any] = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
SIGLIP: dict[str, Any] = {
    "embed_dim": 64, "init_logit_bias": -10, "custom_text": True,
    "vision_cfg": {
        "image_size": 32, "timm_model_name": "vit_wee_patch8_siglip_32", "timm_pool": "map", "timm_proj": "none",
    },
    "text_cfg": {
        **TEXT, "vocab_size": 99, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
    },
}  # fmt: skip
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "B/32": {"embed_dim": 32, "vision_cfg": {**VISION, "patch_size": 32, "image_size": 64}, "text_cfg": TEXT},
    "quick GELU": {"embed_dim": 32, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT},
    "CustomText": {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": {**TEXT, "proj_bias": True}},
    "mean, norm after": {
        "embed_dim": 32,
        "vision_cfg": {**VISION, "pool_type": "avg", "final_ln_after_pool": True, "ls_init_value": 0.3},
        "text_cfg": {**TEXT, "ls_init_value": 0.2},
    },
    "own end token": {
        "embed_dim": 32, "custom_text": True, "vision_cfg": VISION,
        "text_cfg": {**TEXT, "vocab_size": 99, "pool_type": "eos", "eos_id": 5, "final_ln_after_pool": True},
    },
    "SigLIP": SIGLIP,
    "SigLIP, projected": {**SIGLIP, "embed_dim": 24, "vision_cfg": {**SIGLIP["vision_cfg"], "timm_proj": "linear"}},
}  # fmt: skip
WIDE: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3,
}  # fmt: skip
PIXELS: dict[str, Any] = {**WIDE, "image_size": 32, "patch_size": 8}
WORDS: dict[str, Any] = {**WIDE, "vocab_size": 99, "max_position_embeddings": 12, "bos_token_id": 97}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "CLIP": ("CLIP", PIXELS, {**WORDS, "eos_token_id": 98}, {"projection_dim": 32}),
    "CLIP, old end token": ("CLIP", PIXELS, {**WORDS, "eos_token_id": 2, "bos_token_id": 0}, {"projection_dim": 32}),
    "CLIP, GELU": (
        "CLIP", {**PIXELS, "hidden_act": "gelu"}, {**WORDS, "eos_token_id": 5, "hidden_act": "gelu"},
        {"projection_dim": 40},
    ),
    "SigLIP": ("Siglip", PIXELS, {**WORDS, "eos_token_id": 1}, {}),
}  # fmt: skip


def vit_wee_patch8_siglip_32(pretrained: bool = False, **given: Any) -> Any:
    """A SigLIP tower small enough to test with."""
    settings = {
        "img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "class_token": False,
        "global_pool": "map",
    }  # fmt: skip
    own = {key: given[key] for key in ("num_classes", "global_pool", "img_size") if key in given}
    model: Any = VisionTransformer(**{**settings, **own})
    model.pretrained_cfg = model.default_cfg = {"input_size": (3, 32, 32)}
    return model


def randomise(model: nn.Module) -> None:
    """Every parameter its own random numbers, gains and biases too, so that nothing is trivially zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and ("norm" in name or "ln_" in name) and "weight" in name
            parameter.copy_(1 + 0.3 * noise if gain else 0.15 * noise)


def inputs(side: int, vocab_size: int, end: int | None) -> tuple[Tensor, Tensor]:
    """Three images and three texts, of differing lengths where an end token ends them."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(6, min(vocab_size, 90), (3, 12), generator=generator)
    for row, length in zip(ids, (5, 12, 9), strict=True):
        if end is not None:
            row[length - 1] = end
            row[length:] = 0
    return torch.randn(3, 3, side, side, generator=generator), ids


def gradients(image: Tensor, text: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Those of the sum of both features, each entry weighted otherwise; of what both are scaled by, one."""
    for output in (image, text):
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        error = float((ours[name] - expected).abs().max() / max(1.0, float(expected.abs().max())))
        assert error < 1e-5, name
        # A bias of the keys moves all of a query's scores alike, so its gradient is zero.
        assert expected.abs().max() > 1e-6 or "k_proj.bias" in name or "logit_" in name, name


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    if not timm.is_model("vit_wee_patch8_siglip_32"):
        register_model(vit_wee_patch8_siglip_32)
    return pytest.importorskip("open_clip")


def of_open_clip(library: ModuleType, variant: str, folder: Path) -> Any:
    config = OPEN_CLIP[variant]
    kind = library.CustomTextCLIP if config.get("custom_text") else library.CLIP
    torch.manual_seed(0)
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"} | {"init_logit_scale": 1.5})
    randomise(model)
    folder.mkdir()
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return model.eval()


def end_of(variant: str) -> int | None:
    text = OPEN_CLIP[variant]["text_cfg"]
    return {"last": None, "eos": text.get("eos_id"), "argmax": text["vocab_size"] - 1}[text.get("pool_type", "argmax")]


@pytest.mark.parametrize("variant", OPEN_CLIP)
def test_features_and_gradients_of_open_clip_match(variant: str, open_clip: ModuleType, tmp_path: Path) -> None:
    theirs = of_open_clip(open_clip, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    images, ids = inputs(
        OPEN_CLIP[variant]["vision_cfg"]["image_size"], ours.towers["text"].vocab_size, end_of(variant)
    )
    expected = theirs.encode_image(images), theirs.encode_text(ids)
    found = ours.encode("image", images), ours.encode("text", ids)
    for mine, their in zip(found, expected, strict=True):
        assert their.std() > 0.05
        torch.testing.assert_close(mine, their, rtol=0, atol=1e-5 * max(1.0, float(their.detach().abs().max())))
    described, _ = read_open_clip(tmp_path / "in")
    same(export_state(described.rules, gradients(*found, ours)), gradients(*expected, theirs))
    assert ours.preprocess.to_dict() == {
        "image_size": list(images.shape[2:]), "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7],
        "interpolation": "bilinear", "crop": 1.0, "mode": "squash",
    }  # fmt: skip


@pytest.mark.parametrize("variant", OPEN_CLIP)
def test_written_back_open_clip_loads_it(variant: str, open_clip: ModuleType, tmp_path: Path) -> None:
    theirs = of_open_clip(open_clip, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    triptych.export(ours, tmp_path / "out", format="open_clip")
    again, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    state = load_file(tmp_path / "out" / "open_clip_model.safetensors")
    assert again.load_state_dict(state, strict=True)
    assert sum(tensor.numel() for tensor in state.values()) == sum(t.numel() for t in theirs.state_dict().values())
    images, ids = inputs(
        OPEN_CLIP[variant]["vision_cfg"]["image_size"], ours.towers["text"].vocab_size, end_of(variant)
    )
    with torch.no_grad():
        for mine, their in (
            (again.eval().encode_image(images), theirs.encode_image(images)),
            (again.encode_text(ids), theirs.encode_text(ids)),
            (again.logit_scale, theirs.logit_scale),
        ):
            torch.testing.assert_close(mine, their, rtol=1e-5, atol=1e-5)
    assert list(again.visual.preprocess_cfg["mean"]) == [0.1, 0.2, 0.3]
    reloaded: Any = triptych.load(tmp_path / "out")
    assert reloaded.preprocess == ours.preprocess
    torch.testing.assert_close(reloaded.encode("text", ids), ours.encode("text", ids), rtol=0, atol=0)


@pytest.fixture
def plain(open_clip: ModuleType, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A model as its weights alone tell it: a head for every 64 channels."""
    torch.manual_seed(0)
    config = OPEN_CLIP[request.param]
    model = open_clip.CLIP(**{**config, "text_cfg": {**config["text_cfg"], "heads": 1}})
    randomise(model)
    return model.eval()


def check(ours: Any, theirs: Any) -> None:
    side = theirs.visual.image_size
    images, ids = inputs(side if isinstance(side, int) else side[0], 49408, 49407)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode("image", images), theirs.encode_image(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.encode("text", ids), theirs.encode_text(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plain", ["B/32", "quick GELU"], indirect=True)
def test_a_training_file(plain: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "epoch_3.pt"
    state = {f"module.{name}": tensor for name, tensor in plain.state_dict().items()}
    torch.save({"epoch": 3, "name": "a run", "state_dict": state, "optimizer": {"step": 1}}, file)
    quick = "-quickgelu" if "quick" in request.node.callspec.params["plain"] else ""
    (tmp_path / "params.txt").write_text(f"batch_size: 8\nforce_quick_gelu: False\nmodel: ViT-B-32{quick}\n")
    check(triptych.load(file), plain)


@pytest.mark.parametrize("plain", ["quick GELU"], indirect=True)
def test_openai_state_dict_and_archive(plain: Any, tmp_path: Path) -> None:
    """As OpenAI published them: in half precision, with three numbers beside the weights, in a TorchScript archive."""

    class Tree(nn.Module):
        """The same weights under the same names, and no code to speak of."""

        def __init__(self, state: dict[str, Tensor]) -> None:
            super().__init__()
            inner: dict[str, dict[str, Tensor]] = {}
            for name, tensor in state.items():
                first, _, rest = name.partition(".")
                if rest:
                    inner.setdefault(first, {})[rest] = tensor
                else:
                    self.register_buffer(first, tensor)
            for name, below in inner.items():
                self.add_module(name, Tree(below))

        def forward(self, x: Tensor) -> Tensor:
            return x

    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(parameter.half())
    state = {name: tensor.half() for name, tensor in plain.state_dict().items()}
    state |= {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(12),
        "vocab_size": torch.tensor(49408),
    }
    torch.save(state, tmp_path / "state.pt")
    check(triptych.load(tmp_path / "state.pt"), plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the form is deprecated, and OpenAI's files have it
        torch.jit.script(Tree(state)).save(str(tmp_path / "ViT.pt"))
    check(triptych.load(tmp_path / "ViT.pt"), plain)


def of_transformers(library: ModuleType, variant: str, folder: Path) -> Any:
    family, vision, text, settings = TRANSFORMERS[variant]
    config = getattr(library, f"{family}Config")(vision_config=vision, text_config=text, **settings)
    torch.manual_seed(0)
    model = getattr(library, f"{family}Model")(config)
    randomise(model)
    model.save_pretrained(folder)
    return model.eval()


def features(model: Any, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    found = model.get_image_features(pixel_values=images), model.get_text_features(input_ids=ids)
    first, second = (output if isinstance(output, Tensor) else output.pooler_output for output in found)
    return first, second


def end_token(variant: str) -> int | None:
    family, _, text, _ = TRANSFORMERS[variant]
    return None if family == "Siglip" else 98 if text["eos_token_id"] == 2 else text["eos_token_id"]


@pytest.mark.parametrize("variant", TRANSFORMERS)
def test_features_and_gradients_of_transformers_match(variant: str, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = of_transformers(transformers, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    images, ids = inputs(32, 99, end_token(variant))
    expected, found = features(theirs, images, ids), (ours.encode("image", images), ours.encode("text", ids))
    for mine, their in zip(found, expected, strict=True):
        assert their.std() > 0.05
        torch.testing.assert_close(mine, their, rtol=0, atol=1e-5 * max(1.0, float(their.detach().abs().max())))
    their_gradients = gradients(*expected, theirs)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(their_gradients[name])
    theirs.save_pretrained(tmp_path / "grads")
    described, _ = read_huggingface(tmp_path / "in")
    renamed = export_state(described.rules, gradients(*found, ours))
    same(renamed, load_file(tmp_path / "grads" / "model.safetensors"))


@pytest.mark.parametrize("variant", TRANSFORMERS)
def test_written_back_transformers_loads_it(variant: str, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = of_transformers(transformers, variant, tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    triptych.export(ours, tmp_path / "out", format="huggingface")
    again, told = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {key: list(value) for key, value in told.items() if value} == {}
    assert type(again) is type(theirs)
    images, ids = inputs(32, 99, end_token(variant))
    with torch.no_grad():
        for mine, their in zip(features(again.eval(), images, ids), features(theirs, images, ids), strict=True):
            torch.testing.assert_close(mine, their, rtol=1e-5, atol=1e-5)
    assert again.logit_scale == theirs.logit_scale
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert list(processor.image_mean) == list(ours.preprocess.mean)
    reloaded: Any = triptych.load(tmp_path / "out")
    assert reloaded.config == ours.config
    torch.testing.assert_close(reloaded.encode("image", images), ours.encode("image", images), rtol=0, atol=0)
