"""The whole stack up, in order: tracking, a model, the service; what is there already stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heart.sources import Reference
from kuberay import promotion, searching
from kuberay.cluster import Key, Object
from kuberay.errors import UnhealthyError
from kuberay.manifests import FOUNDATION, NAMESPACE, REST, SEARCH, SERVICE, TRACKING
from kuberay.preflight import check
from kuberay.serve_config import served, with_model
from kuberay.session import Session
from kuberay.tracking import require
from kuberay.waiting import ray_service, workload

WORKLOADS: Final = ("Deployment", "StatefulSet")


def up(
    session: Session, *, bundle: Path | None, search: Sequence[str], take_over: bool = False
) -> None:
    """Apply everything and wait until the service answers.

    ``bundle`` is a folder to import rather than to search; ``search`` are options of the search.
    """
    session.doing = "looking at what the cluster has"
    session.manifests, notes = check(session.cluster, session.manifests)
    for note in notes:
        session.say(note)
    for stage in (NAMESPACE, FOUNDATION, TRACKING, SEARCH):
        _stage(session, stage, take_over=take_over)
    service = session.manifests.service
    model = _model(session, service, bundle=bundle, search=search)
    _serve(session, service, model, take_over=take_over)
    _stage(session, REST, take_over=take_over)


def submit(session: Session, options: Sequence[str], *, follow: bool) -> None:
    """Begin a search, and follow it to its end."""
    made = searching.job(session.manifests, options)
    key = Key.of(made)
    session.doing = f"submitting {key}"
    session.cluster.create(made, dry=session.dry)
    session.say(f"{key} {'would be ' if session.dry else ''}submitted")
    if session.dry or not follow:
        return
    _follow(session, key)


def _stage(session: Session, stage: str, *, take_over: bool) -> None:
    """Apply a stage, then wait for what of it has pods."""
    objects = session.manifests.stage(stage)
    for one in objects:
        _apply(session, one, take_over=take_over)
    session.applied.append(stage)
    for one in objects:
        if one["kind"] in WORKLOADS:
            key = Key.of(one)
            session.doing = f"waiting for {key}"
            session.waiting().until(key, *workload(session.cluster))


def _apply(session: Session, wanted: Object, *, take_over: bool) -> None:
    key = Key.of(wanted)
    session.doing = f"applying {key}"
    before = session.cluster.get(key)
    after = session.cluster.apply(wanted, force=take_over)
    if before is None:
        session.say(f"{key} made")
    elif before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]:
        session.say(f"{key} changed")


def _serve(session: Session, service: Object, model: Reference | None, *, take_over: bool) -> None:
    """Apply the RayService with a model, and wait until it serves."""
    key, config = Key.of(service), with_model(service, model)
    service["spec"]["serveConfigV2"] = config
    found = session.cluster.get(key)
    if found is not None and found["spec"]["serveConfigV2"] != config:
        # serveConfigV2 may belong to a promotion: it is changed as one, the rest as applied.
        promotion.put(session.cluster, found, config)
    _apply(session, service, take_over=take_over)
    session.applied.append(SERVICE)
    session.doing = f"waiting for {key}"
    session.waiting().until(key, *ray_service(session.cluster))


def _model(
    session: Session, service: Object, *, bundle: Path | None, search: Sequence[str]
) -> Reference | None:
    """The model to serve: imported, in service, named by the overlay, champion, or searched."""
    session.doing = "looking for the model to serve"
    if bundle is not None:
        return _imported(session, bundle)
    found = session.cluster.get(Key.of(service))
    kept = served(found).model if found else None
    named = kept or served(service).model
    if named is not None:
        session.say(f"{promotion.named(named)} {'stays' if kept else 'is named by the overlay'}")
        return named
    champion = _champion(session)
    if champion is None:
        _search(session, search)
        champion = _champion(session)
    if champion is None:
        raise UnhealthyError(
            "the search has made no champion: its report in MLflow tells which gates its winner "
            "did not pass; `promote VERSION --force` serves it all the same"
        )
    session.say(f"{promotion.named(champion)} is champion")
    return champion


def _champion(session: Session) -> Reference | None:
    with session.tracking() as known:
        found = known.champion()
        return None if found is None else found.reference


def _imported(session: Session, folder: Path) -> Reference:
    session.doing = f"importing {folder}"
    with session.tracking() as known:
        version = known.take(folder)
        candidate = known.candidate(version)
        require(candidate, force=False)
        if known.registry.aliases().champion != version:
            known.registry.promote(version, reason=f"imported from {folder.name}")
    session.say(f"{folder} is version {version}, champion")
    return candidate.reference


def _search(session: Session, options: Sequence[str]) -> None:
    """Search, or wait for the search that someone who was interrupted has begun."""
    begun = searching.unfinished(session.cluster, session.manifests)
    if begun is None:
        submit(session, options, follow=True)
        return
    session.say(f"{begun} is under way")
    _follow(session, begun)


def _follow(session: Session, key: Key) -> None:
    session.doing = f"waiting for {key}, which goes on by itself"
    searching.follow(
        session.cluster,
        key,
        seconds=session.seconds,
        pace=session.pace,
        say=session.say,
        write=session.write,
    )
