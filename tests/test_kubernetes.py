"""The manifest of docs/kubernetes.yaml: its parts agree with each other, with Kubernetes and with the command."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from triptych.callbacks.signals import EXIT_CODES
from triptych.command import messages
from triptych.command.overrides import as_typed
from triptych.errors import TrainingFault, UserError
from triptych.parallel.launch import LAUNCH, LOST
from triptych.rundir.launches import launch_id
from triptych.schema import register
from triptych.schema.check import check, text_keys

FILE = Path(__file__).resolve().parents[1] / "docs" / "kubernetes.yaml"
OBJECTS = {each["kind"]: each for each in yaml.safe_load_all(FILE.read_text())}
JOB, POD = OBJECTS["Job"]["spec"], OBJECTS["Job"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PLAIN = {each["name"]: each["value"] for each in CONTAINER["env"] if "value" in each}
(SCRIPT,) = CONTAINER["args"]

# Stands for the command: says where it finds itself, and ends as it is told to, or as `triptych` does at SIGTERM.
TRIPTYCH = f"""#!{sys.executable}
import json, os, signal, sys, time
save = 0.6 if os.environ["LOCAL_RANK"] == "0" else 0.1
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(save), sys.exit(143)))
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
os.write(1, (json.dumps([sys.argv[1:], {{name: os.environ[name] for name in names}}]) + "\\n").encode())
code = int(os.environ["CODES"].split()[int(os.environ["LOCAL_RANK"])])
if code < 0:
    time.sleep(60)
sys.exit(code)
"""


def pod(folder: Path, index: int, codes: str) -> subprocess.Popen[str]:
    """The container of one pod; its processes end with `codes`, -1 for one that goes on."""
    (folder / "triptych").write_text(TRIPTYCH)
    (folder / "triptych").chmod(0o755)
    environment = {
        **os.environ, **PLAIN, "PATH": f"{folder}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index),
        "CODES": codes, "DEVICES": str(len(codes.split())),
    }  # fmt: skip
    return subprocess.Popen([*CONTAINER["command"], SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)


def test_kinds_and_versions() -> None:
    versions = {kind: each["apiVersion"] for kind, each in OBJECTS.items()}
    assert versions == {"PersistentVolumeClaim": "v1", "Service": "v1", "Job": "batch/v1"}


def test_every_reference_resolves() -> None:
    service, claim = OBJECTS["Service"], OBJECTS["PersistentVolumeClaim"]["metadata"]["name"]
    name = OBJECTS["Job"]["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert service["spec"]["clusterIP"] == "None"  # of a headless service, by which pods have names
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert POD["subdomain"] == service["metadata"]["name"]
    # The name of the first pod of an indexed Job.
    assert PLAIN["MASTER_ADDR"] == f"{name}-0.{POD['subdomain']}"
    assert int(PLAIN["MASTER_PORT"]) in [port["port"] for port in service["spec"]["ports"]]
    volumes = {each["name"]: each for each in POD["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim
    assert OBJECTS["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert mounts["shared-memory"] == "/dev/shm"
    assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"


def test_pods_and_devices_are_as_many_everywhere() -> None:
    assert JOB["completionMode"] == "Indexed"
    assert JOB["completions"] == JOB["parallelism"] == int(PLAIN["PODS"])  # they train together or not at all
    assert CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == int(PLAIN["DEVICES"])
    assert all(isinstance(value, str) for value in PLAIN.values())  # Kubernetes refuses numbers there


def test_exit_codes_are_those_of_the_command() -> None:
    """The first rule that fits counts."""
    actions: dict[int, str] = {}
    conditions: list[str] = []
    for rule in JOB["podFailurePolicy"]["rules"]:
        assert len(set(rule) & {"onExitCodes", "onPodConditions"}) == 1
        for code in rule.get("onExitCodes", {}).get("values", []):
            assert actions.setdefault(code, rule["action"]) == rule["action"]
        conditions += [each["type"] for each in rule.get("onPodConditions", []) if each["status"] == "True"]
    assert actions == {
        UserError.exit_code: "FailJob", TrainingFault.exit_code: "FailJob", LOST: "Ignore",
        EXIT_CODES["SIGTERM"]: "Ignore", 128 + signal.SIGKILL: "Count",
    }  # fmt: skip
    assert conditions == ["DisruptionTarget"]
    assert POD["restartPolicy"] == "Never"  # else Kubernetes refuses the policy
    assert POD["terminationGracePeriodSeconds"] > 60


def test_pods_that_are_started_again_find_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    (given,) = [each for each in CONTAINER["env"] if "valueFrom" in each]
    assert given["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/controller-uid']"
    assert given["name"] == LAUNCH
    monkeypatch.setenv(given["name"], "1f0c")
    assert "1f0c" in (launch_id({}) or "")


def test_the_command_composes_and_writes_where_all_pods_see_it() -> None:
    (line,) = re.findall(r"triptych (\w+ .*?) &$", SCRIPT.replace("\\\n", ""), re.MULTILINE)
    task, *words = shlex.split(line)
    register()
    config = messages.compose_plain(task, as_typed(words, text_keys(), task))
    check(config)
    (mount,) = [each["mountPath"] for each in CONTAINER["volumeMounts"] if each["name"] == "work"]
    assert Path(config.output).is_relative_to(mount)
    assert config.trainer.devices == 1  # the processes are started already
    assert "$(" not in SCRIPT  # which Kubernetes would read as a reference


def test_a_pod_starts_a_process_for_each_device_and_ends_as_they_do(tmp_path: Path) -> None:
    ended = pod(tmp_path, 1, "0 143 75")
    printed, _ = ended.communicate(timeout=30)
    assert ended.returncode == 143
    told: list[Any] = [yaml.safe_load(line) for line in printed.splitlines()]
    places = sorted((each["RANK"], each["LOCAL_RANK"]) for _, each in told)
    assert places == [("3", "0"), ("4", "1"), ("5", "2")]
    assert all(words[0] == "train" for words, _ in told)
    shared = {name: {each[name] for _, each in told} for name in told[0][1] if name not in ("RANK", "LOCAL_RANK")}
    assert shared == {
        "WORLD_SIZE": {"6"}, "LOCAL_WORLD_SIZE": {"3"}, "MASTER_ADDR": {PLAIN["MASTER_ADDR"]},
        "MASTER_PORT": {PLAIN["MASTER_PORT"]},
    }  # fmt: skip
    ended = pod(tmp_path, 0, "0 0")
    ended.communicate(timeout=30)
    assert ended.returncode == 0


def test_a_pod_that_is_told_to_go_waits_for_the_save_of_each_process(tmp_path: Path) -> None:
    going = pod(tmp_path, 0, "-1 -1")
    assert going.stdout is not None
    for _ in range(2):
        going.stdout.readline()
    before = time.monotonic()
    going.terminate()
    code, took = going.wait(timeout=30), time.monotonic() - before
    going.communicate()
    assert code == 143
    assert took > 0.6
