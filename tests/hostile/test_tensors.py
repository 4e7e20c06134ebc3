"""Safetensors of strangers: offsets, types and shapes that lie, in checkpoints of ours and of others."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import triptych
from triptych.checkpoints.foreign import read_tensors
from triptych.checkpoints.format import read_checkpoint
from triptych.checkpoints.tensors import safetensors_chunks
from triptych.errors import UserError

from .corpus import Scene, bounded, checkpoint_of, refused, reseal, weights

SIX = {"a": torch.arange(2.0), "b": torch.arange(4.0)}
FUZZ: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
MARKS = b'0123456789[]{},:-."FIUB x\x00\xff'


def raw(header: Any, content: bytes = bytes(24), size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + content


def one(begin: Any = 0, end: Any = 24, shape: Any = (6,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


LIES: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a head of nothing": struct.pack("<Q", 0),
    "a head of 2^63": raw({"a": one()}, size=2**63),
    "a head of 2^64 - 1": raw({"a": one()}, size=2**64 - 1),
    "a head of 100 MB": raw({"a": one()}, size=100_000_000),
    "a head beyond the end": raw({"a": one()}, size=200),
    "a head too short": raw({"a": one()}, size=20),
    "beyond the end": raw({"a": one(0, 28, (7,))}),
    "bytes that are of none": raw({"a": one(0, 20, (5,))}),
    "a hole before the first": raw({"a": one(4, 24, (5,))}),
    "a hole": raw({"a": one(0, 8, (2,)), "b": one(12, 24, (3,))}),
    "an overlap": raw({"a": one(0, 16, (4,)), "b": one(8, 24, (4,))}),
    "the same bytes twice": raw({"a": one(), "b": one()}),
    "backwards": raw({"a": one(24, 0)}),
    "below 0": raw({"a": one(-8, 16)}),
    "a place of 2^64": raw({"a": one(0, 2**64)}),
    "a place of 2^63": raw({"a": one(2**63, 2**63 + 24)}),
    "a fraction": raw({"a": one(0, 24.5)}),
    "a text for a place": raw({"a": one("0", "24")}),
    "three places": raw({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 12, 24]}}),
    "a shape of another size": raw({"a": one(shape=(7,))}),
    "a shape below 0": raw({"a": one(shape=(-2, -3))}),
    "a shape of 2^32 times 2^32": raw({"a": one(shape=(2**32, 2**32))}),
    "a shape of 2^62 times 4": raw({"a": one(0, 0, (2**62, 4, 2**40))}),
    "a shape that comes round to 6": raw({"a": one(shape=(2**63 + 3, 2))}),
    "a shape that is a text": raw({"a": one(shape="6")}),
    "a shape of a million": raw({"a": one(shape=[1] * 1_000_000)}),
    "no such type": raw({"a": one(dtype="torch.load")}),
    "a type of objects": raw({"a": one(dtype="O")}),
    "a type of half bytes": raw({"a": one(shape=(49,), dtype="F4")}),
    "a type that is a list": raw({"a": one(dtype=["F32"])}),
    "no shape": raw({"a": {"dtype": "F32", "data_offsets": [0, 24]}}),
    "an entry that is a number": raw({"a": 3}),
    "metadata that are no texts": raw({"__metadata__": {"a": {"b": 1}}, "a": one()}),
    "metadata that are a list": raw({"__metadata__": [1], "a": one()}),
    "a list": raw([one()]),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "a deep tree": raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "deep lists": raw(b'{"a": ' + b"[" * 1_000_000),
    "a number without end": raw(b'{"a": {"dtype": "F32", "data_offsets": [0, 24], "shape": [' + b"9" * 10**6 + b"]}}"),
    "names without end": raw({f"{number}": one(24, 24, (1,)) for number in range(100_000)}),
}  # fmt: skip


def ours(scene: Scene, content: bytes) -> Path:
    """A checkpoint with this for its weights, and a manifest that fits."""
    return reseal(checkpoint_of(scene.here / "step_0000001"), model_safetensors=content)


def timms(scene: Scene, content: bytes) -> Path:
    """A folder as timm has them."""
    folder = scene.here / "from_the_net"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "num_classes": 2}))
    (folder / "model.safetensors").write_bytes(content)
    return folder


def transformers(scene: Scene, content: bytes) -> Path:
    """A folder as transformers has them, in two files with an index."""
    folder = scene.here / "from_the_net"
    folder.mkdir()
    said = {"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 3,
            "hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    (folder / "one.safetensors").write_bytes(content)
    return folder


@pytest.mark.parametrize("place", [ours, timms, transformers])
@pytest.mark.parametrize("lie", LIES)
def test_a_head_that_lies_is_told(lie: str, place: Callable[[Scene, bytes], Path], scene: Scene) -> None:
    folder = place(scene, LIES[lie])
    with bounded(192, 5), pytest.raises(UserError) as error:
        triptych.load(folder)
    text = refused(error, folder, ".safetensors")
    assert "is no readable safetensors file: " in text or "cannot be read as weights" in text


@pytest.mark.parametrize("lie", ["a head of 2^63", "an overlap", "a deep tree"])
@pytest.mark.parametrize("name", ["training.safetensors", "ema.safetensors"])
def test_so_it_is_beside_the_weights(name: str, lie: str, scene: Scene) -> None:
    folder = checkpoint_of(scene.here / "step_0000001", ema=weights())
    reseal(folder, **{name.replace(".", "_"): LIES[lie]})
    with bounded(192, 5), pytest.raises(UserError) as error:
        read_checkpoint(folder)
    refused(error, folder, name)


def mutated(content: bytes, data: st.DataObject) -> bytes:
    """A few bytes set anew, most of them of the head's text and length."""
    new = bytearray(content)
    head = 8 + int.from_bytes(new[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        most = data.draw(st.sampled_from([8, head, head, head, len(new)]))
        place = data.draw(st.integers(0, most - 1))
        if place < 8 or place >= head or data.draw(st.booleans()):
            new[place] = data.draw(st.integers(0, 255))
        else:
            new[place] = data.draw(st.sampled_from(MARKS))
    return bytes(new[: data.draw(st.sampled_from([len(new), len(new), len(new) - 1, head, 9]))])


@settings(max_examples=300, **FUZZ)
@given(data=st.data())
def test_any_change_gives_tensors_of_the_bytes_that_are_there_or_a_message(scene: Scene, data: st.DataObject) -> None:
    path = scene.here / "model.safetensors"
    content = mutated(b"".join(safetensors_chunks(SIX)), data)
    path.write_bytes(content)
    with bounded(64, 2):
        try:
            found = read_tensors(path)
        except UserError as reason:
            assert len(str(reason).splitlines()) == 1  # noqa: PT017
            return
    assert sum(tensor.nbytes for tensor in found.values()) <= len(content)


@settings(max_examples=80, **FUZZ)
@given(data=st.data(), sealed=st.booleans())
def test_any_change_of_a_checkpoint_gives_the_declared_tensors_or_a_message(
    scene: Scene, data: st.DataObject, sealed: bool
) -> None:
    """Whose manifest is made to fit, that may have other values; whose is not, that is refused."""
    folder = scene.here / "step_0000001"
    if not folder.exists():
        checkpoint_of(folder)
    expected = weights()
    whole = b"".join(safetensors_chunks(expected))
    reseal(folder, model_safetensors=whole)
    content = mutated(whole, data)
    if sealed:
        reseal(folder, model_safetensors=content)
    else:
        (folder / "model.safetensors").write_bytes(content)
    with bounded(128, 5):
        try:
            found = triptych.load(folder).state_dict()
        except UserError as reason:
            assert len(str(reason).splitlines()) == 1  # noqa: PT017
            return
    assert sealed or content == whole
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


STATE: dict[str, Any] = {
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3)}}, "param_groups": [
        {"lr": 1e-3, "betas": (0.9, 0.99), "params": [0]}]}],
    "lr_schedulers": [{"last_epoch": 3, "_last_lr": [float("inf")]}],
    "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
    "global_step": 3, "epoch": 1,
}  # fmt: skip


@settings(max_examples=150, **FUZZ)
@given(data=st.data())
@pytest.mark.parametrize("name", ["state.json", "training.safetensors", "config.json"])
def test_any_change_of_the_state_gives_plain_data_or_a_message(name: str, scene: Scene, data: st.DataObject) -> None:
    """The optimizer's, the loops', the schedule's, and what they point to."""
    folder = scene.here / "step_0000001"
    if not folder.exists():
        checkpoint_of(folder, **STATE)
        (scene.here / name).write_bytes((folder / name).read_bytes())
    whole = (scene.here / name).read_bytes()
    content = mutated(whole, data) if name.endswith("tensors") else _text(whole, data)
    reseal(folder, **{name.replace(".", "_"): content})
    with bounded(128, 5):
        try:
            found = read_checkpoint(folder)
        except UserError as reason:
            assert len(str(reason).splitlines()) == 1  # noqa: PT017
            return
    _plain(found)


def _text(content: bytes, data: st.DataObject) -> bytes:
    text = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(st.sampled_from([*(bytes([mark]) for mark in MARKS), b'{"$":', b"9" * 30, b"null", b"1e999"]))
        text[place : place + data.draw(st.integers(0, 3))] = new
    return bytes(text)


def _plain(node: Any) -> None:
    """Nothing but data all the way down."""
    if isinstance(node, dict):
        for key, value in node.items():
            _plain(key)
            _plain(value)
    elif isinstance(node, list | tuple | set | frozenset):
        for value in node:
            _plain(value)
    else:
        known = (type(None), bool, int, float, complex, str, bytes, bytearray, Tensor, torch.dtype, torch.device)
        assert isinstance(node, known), type(node)
