"""transformers' AST, random weights, saved by it: the same logits and gradients here, and back again."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import triptych
from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.huggingface import read
from triptych.checkpoints.remap import export_state
from triptych.errors import UserError

SMALL: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 80, "max_length": 75,
    "num_mel_bins": 40,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "strides of 10": {},
    "strides of 16": {"frequency_stride": 16, "time_stride": 16, "max_length": 64},
    "strides that differ, odd length": {"frequency_stride": 12, "time_stride": 5, "max_length": 83},
    "patches of 8, quick GELU, no biases": {
        "patch_size": 8, "frequency_stride": 8, "time_stride": 6, "hidden_act": "quick_gelu", "qkv_bias": False,
    },
    "larger eps": {"layer_norm_eps": 1e-3},
}  # fmt: skip


def peer(library: ModuleType, variant: str, bare: bool = False) -> Any:
    settings = {**SMALL, **VARIANTS[variant]} | ({} if bare else {"num_labels": 5})
    torch.manual_seed(0)
    kind = library.ASTModel if bare else library.ASTForAudioClassification
    model = kind(library.ASTConfig(**settings))
    randomise(model)
    return model.eval()


def randomise(model: nn.Module) -> None:
    """Every parameter its own random numbers: tokens and positions are zeros else, and gains ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and "norm" in name and "weight" in name
            parameter.copy_(1 + 0.3 * noise if gain else 0.15 * noise)


def mel_for(model: Any, frames: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, frames or model.config.max_length, model.config.num_mel_bins, generator=generator)


def answer(model: Any, mel: Tensor) -> Tensor:
    """Logits, or the embedding of a bare model."""
    output = model(mel)
    return output.logits if hasattr(output, "logits") else output.pooler_output


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


@pytest.mark.parametrize("bare", [False, True], ids=["with head", "bare"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_all_gradients_match(variant: str, bare: bool, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, variant, bare)
    theirs.save_pretrained(tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    mel = mel_for(theirs)
    their_output, our_output = answer(theirs, mel), ours(mel)
    assert their_output.std() > 0.05
    largest = max(1.0, float(their_output.detach().abs().max()))
    torch.testing.assert_close(our_output, their_output, rtol=0, atol=1e-5 * largest)

    their_grads = under_saved_names(theirs, gradients(their_output, theirs), tmp_path / "grads")
    described, state = read(tmp_path / "in")
    renamed = export_state(described.rules, gradients(our_output, ours))
    assert renamed.keys() == state.keys() == their_grads.keys()
    for name, theirs_of in their_grads.items():
        error = float((renamed[name] - theirs_of).abs().max() / max(1.0, float(theirs_of.abs().max())))
        assert error < 1e-5, name
        # A bias of the keys moves all of a query's scores alike, so its gradient is zero.
        assert theirs_of.abs().max() > 1e-6 or "key.bias" in name, name


@pytest.mark.parametrize("bare", [False, True], ids=["with head", "bare"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_written_back_transformers_loads_it(variant: str, bare: bool, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, variant, bare)
    theirs.save_pretrained(tmp_path / "in")
    extractor = transformers.ASTFeatureExtractor(
        num_mel_bins=theirs.config.num_mel_bins, max_length=theirs.config.max_length, mean=-3.25, std=2.5
    )
    extractor.save_pretrained(tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    triptych.export(ours, tmp_path / "out", format="huggingface")

    auto = transformers.AutoModel if bare else transformers.AutoModelForAudioClassification
    again, told = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(again) is type(theirs)
    assert {key: list(value) for key, value in told.items() if value} == {}
    assert again.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "out").to_dict() == extractor.to_dict()
    reloaded: Any = triptych.load(tmp_path / "out")
    assert reloaded.config == ours.config


@pytest.mark.parametrize("bare", [False, True], ids=["with head", "bare"])
def test_names_of_version_5_in_memory_are_read_too(bare: bool, transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, "strides of 10", bare)
    theirs.save_pretrained(tmp_path)
    expected = triptych.load(tmp_path).state_dict()
    saved = set(load_file(tmp_path / "model.safetensors"))
    in_memory = theirs.state_dict()
    assert in_memory.keys() != saved
    save_file(in_memory, tmp_path / "model.safetensors")
    read_again = triptych.load(tmp_path).state_dict()
    assert read_again.keys() == expected.keys()
    assert all(torch.equal(read_again[name], tensor) for name, tensor in expected.items())


def test_classes_and_preprocessing_travel_both_ways(transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, "strides of 10")
    names = ["Speech", "Dog", "Music, sad", "Rain", "Engine"]
    theirs.config.id2label, theirs.config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    theirs.save_pretrained(tmp_path / "in")
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=40, max_length=75, mean=-6.85, std=5.5)
    extractor.save_pretrained(tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    assert ours.config["classes"] == names
    front_end = ours.preprocess.front_end
    assert (front_end.mean, front_end.std, front_end.mel_bins, front_end.sample_rate) == (-6.85, 5.5, 40, 16_000)
    assert front_end.count(ours.preprocess.max_samples) == 75
    assert ours.tower.pad_value == front_end.silence
    triptych.export(ours, tmp_path / "out", format="huggingface")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["id2label"] == {str(i): name for i, name in enumerate(names)}
    # The same clip through both libraries, feature extractor and model, at the length that transformers makes it.
    clip = torch.randn(ours.preprocess.max_samples, generator=torch.Generator().manual_seed(0)) * 0.1
    loaded = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    values = loaded(clip.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    with torch.no_grad():
        torch.testing.assert_close(ours(ours.preprocess(clip)), answer(theirs, values.float()), rtol=0, atol=2e-4)


def test_unnormalised_input_is_read(transformers: ModuleType, tmp_path: Path) -> None:
    peer(transformers, "strides of 10").save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(num_mel_bins=40, do_normalize=False).save_pretrained(tmp_path)
    ours: Any = triptych.load(tmp_path)
    clip = torch.randn(8000) * 0.1
    front_end = ours.preprocess.front_end
    torch.testing.assert_close(front_end(clip), front_end.unnormalised(clip), rtol=0, atol=0)


def test_a_fresh_head_is_asts(transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers, "larger eps", bare=True)
    theirs.save_pretrained(tmp_path)
    ours: Any = triptych.load(tmp_path, num_classes=7)
    assert type(ours.head).__name__ == "NormedHead"
    assert ours.head.norm.eps == 1e-3
    assert ours(mel_for(theirs, 31)).shape == (3, 7)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"patch_size": 8}, "patch_size=8"),
        ({"max_length": 128}, "position.places"),
        ({"num_mel_bins": 64}, "position.places"),
    ],
)
def test_a_config_that_lies_is_an_error(
    change: dict[str, Any], told: str, transformers: ModuleType, tmp_path: Path
) -> None:
    peer(transformers, "strides of 10").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=told):
        triptych.load(tmp_path)


def test_another_feature_extractor_is_an_error(transformers: ModuleType, tmp_path: Path) -> None:
    peer(transformers, "strides of 10").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    with pytest.raises(UserError, match="ClapFeatureExtractor"):
        triptych.load(tmp_path)
    transformers.ASTFeatureExtractor(num_mel_bins=64).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="takes 40 mel bins, but its feature extractor makes 64"):
        triptych.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tower.pool": {"_target_": "triptych.nn.pool.MeanPool", "_partial_": True}}, "MeanPool with 1 registers"),
        ({"tower.tail": "complete"}, "tail='complete'"),
        ({"tower.layer_scale": 0.1}, "LayerScale"),
        ({"head": None}, "Linear in AST"),
    ],
)
def test_what_ast_has_not_is_an_error(
    change: dict[str, Any], told: str, transformers: ModuleType, tmp_path: Path
) -> None:
    peer(transformers, "strides that differ, odd length").save_pretrained(tmp_path / "in")
    ours: Any = triptych.load(tmp_path / "in")
    config = ours.config["model"]
    for key, value in change.items():
        *path, last = key.split(".")
        (config[path[0]] if path else config)[last] = value
    model = build(config, MODEL_PACKAGES)
    with pytest.raises(UserError, match=told):
        triptych.export(model, tmp_path / "out", format="huggingface")
    assert not (tmp_path / "out").exists()
