"""Whole runs on a GPU: what the arithmetic and the strategies of a CUDA device come to, against a CPU."""

from pathlib import Path

import pytest
import torch

from .distributed.toy_runs import KINDS, make_data, resume, trace, train, worst

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

MORE = ["optimizer=adamw", "optimizer.lr=0.001", "trainer.micro_batch_size=3", "ema=ema"]
ON_GPU = ["trainer=gpu", "trainer.accelerator=gpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_that_of_a_cpu(data: Path, kind: str, tmp_path: Path) -> None:
    expected = trace(train(kind, data, tmp_path / "cpu", 1, *MORE))
    found = trace(train(kind, data, tmp_path / "gpu", 1, *MORE, *ON_GPU, "trainer.precision=32-true"))
    assert worst(expected, found, "train/loss", "val/loss") < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_and_learns(data: Path, kind: str, tmp_path: Path) -> None:
    exact = trace(train(kind, data, tmp_path / "exact", 1, *MORE, *ON_GPU, "trainer.precision=32-true"))
    found = trace(train(kind, data, tmp_path / "near", 1, *MORE, *ON_GPU, "trainer.precision=bf16-mixed"))
    assert 0 < worst(exact, found, "train/loss") < 0.1
    assert found["train/loss"][-1] < found["train/loss"][0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_is_near(data: Path, precision: str, tmp_path: Path) -> None:
    words = [*MORE, *ON_GPU, f"trainer.precision={precision}"]
    eager = trace(train("images", data, tmp_path / "eager", 1, *words))
    found = trace(train("images", data, tmp_path / "compiled", 1, *words, "trainer.compile=true"))
    assert worst(eager, found, "train/loss") < (1e-3 if precision == "32-true" else 0.1)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="needs a GPU with float8"
)
@pytest.mark.parametrize("compiled", [False, True])
def test_float8_is_near_and_learns(data: Path, compiled: bool, tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="needs the extra float8")
    words = [*MORE, *ON_GPU, "model.tower.dim=64"]
    exact = trace(train("images", data, tmp_path / "exact", 1, *words, "trainer.precision=32-true"))
    more = ["trainer.precision=float8-mixed", f"trainer.compile={str(compiled).lower()}"]
    found = trace(train("images", data, tmp_path / "float8", 1, *words, *more))
    assert 0 < worst(exact, found, "train/loss") < 0.2
    assert found["train/loss"][-1] < found["train/loss"][0]


def test_a_run_that_goes_on_is_near_the_run_that_was_never_stopped(data: Path, tmp_path: Path) -> None:
    """To the last bit on a CPU; some sums of a GPU have no fixed order."""
    words = [*MORE, *ON_GPU, "trainer.precision=32-true", "checkpoint.every_steps=5"]
    run = train("images", data, tmp_path, 1, *words, "checkpoint.keep=9")
    whole = trace(run)
    resume(run / "checkpoints" / "step_0000010", 1)
    assert worst(whole, trace(run), "train/loss", "grad_norm") < 1e-4


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "fsdp_tp", "pipeline"])
def test_two_gpus_are_one(data: Path, strategy: str, precision: str, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    more = {"fsdp_tp": ["trainer.tensor=2"], "pipeline": ["trainer.pipeline=2"]}.get(strategy, [])
    words = [*MORE, f"trainer.precision={precision}"]
    one = trace(train("images", data, tmp_path / "one", 1, *words, *ON_GPU))
    words += [f"trainer={strategy}", "trainer.accelerator=gpu", *more]
    found = trace(train("images", data, tmp_path / "two", 2, *words))
    assert worst(one, found, "train/loss", "val/loss") < (1e-4 if precision == "32-true" else 0.1)
