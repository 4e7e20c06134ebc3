"""Plain ViTs of timm drawn at random, so that parts meet which no named model has together."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from timm.models._hub import save_for_hf

from triptych.checkpoints.timm import load_timm, save_timm

from .test_timm_vit import images_for, randomise


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    heads, patch = draw(st.sampled_from([1, 2, 3, 6])), draw(st.sampled_from([(4, 4), (8, 8), (4, 8)]))
    pool = draw(st.sampled_from(["token", "avg", "map"]))
    return {
        "num_heads": heads, "embed_dim": heads * draw(st.sampled_from([8, 12, 20])), "depth": draw(st.integers(1, 3)),
        "patch_size": patch, "img_size": tuple(side * draw(st.integers(1, 5)) for side in patch),
        "num_classes": draw(st.sampled_from([2, 7])), "global_pool": pool,
        "class_token": pool == "token" or (pool == "avg" and draw(st.booleans())),
        "reg_tokens": draw(st.sampled_from([0, 1, 4])), "init_values": draw(st.sampled_from([None, 0.1])),
        "qk_norm": draw(st.booleans()), "qkv_bias": draw(st.booleans()), "proj_bias": draw(st.booleans()),
        "no_embed_class": draw(st.booleans()), "mlp_ratio": draw(st.sampled_from([2.0, 8 / 3, 4.0])),
        "fc_norm": draw(st.sampled_from([None, True, False])), "pos_embed": draw(st.sampled_from(["learn", "none"])),
        "act_layer": draw(st.sampled_from(["gelu", "gelu_tanh", "quick_gelu"])),
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    architectures(), st.sampled_from(["center", "squash", "border"]), st.sampled_from([0.875, 0.95, 1.0]),
    st.tuples(st.integers(8, 70), st.integers(8, 70)),
)  # fmt: skip
def test_any_plain_vit_is_read_and_written_back(
    parts: dict[str, Any], mode: str, crop: float, pixels: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", **parts)
    randomise(theirs)
    data: Any = theirs.pretrained_cfg
    data.update({"crop_mode": mode, "crop_pct": crop, "input_size": (3, *parts["img_size"])})
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(theirs, folder, safe_serialization=True)
        ours = load_timm(folder)
        images = images_for(theirs, parts["img_size"])
        theirs.eval()
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
        save_timm(ours, Path(folder) / "out")
        again = timm.create_model(f"local-dir:{folder}/out", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), theirs(images), rtol=1e-5, atol=1e-5)
    assert again.state_dict().keys() == theirs.state_dict().keys()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*pixels, 3), dtype=np.uint8))
    prepared: Any = create_transform(**resolve_model_data_config(theirs))
    torch.testing.assert_close(ours.preprocess(picture), prepared(picture), rtol=0, atol=1e-5)
