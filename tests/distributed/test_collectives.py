"""What travels in a step: one reduction of the gradients however many micro-batches there are, and little besides."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from triptych import create
from triptych.parallel.costs import Shape, traffic
from triptych.parallel.launch import launch
from triptych.parallel.mesh import Grid

from .toy_runs import COLOURS, KINDS, LOOP, make_data

pytestmark = pytest.mark.slow

STEPS = 4
GRADIENTS = {"allreduce_", "_reduce_scatter_base_", "reduce_scatter_", "reduce_scatter_tensor_coalesced_"}


class Counted(TorchDispatchMode):
    """Counts what the process groups of this process are asked for: the name, and bytes of the tensors given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.found.append((func._schema.name.split("::")[1], sum(each.nbytes for each in _tensors(args))))
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for item in value for each in _tensors(item)] if isinstance(value, list | tuple) else []


def count(root: Path, output: Path, processes: int, *words: str) -> dict[str, list[list[tuple[str, int]]]]:
    """What the first process asked for in each step, and the bytes of all gradients (`parameters`)."""
    given = [word.format(root=root) for word in [*KINDS["images"], *LOOP]]
    given += [f"output={output}", "trainer.validate_every=100", "ema=null", "optimizer=adamw", "data.batch_size=16"]
    report = output.with_suffix(".json")
    words = (*words, f"trainer.max_steps={STEPS}", "trainer.accelerator=cpu")
    assert launch(partial(_counted, report), [*given, *words], processes) == 0
    return json.loads(report.read_text())


def _counted(report: Path, words: list[str]) -> int:
    from lightning.pytorch import Callback

    import triptych.job
    from triptych.command.start import start
    from triptych.objectives.base import Objective

    triptych.job.RunPictures = lambda *given: Callback()  # pyright: ignore[reportAttributeAccessIssue]
    steps: list[list[tuple[str, int]]] = []
    whole = Objective.training_step

    def hook(  # DDP asks for this very annotation
        state: Any,
        bucket: dist.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
    ) -> torch.futures.Future[torch.Tensor]:
        """DDP reduces in C++, out of sight of Python; this does the same in its sight."""
        work = dist.all_reduce(bucket.buffer() / dist.get_world_size(), async_op=True)
        assert work is not None
        return work.get_future().then(lambda done: done.value()[0])

    def step(self: Objective, batch: Any, batch_idx: int) -> torch.Tensor:
        outer = self.trainer.strategy.model
        if isinstance(outer, torch.nn.parallel.DistributedDataParallel) and not steps:
            outer.register_comm_hook(None, hook)
        with Counted() as counted:
            loss = whole(self, batch, batch_idx)
        steps.append(counted.found)
        return loss

    Objective.training_step = step
    code = start("train", words)
    if os.environ["RANK"] == "0":
        report.write_text(json.dumps({"steps": steps}))
    return code


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def shape() -> Shape:
    words = dict(word.split("=") for word in KINDS["images"] if word.startswith("model."))
    overrides = {key.removeprefix("model."): int(value) for key, value in words.items()}
    return Shape.of(create("vit_nano_patch16_64", len(COLOURS), overrides=overrides), tokens=16.0)


def foretold(shape: Shape, grid: Grid, samples: int, micro_batches: int) -> dict[str, float]:
    """Bytes of each collective of a step."""
    return {each.collective: each.payload for each in traffic(shape, grid, samples, micro_batches)}


def of_gradients(found: dict[str, Any], least: int = 64) -> list[list[int]]:
    """Bytes of each reduction of a step that is more than a number or two."""
    return [[size for name, size in step if name in GRADIENTS and size >= least] for step in found["steps"]]


def test_ddp_reduces_each_gradient_once_a_step_with_four_micro_batches(
    data: Path, tmp_path: Path, shape: Shape
) -> None:
    plain, four = (
        of_gradients(count(data, tmp_path / name, 2, "trainer=ddp", *more))
        for name, more in (("plain", []), ("four", ["trainer.micro_batch_size=2"]))
    )
    assert len(plain) == STEPS
    assert all(sum(step) > 50_000 for step in plain)
    assert [sum(step) for step in four[1:]] == [sum(step) for step in plain[1:]]
    assert [len(step) for step in four[1:]] == [len(step) for step in plain[1:]]
    (expected,) = foretold(shape, Grid(replicate=2), 8, 1).values()
    assert all(sum(step) == expected for step in plain)


def test_fsdp_reduces_each_gradient_once_a_step_with_four_micro_batches(
    data: Path, tmp_path: Path, shape: Shape
) -> None:
    found = {
        name: count(data, tmp_path / name, 2, "trainer=fsdp", *more)
        for name, more in (("plain", []), ("four", ["trainer.micro_batch_size=2"]))
    }
    plain, four = (of_gradients(found[name]) for name in ("plain", "four"))
    assert all(sum(step) > 50_000 for step in plain)
    assert four == plain
    gathered = {
        name: [sum(1 for kind, _ in step if "allgather" in kind) for step in each["steps"]]
        for name, each in found.items()
    }
    # Weights are gathered for each micro-batch, forwards and backwards: that is what sharding costs. One more tells
    # how many samples each process has.
    assert gathered["four"][0] - 1 == 4 * (gathered["plain"][0] - 1) > 0, gathered
    for name, samples, micro_batches in (("plain", 8, 1), ("four", 2, 4)):
        expected = foretold(shape, Grid(shard=2), samples, micro_batches)
        for collective, part in (("all-gather", "allgather"), ("reduce-scatter", "reduce_scatter")):
            # What comes and what goes are counted, the whole and this process's half; small tensors are filled up.
            counted = sum(size for kind, size in found[name]["steps"][1] if part in kind and size >= 64) / 1.5
            assert expected[collective] <= counted < 1.1 * expected[collective], (name, collective)


@pytest.mark.parametrize("checkpointing", ["none", "selective", "blocks"])
def test_tensor_parallel_processes_add_up_four_times_a_block(
    checkpointing: str, data: Path, tmp_path: Path, shape: Shape
) -> None:
    words = ["trainer=tp", "trainer.tensor=2", f"trainer.activation_checkpointing={checkpointing}"]
    found = count(data, tmp_path / "tensor", 2, *words)
    (expected,) = [each.payload for each in traffic(shape, Grid(tensor=2), 16, 1, checkpointing)]
    step = found["steps"][0]  # of a whole batch
    assert sum(size for kind, size in step if "allreduce" in kind and size >= 64) == expected


def test_stages_send_each_token_forwards_and_its_gradient_back(data: Path, tmp_path: Path, shape: Shape) -> None:
    found = count(data, tmp_path / "stages", 2, "trainer=pipeline", "trainer.pipeline=2")
    (passed,) = [each.payload / 2 for each in traffic(shape, Grid(pipeline=2), 16, 1)]
    step = found["steps"][0]  # of a whole batch
    for way in ("send", "recv_"):  # the first stage sends tokens and receives their gradients
        assert sum(size for kind, size in step if kind == way and size >= 64) == passed


def test_besides_gradients_a_step_exchanges_a_few_numbers(data: Path, tmp_path: Path) -> None:
    found = count(data, tmp_path / "small", 2, "trainer=ddp")
    small = [[(name, size) for name, size in step if size < 64] for step in found["steps"]]
    # The samples and micro-batches of each rank, and the mean loss.
    assert all(len(step) <= 3 for step in small), small
    assert all(sum(size for _, size in step) < 200 for step in small), small
