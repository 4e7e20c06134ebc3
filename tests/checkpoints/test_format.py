import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from triptych.checkpoints.find import find_checkpoint
from triptych.checkpoints.format import read_checkpoint, write_checkpoint
from triptych.checkpoints.manifest import MANIFEST, DamagedError, verify
from triptych.errors import UserError

Same = Callable[[Any, Any], bool]
NAMES = ["model.safetensors", "ema.safetensors", "training.safetensors", "state.json", "config.json", "manifest.json"]


def test_a_checkpoint_comes_back_to_the_last_bit(folder: Path, checkpoint: dict[str, Any], same: Same) -> None:
    back = read_checkpoint(folder / "step_0000070")
    assert back.keys() == checkpoint.keys()
    for key in checkpoint:
        assert same(dict(checkpoint[key]) if key == "state_dict" else checkpoint[key], back[key]), key


def test_a_checkpoint_with_nothing_but_weights_comes_back(tmp_path: Path, same: Same) -> None:
    plain = {"state_dict": {"model.w": torch.ones(2)}}
    write_checkpoint(tmp_path / "step_0000001", plain)
    assert same(plain, read_checkpoint(tmp_path / "step_0000001"))


def test_any_safetensors_reader_finds_the_plain_names(folder: Path, checkpoint: dict[str, Any], same: Same) -> None:
    with safe_open(folder / "step_0000070" / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118
            assert same(checkpoint["state_dict"][f"model.{name}"], file.get_tensor(name))
        assert len(list(file.keys())) == 8
    with safe_open(folder / "step_0000070" / "ema.safetensors", "pt") as file:
        assert set(file.keys()) == {"tower.weight", "tower.scalar"}


def test_config_is_plain_json(folder: Path, checkpoint: dict[str, Any]) -> None:
    assert json.loads((folder / "step_0000070" / "config.json").read_text()) == checkpoint["triptych"]["config"]


@pytest.mark.parametrize("key", ["callbacks", "triptych"])
def test_a_live_object_is_refused_before_anything_is_written(
    tmp_path: Path, checkpoint: dict[str, Any], key: str
) -> None:
    checkpoint[key] = {"config": {"net": torch.nn.Linear(1, 1)}}
    with pytest.raises(
        UserError, match=rf"checkpoint\['{key}'\]\['config'\]\['net'\] is a torch.nn.modules.linear.Linear"
    ):
        write_checkpoint(tmp_path / "step_0000001", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(folder: Path, checkpoint: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="exists already and is not overwritten"):
        write_checkpoint(folder / "step_0000070", checkpoint)
    verify(folder / "step_0000070")


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_found_and_named(folder: Path, name: str) -> None:
    path = folder / "step_0000070" / name
    content = path.read_bytes()
    for length in {0, 1, 8, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        for read in (verify, read_checkpoint):
            with pytest.raises(UserError) as error:
                read(folder / "step_0000070")
            assert str(path) in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_found_and_named(folder: Path, name: str) -> None:
    (folder / "step_0000070" / name).unlink()
    with pytest.raises(DamagedError, match=name):
        read_checkpoint(folder / "step_0000070")


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_found_every_time(folder: Path, name: str) -> None:
    path = folder / "step_0000070" / name
    content = path.read_bytes()
    draw = random.Random(0)
    bits = (
        range(8 * len(content)) if name == MANIFEST else draw.sample(range(8 * len(content)), min(60, 8 * len(content)))
    )
    if name == MANIFEST:
        bits = draw.sample(bits, 500)
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError) as error:
            read_checkpoint(folder / "step_0000070")
        assert str(folder / "step_0000070") in str(error.value)


def test_damage_quotes_both_sums_and_the_way_out(folder: Path, checkpoint: dict[str, Any]) -> None:
    write_checkpoint(folder / "step_0000080", checkpoint)
    (folder / "last").symlink_to("step_0000080")
    path = folder / "step_0000080" / "state.json"
    path.write_bytes(path.read_bytes().replace(b"70", b"71", 1))
    with pytest.raises(
        DamagedError, match=r"state.json is damaged: .*SHA-256 \w{12}\.\.\., the manifest says .*\w{12}"
    ) as error:
        find_checkpoint(folder.parent)
    assert f"The newest other whole checkpoint is {folder / 'step_0000070'}" in str(error.value)


def test_a_newer_format_says_so(folder: Path) -> None:
    path = folder / "step_0000070" / MANIFEST
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 7'))
    with pytest.raises(UserError, match="version 7, this Triptych reads up to 1: update"):
        read_checkpoint(folder / "step_0000070")


def test_a_file_that_links_out_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "step_0000070" / "config.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DamagedError, match=r"config.json is a link"):
        read_checkpoint(folder / "step_0000070")


def test_a_manifest_cannot_name_other_files(folder: Path) -> None:
    from triptych.checkpoints.manifest import manifest_text, read_manifest

    manifest = read_manifest(folder / "step_0000070")
    files = {**manifest.files, "../../secret": manifest.files["config.json"]}
    (folder / "step_0000070" / MANIFEST).write_text(manifest_text(files, manifest.facts))
    with pytest.raises(DamagedError, match="secret"):
        verify(folder / "step_0000070")


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_save_that_the_machine_refuses_leaves_the_others_whole(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    (folder / "last").symlink_to("step_0000070")
    real, calls = getattr(os, call), []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, counted)
        write_checkpoint(folder / "step_0000071", checkpoint)
    before = sorted(folder.iterdir())
    for failing in range(len(calls)):
        countdown = iter(range(failing + 1))

        def failed(*args: Any, countdown: Any = countdown, failing: int = failing) -> Any:
            if next(countdown, None) == failing:
                raise OSError(number, os.strerror(number))
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failed)
            with pytest.raises(UserError) as error:
                write_checkpoint(folder / "step_0000072", checkpoint)
        assert f"The last checkpoint is whole: {folder / 'step_0000070'}" in str(error.value)
        assert str(folder) in str(error.value)
        assert sorted(folder.iterdir()) == before
    verify(find_checkpoint(folder))


def test_a_disk_known_to_be_too_small_is_refused_before_writing(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.checkpoints.format.free_bytes", lambda folder: 12_345)
    with pytest.raises(UserError, match=r"needs 1\.\d MB, 0\.0 MB are free\. No checkpoint had been saved"):
        write_checkpoint(folder / "step_0000071", checkpoint)
    assert [entry.name for entry in folder.iterdir()] == ["step_0000070"]


def test_a_full_disk_ends_in_one_message(
    tmp_path: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        checkpoint["state_dict"]["model.big"] = torch.zeros(300_000)
        write_checkpoint(small / "step_0000001", checkpoint)
        (small / "last").symlink_to("step_0000001")
        checkpoint["state_dict"]["model.big"] = torch.zeros(700_000)
        with pytest.raises(UserError, match=rf"no room .* in {small}: it needs 3\.\d MB, 1\.\d MB are free"):
            write_checkpoint(small / "step_0000002", checkpoint)
        # And where the free space lies (quotas, another writer), so that only the write finds out.
        monkeypatch.setattr("triptych.checkpoints.format.SPARE_BYTES", -(10**9))
        with pytest.raises(
            UserError, match=rf"no room .* in {small}.*The last checkpoint is whole: {small}/step_0000001"
        ):
            write_checkpoint(small / "step_0000002", checkpoint)
        assert sorted(entry.name for entry in small.iterdir()) == ["last", "step_0000001"]
        verify(small / "step_0000001")
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_save_makes_the_folders_it_needs(tmp_path: Path, checkpoint: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "a" / "b" / "step_0000001", checkpoint)
    verify(tmp_path / "a" / "b" / "step_0000001")
    shutil.rmtree(tmp_path / "a")
