"""Two hosts with addresses of their own, as network namespaces of one machine, joined by a cable that can be cut."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .toy_runs import KINDS, LOOP, make_data, trace, train, worst

pytestmark = pytest.mark.slow

ADDRESSES = ("10.77.0.1", "10.77.0.2")
MORE = ["optimizer=adamw", "optimizer.lr=0.001", "checkpoint.every_steps=2", "trainer.timeout=5"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """The names of two namespaces; the cable between them ends in `cable0` and `cable1`."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = tuple(f"triptych{os.getpid()}{end}" for end in "ab")
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable1", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for end, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"cable{end}")
            ip("-n", name, "link", "set", f"cable{end}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def host(name: str, rank: int, words: list[str]) -> subprocess.Popen[str]:
    """torchrun on one host, one process."""
    command = [
        "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        f"--node-rank={rank}", f"--master-addr={ADDRESSES[0]}", "--master-port=29777", "--max-restarts=0",
        "-m", "triptych", "train", *words,
    ]  # fmt: skip
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": f"cable{rank}", "TRIPTYCH_LAUNCH": "two-hosts",
    }  # fmt: skip
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def start_of(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """Twenty steps: then the loss is nearly 0, and rounding is all that is left of it."""
    return {name: values[:20] for name, values in found.items()}


def test_two_hosts_are_one_and_a_cut_cable_ends_both_in_time(hosts: tuple[str, str], tmp_path: Path) -> None:
    """The trace of one process; both ends name the peer that they have lost; joined again, they go on with the run that
    they had begun, to the same last bit as one that was never cut.
    """
    data = make_data(tmp_path / "data")
    words = [word.format(root=data) for word in [*KINDS["pairs"], *LOOP]] + [*MORE, "trainer=ddp", "name=pairs"]
    words.append("trainer.max_steps=60")
    expected = start_of(trace(train("pairs", data, tmp_path / "one", 1, *MORE, "trainer.max_steps=60")))
    whole = [host(name, rank, [*words, f"output={tmp_path / 'whole'}"]) for rank, name in enumerate(hosts)]
    printed = [each.communicate(timeout=240)[0] for each in whole]
    assert [each.returncode for each in whole] == [0, 0], printed
    (undisturbed,) = (tmp_path / "whole" / "train" / "pairs").iterdir()
    assert worst(expected, start_of(trace(undisturbed)), "train/loss", "grad_norm") < 1e-5

    crew = [host(name, rank, [*words, f"output={tmp_path / 'cut'}"]) for rank, name in enumerate(hosts)]
    try:
        deadline = time.monotonic() + 120
        while not any((tmp_path / "cut").glob("train/pairs/*/checkpoints/step_*")):
            assert time.monotonic() < deadline
            assert all(each.poll() is None for each in crew), [each.communicate()[0] for each in crew]
            time.sleep(0.02)
        ip("-n", hosts[0], "link", "set", "cable0", "down")
        cut = time.monotonic()
        printed = [each.communicate(timeout=90)[0] for each in crew]
        took = time.monotonic() - cut
    finally:
        for each in crew:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
    assert all(each.returncode for each in crew)
    assert "rank 1" in printed[0], printed[0]
    assert "trainer.timeout=5" in printed[0]
    assert "rank 0" in printed[1], printed[1]
    assert took < 60, took  # five seconds for the watch; torchrun itself gives its workers up to thirty
    ip("-n", hosts[0], "link", "set", "cable0", "up")

    again = [host(name, rank, [*words, f"output={tmp_path / 'cut'}"]) for rank, name in enumerate(hosts)]
    printed = [each.communicate(timeout=240)[0] for each in again]
    assert [each.returncode for each in again] == [0, 0], printed
    assert "this job was started before" in printed[0]
    (run,) = (tmp_path / "cut" / "train" / "pairs").iterdir()
    assert trace(run) == trace(undisturbed)
