"""What the stack is like: each part, the model in service, the searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heart.errors import ClusterError
from kuberay import searching
from kuberay.cluster import Key, Object
from kuberay.errors import UnhealthyError
from kuberay.promotion import WHY, before_of, model_before, named
from kuberay.serve_config import served
from kuberay.session import Session
from kuberay.waiting import Judge, Why, ray_job, ray_service, workload

SEARCHES: Final = 5
"""How many searches are listed, the newest."""


def status(session: Session) -> bool:
    """Write a line for each part; whether all are healthy."""
    healthy = True
    for one in session.manifests.objects:
        judge = _judge(session, one["kind"])
        if judge is not None:
            healthy &= _line(session, Key.of(one), *judge)
    found = session.cluster.get(Key.of(session.manifests.service))
    for line in _model(found) if found else ():
        session.write(line)
    for one in searching.jobs(session.cluster, session.manifests)[-SEARCHES:]:
        _search(session, one)
    return healthy


def _judge(session: Session, kind: str) -> tuple[Judge, Why] | None:
    if kind in ("Deployment", "StatefulSet"):
        return workload(session.cluster)
    return ray_service(session.cluster) if kind == "RayService" else None


def _line(session: Session, key: Key, judge: Judge, why: Why) -> bool:
    found = session.cluster.get(key)
    state = judge(found)
    session.write(f"{'ok  ' if state.done else 'NOT '} {key}: {state.text}")
    if found is not None and not state.done:
        try:
            reason = why(found)
        except ClusterError as error:
            session.write(f"     why is not known: {error.message}")
        else:
            session.write(f"     {reason.text}") if reason else None
    return state.done


def _model(service: Object) -> Iterator[str]:
    yield f"model: {named(served(service).model)}"
    annotations = service["metadata"].get("annotations") or {}
    if WHY in annotations:
        yield f"       why: {annotations[WHY]}"
    if before_of(service) is not None:
        yield f"       before: {named(model_before(service))}"


def _search(session: Session, found: Object) -> None:
    judge, _ = ray_job(session.cluster)
    try:
        session.write(f"{Key.of(found)}: {judge(found).text}")
    except UnhealthyError as error:
        session.write(error.message)
