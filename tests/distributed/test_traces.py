"""A run is the same on one process or many, however they divide the model and the samples."""

from pathlib import Path

import pytest

from .toy_runs import KINDS, make_data, trace, train, worst

pytestmark = pytest.mark.slow

WAYS = {
    "ddp_2": (2, ["trainer=ddp"]),
    "ddp_3": (3, ["trainer=ddp"]),
    "fsdp_2": (2, ["trainer=fsdp", "trainer.activation_checkpointing=selective"]),
    "fsdp_4": (4, ["trainer=fsdp", "trainer.activation_checkpointing=blocks"]),
    "hsdp_4": (4, ["trainer=fsdp", "trainer.replicas=2"]),
    "tp_2": (2, ["trainer=tp", "trainer.tensor=2"]),
    "fsdp_tp_4": (4, ["trainer=fsdp_tp"]),
    "pipeline_2": (2, ["trainer=pipeline", "trainer.pipeline=2"]),
    "pipeline_ddp_4": (4, ["trainer=pipeline", "trainer.pipeline=2"]),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("kind", KINDS)
def test_traces_equal_one_process(data: Path, kind: str, tmp_path: Path) -> None:
    """Twenty steps across short last batches, with clipping and micro-batches; losses, norms and validations."""
    more = ["optimizer=adamw", "optimizer.lr=0.001", "trainer.micro_batch_size=3", "ema=ema"]
    expected = trace(train(kind, data, tmp_path / "one", 1, *more))
    assert len(expected["train/loss"]) == 20
    for way, (processes, words) in WAYS.items():
        found = trace(train(kind, data, tmp_path / way, processes, *words, *more, "trainer.accelerator=cpu"))
        difference = worst(expected, found, "train/loss", "grad_norm", "val/loss")
        assert difference < 1e-5, (kind, way, difference)
