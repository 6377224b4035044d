"""What cannot be done: one line that says what is wrong and what to do, exit code 2."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from apiserver import ApiServer
from deploying import NAMED, Command, changed, secrets_folder, without
from world import World

from kuberay import manifests


def one_line(err: str) -> str:
    """The error, which is one line and no traceback."""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_no_kubeconfig(deploy: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    done = deploy("status")
    assert done.code == 2
    assert one_line(done.err).startswith(f"no kubeconfig at {tmp_path / 'absent'}: start a cluster")


@pytest.mark.parametrize("content", ["", "a: [", "clusters: 3", "contexts: [3]"])
def test_a_kubeconfig_that_is_none(
    deploy: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    done = deploy("status")
    assert done.code == 2
    assert f"the kubeconfig {path} cannot be used" in one_line(done.err)


def test_a_context_that_is_not_there(deploy: Command) -> None:
    done = deploy("up", context="production")
    assert done.code == 2
    assert one_line(done.err).endswith("has no context production; it has elsewhere, minikube")


def test_no_cluster_behind_the_context(deploy: Command) -> None:
    done = deploy("up", context="elsewhere")
    assert done.code == 2
    told = one_line(done.err)
    assert "the API server of context elsewhere does not answer" in told
    assert "Connection refused" in told
    assert "kubectl --context elsewhere cluster-info" in told


def test_a_server_that_says_nothing(api: ApiServer, deploy: Command) -> None:
    api.answer("GET", "/apis$", None)
    done = deploy("status")
    assert done.code == 2
    assert "does not answer (" in one_line(done.err)


def test_a_user_whom_the_cluster_does_not_know(
    api: ApiServer, deploy: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "other"
    path.write_text(api.kubeconfig().replace("a-token", "an-old-token"))
    monkeypatch.setenv("KUBECONFIG", str(path))
    done = deploy("up")
    assert done.code == 2
    assert "sign in again" in one_line(done.err)
    assert "an-old-token" not in done.err


def test_a_context_must_be_named(api: ApiServer, deploy: Command) -> None:
    done = deploy("up", context=None)
    assert done.code == 2
    assert one_line(done.err) == (
        f"name the context: --context elsewhere or minikube (the current one is minikube, server "
        f"{api.url})"
    )
    assert api.requests == []


def test_a_kubeconfig_without_a_current_context(
    api: ApiServer,
    world: World,
    deploy: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "other"
    path.write_text(api.kubeconfig().replace("current-context: minikube\n", ""))
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert one_line(deploy("up", context=None).err).endswith("(the current one is not set)")
    assert deploy("status").code == 1


@pytest.mark.parametrize(("answer", "code"), [("y\n", 1), ("\n", 2), ("n\n", 2)])
def test_or_be_confirmed(
    world: World, deploy: Command, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = deploy("status", context=None)
    assert done.code == code
    assert done.out.startswith(f"context minikube, server {world.api.url}: this one? [y/N] ")


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("ray.io/v1",), "RayJob, RayService of ray.io is missing, it comes with the KubeRay"),
        (("monitoring.coreos.com/v1",), "PodMonitor of monitoring.coreos.com is missing"),
    ],
)
def test_an_operator_that_is_missing(
    api: ApiServer, world: World, deploy: Command, kinds: tuple[str, ...], told: str
) -> None:
    for version in kinds:
        del api.kinds[version]
    done = deploy("up")
    assert done.code == 2
    assert one_line(done.err).startswith("nothing was applied: ")
    assert told in done.err
    assert api.written() == []


CRON = """\
---
apiVersion: ray.io/v1
kind: RayCronJob
metadata: {name: heart-weekly, namespace: heart}
spec: {schedule: "0 3 * * 0"}
"""
INCREMENTAL = (
    "spec:\n  serveConfigV2",
    "spec:\n  upgradeStrategy: {type: NewClusterWithIncrementalUpgrade}\n  serveConfigV2",
)


@pytest.mark.parametrize(
    ("change", "gates", "told"),
    [
        (("---\napiVersion: batch/v1", f"{CRON}---\napiVersion: batch/v1"), "", "RayCronJob"),
        (INCREMENTAL, "RayServiceIncrementalUpgrade=false", "RayServiceIncrementalUpgrade"),
    ],
)
def test_a_feature_gate_that_is_off(
    api: ApiServer,
    world: World,
    deploy: Command,
    tmp_path: Path,
    change: tuple[str, str],
    gates: str,
    told: str,
) -> None:
    overlay = changed(tmp_path, NAMED, change)
    world.operator(gates=gates)
    done = deploy("up", "--overlay", overlay)
    assert done.code == 2
    assert f"needs the operator's feature gate {told}, which is off" in one_line(done.err)
    assert api.written() == []
    world.operator(gates=f"A=true,{told}=true")
    assert deploy("up", "--overlay", overlay).code == 0


def test_a_secret_that_is_missing(
    api: ApiServer,
    world: World,
    deploy: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifests, "SECRETS", secrets_folder(tmp_path, made=False))
    done = deploy("up", "--overlay", without(tmp_path, "Secret"))
    assert done.code == 2
    assert "RayService heart needs the secret ray-token" in one_line(done.err)
    assert "scripts/secrets.sh" in done.err
    assert api.written() == []


def test_a_secret_that_is_not_ours_to_make(world: World, deploy: Command, tmp_path: Path) -> None:
    overlay = changed(tmp_path, ("secretName: ray-token", "secretName: theirs"))
    done = deploy("up", "--overlay", overlay)
    assert done.code == 2
    assert "`kubectl -n heart create secret generic theirs" in one_line(done.err)


FORBIDDEN = 'deployments.apps is forbidden: User "me" cannot patch resource "deployments"'


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (403, FORBIDDEN, "ask whoever runs the cluster for that right"),
        (403, "deployments is forbidden: exceeded quota: few", "the namespace's quota"),
        (422, "Deployment is invalid: spec.replicas", "is not what this version of the cluster"),
        (400, "strict decoding error: unknown field", "do not fit each other"),
        (429, "too many requests", "the API server is busy"),
        (500, "failed calling webhook", "failed calling webhook"),
    ],
)
def test_what_the_cluster_refuses_half_way(
    api: ApiServer, world: World, deploy: Command, code: int, message: str, told: str
) -> None:
    api.answer("PATCH", "/deployments/mlflow", code, message)
    done = deploy("up")
    assert done.code == 2
    error = one_line(done.err)
    assert error.startswith("apply Deployment mlflow: ")
    assert message in error
    assert told in error
    assert "namespace, policies and secrets applied, not yet tracking" in done.err
    assert api.get("Deployment", "mlflow") is None


def test_a_server_that_falls_silent_half_way(api: ApiServer, world: World, deploy: Command) -> None:
    api.answer("PATCH", "/deployments/mlflow", None)
    done = deploy("up")
    assert done.code == 2
    assert "apply Deployment mlflow: the API server" in one_line(done.err)
    assert "`up` goes on from there" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "--timeout", "0"), "--timeout must be above 0 seconds, got 0"),
        (("status", "--overlay", "staging"), "--overlay must be minikube, production"),
        (("promote", "2"), "there is no RayService heart in namespace heart: `up` first"),
        (("rollback",), "there is no RayService heart in namespace heart: `up` first"),
        (("dashboard",), "there is no RayService heart in namespace heart: `up` first"),
    ],
)
def test_wrong_use(world: World, deploy: Command, arguments: tuple[str, ...], told: str) -> None:
    done = deploy(*arguments)
    assert done.code == 2
    assert one_line(done.err).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "is no YAML"),
        ("- 3\n", "holds something that is no object"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: x}}", "must have one RayService, it has 0"),
    ],
)
def test_an_overlay_that_is_none(
    world: World, deploy: Command, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    done = deploy("up", "--overlay", str(path))
    assert done.code == 2
    assert told in one_line(done.err)


def test_a_folder_that_does_not_render(world: World, deploy: Command, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]")
    done = deploy("up", "--overlay", str(tmp_path))
    assert done.code == 2
    assert f"{tmp_path} does not render: " in one_line(done.err)


def test_no_kubectl_to_render_with(
    world: World, deploy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = deploy("up", "--overlay", str(tmp_path))
    assert done.code == 2
    assert "kubectl is needed to render an overlay and is not here" in one_line(done.err)


def test_no_tracking_server_to_ask(
    api: ApiServer, world: World, deploy: Command, tmp_path: Path
) -> None:
    done = deploy("up", "--overlay", without(tmp_path, "Deployment"))
    assert done.code == 2
    assert one_line(done.err).startswith("no pod behind Service mlflow is ready")


def test_a_port_that_is_taken(
    api: ApiServer, world: World, deploy: Command, tmp_path: Path
) -> None:
    assert deploy("up", "--overlay", changed(tmp_path, NAMED)).code == 0
    port = api.url.rpartition(":")[2]
    done = deploy("dashboard", "--port", port)
    assert done.code == 2
    assert one_line(done.err) == f"port {port} of 127.0.0.1 cannot be had: Address already in use"


def test_port_forwards_that_are_forbidden(
    api: ApiServer, world: World, deploy: Command, tmp_path: Path
) -> None:
    assert deploy("up", "--overlay", changed(tmp_path, NAMED)).code == 0
    api.answer("GET", "/portforward$", 403, 'pods "x" is forbidden: no portforward')
    done = deploy("dashboard", "--port", "0")
    assert done.code == 2
    assert "forward port 8265 of Pod heart-abcde-head: " in one_line(done.err)
    assert "403" in done.err


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_says_where_it_stopped_and_up_goes_on(
    api: ApiServer,
    world: World,
    deploy: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overlay = changed(tmp_path, NAMED)
    with monkeypatch.context() as patched:
        patched.setattr("kuberay.waiting._workload", interrupt)
        done = deploy("up", "--overlay", overlay)
    assert done.code == 130
    assert done.err.splitlines()[-2:] == [
        "interrupted while waiting for StatefulSet redis",
        "namespace, policies and secrets, tracking applied, not yet search, service, the rest; "
        "`up` goes on from there, `down` takes it away",
    ]
    again = deploy("up", "--overlay", overlay)
    assert again.code == 0
    assert "StatefulSet redis made" not in again.err
    assert "RayService heart made" in again.err
