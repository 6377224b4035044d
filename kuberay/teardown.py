"""Everything down, in the order in which it can end, and what is left."""

from __future__ import annotations

from typing import Final

from kuberay import searching
from kuberay.cluster import Key, Object
from kuberay.manifests import FOUNDATION, NAMESPACE, REST, SEARCH, SERVICE, TRACKING
from kuberay.session import Session
from kuberay.waiting import gone

OURS: Final = "app.kubernetes.io/part-of=heart"
VOLUMES: Final = ("v1", "PersistentVolumeClaim")


def down(session: Session, *, delete_data: bool) -> None:
    """Delete what `up` made, wait until it is gone, and say what is left.

    Ray clusters end before Redis does: the operator clears what they kept there. Volumes and
    the namespace around them go only with ``delete_data``.
    """
    manifests = session.manifests
    namespace = Key("v1", "Namespace", manifests.namespace)
    if session.cluster.get(namespace) is None:
        session.say(f"there is no namespace {namespace.name}: nothing to take down")
        return
    jobs = searching.jobs(session.cluster, manifests)
    foundation = [one for one in manifests.stage(FOUNDATION) if one["kind"] != VOLUMES[1]]
    clusters = session.cluster.find("ray.io/v1", "RayCluster", manifests.namespace)
    for group in (
        manifests.stage(REST),
        [*manifests.stage(SEARCH), *manifests.stage(SERVICE), *jobs],
        clusters,
        manifests.stage(TRACKING),
        [*foundation, *session.cluster.find("v1", "Secret", manifests.namespace, labels=OURS)],
    ):
        _delete(session, [Key.of(one) for one in reversed(group)])
    volumes = session.cluster.find(*VOLUMES, manifests.namespace)
    if delete_data:
        _delete(session, [Key.of(one) for one in volumes])
        _delete(session, [Key.of(one) for one in manifests.stage(NAMESPACE)])
        if not session.dry:
            _tell_retained(session)
    else:
        _tell_left(session, namespace, volumes)


def _delete(session: Session, keys: list[Key]) -> None:
    """Ask for the end of each, then wait for it."""
    if session.dry:
        for key in keys:
            if session.cluster.get(key) is not None:
                session.write(f"{key} would be deleted")
        return
    going: list[tuple[Key, str]] = []
    for key in keys:
        session.doing = f"deleting {key}"
        found = session.cluster.get(key)
        if found is not None and session.cluster.delete(key):
            session.say(f"{key} deleted")
            going.append((key, found["metadata"]["uid"]))
    for key, uid in going:
        session.doing = f"waiting for the end of {key}"
        session.waiting().until(key, gone(uid), lambda _: None)


def _tell_left(session: Session, namespace: Key, volumes: list[Object]) -> None:
    for one in volumes:
        size = (one.get("status") or {}).get("capacity", {}).get("storage", "unknown size")
        session.write(f"left: {Key.of(one)} ({size})")
    session.write(
        f"left: {namespace}; --delete-data takes it and its volumes away, with their data"
    )


def _tell_retained(session: Session) -> None:
    """Volumes whose class keeps them after their claim is gone."""
    for one in session.cluster.find("v1", "PersistentVolume", None):
        claim = one["spec"].get("claimRef") or {}
        if claim.get("namespace") == session.manifests.namespace:
            kept = one["spec"].get("persistentVolumeReclaimPolicy") == "Retain"
            if kept:
                session.write(f"left: {Key.of(one)}, which its class retains: delete it by hand")
