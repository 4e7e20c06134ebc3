"""The pixels that transformers' image processors make, from their settings and from ours."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.checkpoints.huggingface_preprocess import complete, preprocess_from, preprocessor_of
from triptych.features.preprocess import Preprocess

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTImageProcessor", {"size": {"height": 24, "width": 24}}),
    "ViT, rectangular": ("ViTImageProcessor", {"size": {"height": 24, "width": 40}}),
    "DeiT": ("DeiTImageProcessor", {"size": {"height": 32, "width": 32}, "crop_size": {"height": 28, "width": 28}}),
    "SigLIP": ("SiglipImageProcessor", {"size": {"height": 24, "width": 24}}),
    "DINOv2": ("BitImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}),
}


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("size", [(60, 60), (61, 47), (30, 90)])
def test_pixels_match(kind: str, size: tuple[int, int], transformers: ModuleType, tmp_path: Path) -> None:
    name, settings = PROCESSORS[kind]
    theirs = getattr(transformers, name)(**settings)
    theirs.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    ours = Preprocess.from_dict(complete(preprocess_from(saved, tmp_path), (1, 1), 3))
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    smooth = Image.fromarray(pixels).resize((size[1] * 2, size[0] * 2), Image.Resampling.BICUBIC)
    expected = theirs(smooth, return_tensors="pt")["pixel_values"][0]
    made = ours(smooth)
    assert made.shape == expected.shape
    # Their tensors and our PIL resize round to whole pixel values apart: half a step each, seldom more.
    step = 1 / (255 * min(ours.std))
    assert float((made - expected).abs().mean()) < 0.2 * step
    assert float((made - expected).abs().max()) <= 3.1 * step
    again = getattr(transformers, preprocessor_of(ours)["image_processor_type"])(
        **{key: value for key, value in preprocessor_of(ours).items() if key != "image_processor_type"}
    )
    assert (again(smooth, return_tensors="pt")["pixel_values"][0] - expected).abs().max() < 1e-5
