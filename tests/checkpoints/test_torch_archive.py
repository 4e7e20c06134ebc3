"""Archives are read without running what they name."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from triptych.checkpoints.torch_archive import is_torchscript, names_of, read_torchscript
from triptych.errors import UserError


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("model/data.pkl", content)
        made.writestr("model/code/__torch__.py", "raise SystemExit")
    return path


def test_code_is_not_run(tmp_path: Path) -> None:
    path = archive(tmp_path / "evil.pt", pickle.dumps(Evil(tmp_path / "touched")))
    assert is_torchscript(path)
    with pytest.raises(UserError, match=r"cannot be read without running its code .* Convert it where you trust it"):
        read_torchscript(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02K\x01.", b"nothing"])
def test_damaged_archives_are_told(content: bytes, tmp_path: Path) -> None:
    path = archive(tmp_path / "cut.pt", content)
    if content.endswith(b"."):
        assert read_torchscript(path) == {}
    else:
        with pytest.raises(UserError, match="TorchScript archive that cannot be read"):
            read_torchscript(path)


def test_plain_files_are_no_torchscript(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(2)}, tmp_path / "plain.pt")
    assert not is_torchscript(tmp_path / "plain.pt")
    assert "visual.conv1.weight" in names_of(tmp_path / "plain.pt")
    (tmp_path / "text.pt").write_text("no archive")
    assert names_of(tmp_path / "text.pt") == ""
