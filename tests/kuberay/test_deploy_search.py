"""``search``: a copy of the pattern that runs, its log, and its end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from apiserver import ApiServer, Object
from deploying import NAMED, Command, changed
from world import LINES, World, pod, thing

pytestmark = pytest.mark.full


@pytest.fixture
def up(world: World, deploy: Command, tmp_path: Path) -> World:
    """A stack that is up."""
    assert deploy("up", "--overlay", changed(tmp_path, NAMED)).code == 0
    return world


def made(api: ApiServer) -> list[Object]:
    return [one for one in api.all("RayJob") if one["metadata"]["name"] != "heart-search"]


def test_a_search_is_submitted_and_followed(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("search", "--", "--num-samples", "5", "--experiment", "two words")
    assert done.code == 0
    assert done.out.splitlines() == list(LINES)
    (job,) = made(api)
    assert re.fullmatch(r"heart-search-\d{8}-\d{6}", job["metadata"]["name"])
    assert job["spec"]["entrypoint"] == (
        "python -m tune.search --address auto --json --num-samples 5 --experiment 'two words'"
    )
    assert job["spec"]["suspend"] is False
    pattern = api.get("RayJob", "heart-search")
    assert pattern is not None
    assert pattern["spec"]["suspend"] is True


def test_a_search_may_be_left_alone(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("search", "--no-follow")
    assert (done.code, done.out) == (0, "")
    assert len(made(api)) == 1


def test_a_search_that_failed(api: ApiServer, up: World, deploy: Command) -> None:
    def fail(api: ApiServer, found: Object) -> None:
        name = found["metadata"]["name"]
        api.put(pod(f"{name}-pod", {"job-name": name}, phase="Failed"))
        api.write(f"{name}-pod", "error: the cohort is empty")
        api.status(
            "RayJob",
            name,
            jobDeploymentStatus="Failed",
            jobStatus="FAILED",
            reason="AppFailed",
            message="Job entrypoint command failed with exit code 2",
        )

    api.only("RayJob", fail)
    done = deploy("search")
    assert done.code == 1
    assert done.out == "error: the cohort is empty\n"
    assert "failed (AppFailed): Job entrypoint command failed with exit code 2" in done.err
    assert "failed (AppFailed)" in deploy("status").out


@pytest.mark.parametrize("kind", ["submitter", "cluster"])
def test_a_search_that_is_stuck(api: ApiServer, up: World, deploy: Command, kind: str) -> None:
    def stick(api: ApiServer, found: Object) -> None:
        name = found["metadata"]["name"]
        labels = {"job-name": name} if kind == "submitter" else {"ray.io/cluster": "x"}
        waiting = {"reason": "ErrImageNeverPull", "message": "not here"}
        api.put(pod(f"{name}-pod", labels, waiting=waiting))
        api.status("RayJob", name, jobDeploymentStatus="Initializing", rayClusterName="x")

    api.only("RayJob", stick)
    done = deploy("search")
    assert done.code == 1
    assert "has no image heart:0.1.0 (ErrImageNeverPull)" in done.err


def test_a_search_that_someone_deletes(api: ApiServer, up: World, deploy: Command) -> None:
    api.only("RayJob", lambda api, found: api.remove("RayJob", found["metadata"]["name"]))
    done = deploy("search")
    assert done.code == 1
    assert "the search was deleted by someone else" in done.err


def test_a_log_that_breaks_is_taken_up_where_it_broke(
    api: ApiServer, up: World, deploy: Command
) -> None:
    def broken(api: ApiServer, found: Object) -> None:
        name = found["metadata"]["name"]
        api.put(pod(f"{name}-pod", {"job-name": name}, phase="Running"))
        api.status("RayJob", name, jobDeploymentStatus="Running")
        # The stream ends after each: the pod is in none that are followed.
        for line in ("one", "two", "three"):
            api.write(f"{name}-pod", line)
            with api.changed:
                api.changed.wait(0.05)
        api.status("RayJob", name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    api.only("RayJob", broken)
    done = deploy("search")
    assert done.code == 0
    assert done.out.splitlines() == ["one", "two", "three"]


def test_dry_run_of_a_search(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("search", "--dry-run")
    assert done.code == 0
    assert "would be submitted" in done.err
    assert made(api) == []


def test_searches_of_the_schedule_are_listed(api: ApiServer, up: World, deploy: Command) -> None:
    status = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    api.put(thing("ray.io/v1", "RayJob", "heart-search-x7k2p", status=status))
    assert "RayJob heart-search-x7k2p: Complete, succeeded" in deploy("status").out


def test_an_interrupt_leaves_the_search_alone(
    api: ApiServer, up: World, deploy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kuberay.waiting._ray_job", interrupt)
    done = deploy("search")
    assert done.code == 130
    assert re.search(
        r"interrupted while waiting for RayJob heart-search-\S+, which goes on by itself", done.err
    )
    assert len(made(api)) == 1
