"""The service as it runs on a Ray cluster: its config, and its replicas asked one by one."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from requests.exceptions import RequestException

from heart.errors import RolloutError, UsageError
from serve_app.config import APPLICATION, DEPLOYMENT
from serve_app.reconfiguration import State
from serve_app.user_config import UserConfig, read_user_config

ANSWER_S: Final = 10.0
"""How long all replicas together may take to tell their state."""
FROM_CONFIG: Final = "declarative"
KEPT: Final = ("proxy_location", "http_options", "grpc_options", "target_capacity")
"""What a config holds beside the applications."""
HOW_TO_START: Final = (
    "start it by `python -m serve_app`, from a config, so that its model can be changed in place"
)


class Service:
    """One application of Ray Serve, on the cluster that this process has joined.

    ``dashboard`` is the address of Ray's dashboard, whose REST interface takes configs.
    """

    def __init__(self, dashboard: str, *, application: str = APPLICATION) -> None:
        self.application = application
        self._handle: DeploymentHandle | None = None
        with asked():
            self._client = ServeSubmissionClient(dashboard)

    def user_config(self) -> UserConfig:
        """What the replicas are told now; raises `UsageError` for what no config started."""
        return read_user_config(self._deployment(self._details()).get("user_config") or {})

    def change(self, user_config: UserConfig) -> None:
        """Tell the replicas something else; all else of the config stays as it is."""
        details = self._details()
        # What is changed is a part of `details`, which is then the new config.
        self._deployment(details)["user_config"] = user_config.model_dump(mode="json")
        config = {name: details[name] for name in KEPT if details.get(name) is not None}
        config["applications"] = [
            application["deployed_app_config"]
            for application in details["applications"].values()
            if application["source"] == FROM_CONFIG
        ]
        with asked():
            self._client.deploy_applications(config)

    def replicas(self) -> int:
        """How many there are, or soon will be; those that end are left out."""
        application = self._details()["applications"].get(self.application, {})
        found = application.get("deployments", {}).get(DEPLOYMENT, {}).get("replicas", [])
        return sum(replica["state"] != "STOPPING" for replica in found)

    def states(self, patients: Sequence[Sequence[float]] = ()) -> list[State]:
        """What each running replica tells, asked directly; ``patients`` are judged by each.

        Raises `RolloutError` where one does not answer, or fails to judge.
        """
        try:
            answers = self._router().broadcast("state", list(patients))
            return list(answers.results(timeout_s=ANSWER_S))
        except (RayError, RayServeException, TimeoutError) as error:
            cause = getattr(error, "cause", None) or error
            raise RolloutError(f"a replica does not answer: {type(cause).__name__}") from error

    def _router(self) -> DeploymentHandle:
        if self._handle is None:
            self._handle = serve.get_deployment_handle(DEPLOYMENT, self.application)
            # With Serve's throughput settings handles take the caller's event loop: there is none.
            self._handle._init(_run_router_in_separate_loop=True)
        return self._handle

    def _details(self) -> dict[str, Any]:
        with asked():
            details: dict[str, Any] = self._client.get_serve_details()
            return details

    def _deployment(self, details: dict[str, Any]) -> dict[str, Any]:
        """The deployment's part of the config, made where the config does not name it."""
        running = details["applications"]
        if self.application not in running:
            others = f", only {', '.join(running)}" if running else ""
            raise UsageError(f"no application {self.application} runs{others}: {HOW_TO_START}")
        if running[self.application]["source"] != FROM_CONFIG:
            raise UsageError(
                f"the application {self.application} was not started from a config, and to change "
                f"it would restart its replicas: {HOW_TO_START}"
            )
        deployments = running[self.application]["deployed_app_config"].setdefault("deployments", [])
        for deployment in deployments:
            if deployment["name"] == DEPLOYMENT:
                found: dict[str, Any] = deployment
                return found
        deployments.append({"name": DEPLOYMENT})
        return self._deployment(details)


@contextmanager
def asked() -> Iterator[None]:
    """Turn what the REST interface can answer into one `RolloutError`."""
    try:
        yield
    except (RequestException, RayError, RuntimeError, ConnectionError) as error:
        first = str(error).strip().splitlines()[0]
        raise RolloutError(f"Ray's dashboard does not do what was asked: {first}") from error


@contextmanager
def joined(address: str) -> Iterator[Service]:
    """Join the Ray cluster at an address for as long; raises `UsageError` where there is none."""
    check_answers(address)
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"--address {address}: no Ray cluster answers there: {first}", field="address"
        ) from error
    try:
        yield Service(f"http://{context.dashboard_url}")
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Raise `UsageError` where nothing listens: Ray would try for half a minute."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise UsageError(
            f"no Ray answers at {address}: {error.strerror or error}; {HOW_TO_START}",
            field="address",
        ) from error


def has_token() -> bool:
    """Whether Ray would find a token here, in a variable or a file."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()
