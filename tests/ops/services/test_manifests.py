"""Manifests of Kubernetes, the container file and the compose file."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.connectors.kafka import numbers
from configs.load import load
from configs.schema import Config
from ops.services import rollout
from tests.support import skips

ROOT = Path(__file__).parents[3]
SERVICES = ROOT / "ops" / "services"
KUBERNETES = SERVICES / "kubernetes"
FETCHED = ROOT / ".manifests"
FOLDERS = ("base", "overlays/cluster", "overlays/shards", "overlays/argo")
ARGO = ("Rollout", "AnalysisTemplate")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
needs_manifests = pytest.mark.skipif(
    not (FETCHED / "bin" / "kubectl").exists(),
    reason=skips.reason(["kubectl", "kubernetes-validate"], "manifests"),
)
Object = dict[str, Any]


def built(folder: Path) -> list[Object]:
    """Return the objects of a folder of kustomize."""
    done = subprocess.run(
        [FETCHED / "bin" / "kubectl", "kustomize", folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[Object], kind: str) -> Object:
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def validated(objects: list[Object], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return subprocess.run(
        [FETCHED / "bin" / "kubernetes-validate", "--strict", path], capture_output=True, text=True
    )


def argo_validated(objects: list[Object]) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parent / "argo" / "validate.mjs"
    return subprocess.run(
        ["node", script, FETCHED], input=json.dumps(objects), capture_output=True, text=True
    )


# -- Kubernetes ----------------------------------------------------------------------------------


@needs_manifests
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_objects_fit_the_schemas_of_kubernetes(folder: str, tmp_path: Path) -> None:
    objects = [each for each in built(KUBERNETES / folder) if each["kind"] not in ARGO]
    done = validated(objects, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed") == len(objects) >= 6


@needs_manifests
def test_a_fault_is_found(tmp_path: Path) -> None:
    objects = built(KUBERNETES / "base")
    of_kind(objects, "StatefulSet")["spec"]["replicas"] = "two"
    assert validated(objects, tmp_path).returncode != 0
    objects = built(KUBERNETES / "base")
    of_kind(objects, "StatefulSet")["spec"]["replica"] = 2
    assert validated(objects, tmp_path).returncode != 0


@needs_manifests
@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
def test_the_objects_of_argo_fit_its_schemas() -> None:
    objects = [each for each in built(KUBERNETES / "overlays/argo") if each["kind"] in ARGO]
    assert {each["kind"] for each in objects} == set(ARGO)
    done = argo_validated(objects)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    of_kind(objects, "AnalysisTemplate")["spec"]["metrics"][0]["count"] = [5]
    done = argo_validated(objects)
    assert (done.returncode, done.stdout.count("AnalysisTemplate lumen-gates")) == (1, 1)


@needs_manifests
@pytest.mark.parametrize("folder", FOLDERS)
def test_names_and_versions_fit_together(folder: str) -> None:
    objects = built(KUBERNETES / folder)
    configurations = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    pods = [
        each["spec"]["template"] for each in objects if each["kind"] in ("StatefulSet", "Rollout")
    ]
    assert pods
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["image"] == f"lumen-fusion:{VERSION}"
        named = {v["configMap"]["name"] for v in pod["spec"]["volumes"] if "configMap" in v}
        assert named == configurations
        volumes = {v["name"] for v in pod["spec"]["volumes"]} | {"data"}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    selected = of_kind(objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for kind, where in (("Service", "selector"), ("NetworkPolicy", "podSelector"),
                        ("PodDisruptionBudget", "selector")):  # fmt: skip
        selector = of_kind(objects, kind)["spec"][where]
        assert (selector.get("matchLabels") or selector).items() <= selected.items()


@needs_manifests
@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_have_no_privilege_and_write_to_their_volume_alone(folder: str) -> None:
    for each in built(KUBERNETES / folder):
        if each["kind"] not in ("StatefulSet", "Rollout"):
            continue
        pod = each["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        limits = container["securityContext"]
        assert limits["readOnlyRootFilesystem"] and not limits["allowPrivilegeEscalation"]
        assert limits["capabilities"] == {"drop": ["ALL"]}
        written = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
        assert written == ["/data"]


@needs_manifests
def test_the_network_is_open_to_prometheus_users_and_senders_alone() -> None:
    policy = of_kind(built(KUBERNETES / "base"), "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [9310, 9000]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53}


@needs_manifests
def test_the_cluster_has_as_many_addresses_as_pods_and_parts_for_more() -> None:
    objects = built(KUBERNETES / "overlays/cluster")
    stated = of_kind(objects, "StatefulSet")["spec"]
    arguments = stated["template"]["spec"]["containers"][0]["args"]
    addresses = arguments[arguments.index("-a") + 1].split(";")
    parts = yaml.safe_load(of_kind(objects, "ConfigMap")["data"]["main.yaml"])["output"]["parts"]
    assert len(addresses) == stated["replicas"] <= parts
    assert arguments[arguments.index("-r") + 1] == "state"
    assert arguments[arguments.index("-i") + 1] == "$(SHARD)"
    (name,) = {address.partition(".")[2].partition(".")[0] for address in addresses}
    service = of_kind(objects, "Service")
    assert name == service["metadata"]["name"]
    assert service["spec"]["publishNotReadyAddresses"]  # pods meet before they are ready


@needs_manifests
def test_each_pod_of_the_cluster_is_probed_at_its_own_port_and_has_time_to_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARD", "1")
    objects = built(KUBERNETES / "overlays/cluster")
    (container,) = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    config = yaml.safe_load(of_kind(objects, "ConfigMap")["data"]["main.yaml"])
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] > config["cluster"]["wait_s"]
    for probe, path in (("startup", "healthz"), ("liveness", "healthz"), ("readiness", "readyz")):
        stated = container[f"{probe}Probe"]
        assert "httpGet" not in stated
        *_, code = stated["exec"]["command"]
        asked: list[str] = []
        text = code.replace("u.urlopen", "asked.append").replace(", timeout=3", "")
        exec(text, {"asked": asked})
        assert asked == [f"http://127.0.0.1:9320/{path}"]


@needs_manifests
def test_each_shard_reads_the_partition_of_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = of_kind(built(KUBERNETES / "overlays/shards"), "StatefulSet")["spec"]
    for number in range(stated["replicas"]):
        monkeypatch.setenv("SHARD", str(number))
        config = load(KUBERNETES / "overlays/shards/main.yaml").config
        assert config.topic is not None
        assert numbers(config.topic.partitions, stated["replicas"]) == [number]
        check_pages(config)


def test_the_configurations_of_the_manifests_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARD", "3")
    config = load(KUBERNETES / "base" / "main.yaml").config
    assert config.rig == "stage-3"
    check_pages(config)
    config = load(KUBERNETES / "overlays/cluster/main.yaml").config
    assert config.topic is not None and config.output.parts >= 2
    check_pages(config)


def check_pages(config: Config) -> None:
    """The pages are served to every pod under the names of the service."""
    assert config.exporter is not None
    assert config.exporter.host == "0.0.0.0"
    assert "lumen.lumen.svc.cluster.local" in config.exporter.allow_hosts
    assert config.output.dir == "out"


def test_the_gates_of_the_analysis_are_those_of_the_documents() -> None:
    template = yaml.safe_load((KUBERNETES / "overlays/argo/analysis.yaml").read_text())
    bounds = {}
    for metric in template["spec"]["metrics"]:
        passes = re.search(r"\{# (\S+) ([\d.]+)\}", metric["successCondition"])
        fails = re.search(r"\{# (\S+) ([\d.]+)\}", metric["failureCondition"])
        assert passes is not None and fails is not None and passes[2] == fails[2]
        assert {passes[1], fails[1]} in ({"<=", ">"}, {">=", "<"})
        bounds[metric["name"]] = (passes[1], float(passes[2]))
    assert bounds == {
        "canary-failure-ratio": ("<=", 0.08),
        "canary-unique-ratio": (">=", 0.92),
        "lyapunov-v": ("<=", 0.3),
    }


def test_nothing_is_promoted_by_itself() -> None:
    stated = yaml.safe_load((KUBERNETES / "overlays/argo/rollout.yaml").read_text())
    assert stated["spec"]["strategy"]["canary"]["steps"][-1] == {"pause": {}}


# -- rollout -------------------------------------------------------------------------------------


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, ready: int = 0, code: int = 0) -> Path:
    """Put a kubectl on the path that notes its arguments."""
    log = folder / "log"
    path = folder / "kubectl"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = get ] && {{ echo "connection refused" >&2; exit {ready}; }}\n'
        f'printf "%s\\n" "$*" >>{log}\nexit {code}\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin:/bin")
    return log


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("preview", f"diff -k {rollout.OVERLAY}"),
        ("canary", f"apply -k {rollout.OVERLAY}"),
        ("promote", "-n lumen --type merge --subresource status -p"
         ' {"status": {"pauseConditions": null}}'),
        ("abort", '-p {"status": {"abort": true}}'),
    ],
)  # fmt: skip
def test_each_step_is_one_call_of_kubectl(
    step: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = kubectl(tmp_path, monkeypatch)
    assert rollout.main([step]) == 0
    (line,) = log.read_text().splitlines()
    assert line.endswith(expected)


@pytest.mark.parametrize("step", rollout.STEPS)
def test_without_a_cluster_there_is_one_line(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl(tmp_path, monkeypatch, ready=1)
    assert rollout.main([step]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "lumen: no cluster answers: connection refused (see kubectl config get-contexts)"
    ]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert rollout.main([step]) == 1
    assert capsys.readouterr().err == "lumen: no kubectl here: there is no cluster to roll out to\n"


def test_a_difference_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, monkeypatch, code=1)
    assert (rollout.main(["preview"]), rollout.main(["canary"])) == (0, 1)


@needs_manifests
def test_the_real_kubectl_takes_the_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("preview", "canary"):
        _, flag, folder = rollout.arguments(step, rollout.OVERLAY)
        assert flag == "-k" and built(Path(folder))


# -- container -----------------------------------------------------------------------------------


def compose() -> Object:
    made = yaml.safe_load((SERVICES / "container" / "compose.yaml").read_text())
    assert isinstance(made, dict)
    return made


def test_what_the_compose_file_mounts_is_there() -> None:
    folder = SERVICES / "container"
    mounts = [mount for each in compose()["services"].values() for mount in each["volumes"]]
    shipped = [mount.split(":")[0] for mount in mounts if mount.startswith("../")]
    assert len(shipped) == 5
    assert all((folder / path).resolve().exists() for path in shipped)
    named = {mount.split(":")[0] for mount in mounts if mount[0] not in "./"}
    assert named == set(compose()["volumes"])


def test_containers_have_no_privilege_and_one_network() -> None:
    services = compose()["services"]
    assert set(services) == {"lumen", "prometheus", "alertmanager", "grafana"}
    for name, each in services.items():
        assert each["read_only"] and each["cap_drop"] == ["ALL"]
        assert "privileged" not in each
        assert each.get("network_mode") == (None if name == "lumen" else "service:lumen")
    published = [port for port in services["lumen"]["ports"] if "/udp" not in port]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_runs_as_nobody_and_is_watched() -> None:
    steps = (SERVICES / "container" / "Containerfile").read_text()
    assert "\nUSER 10001:10001\n" in steps
    assert '\nENTRYPOINT ["lumen"]\n' in steps
    assert 'CMD ["lumen", "watch", "--once"]' in steps
    assert "\nVOLUME /data\n" in steps
    stated = compose()["services"]["lumen"]
    assert (SERVICES / "container" / stated["build"]["context"]).resolve() == ROOT / "dist"
    assert stated["user"] == "10001:10001"
    assert sys.version_info >= (3, 11)
