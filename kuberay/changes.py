"""What would change: a server-side dry run, and the difference it makes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

import yaml

from kuberay.cluster import Key, Object
from kuberay.manifests import STAGES
from kuberay.preflight import check
from kuberay.serve_config import served, with_model
from kuberay.session import Session

KEPT_BY_SERVER: Final = ("managedFields", "resourceVersion", "generation", "uid")
HIDDEN: Final = "(hidden)"


def preview(session: Session, *, take_over: bool) -> None:
    """Write what `up` would make and change; nothing is."""
    session.manifests, notes = check(session.cluster, session.manifests)
    for note in notes:
        session.say(note)
    namespace = Key("v1", "Namespace", session.manifests.namespace)
    fresh = session.cluster.get(namespace) is None
    for stage in STAGES:
        for one in session.manifests.stage(stage):
            for line in _lines(session, one, fresh=fresh, take_over=take_over):
                session.write(line)
    if fresh:
        session.say(
            f"there is no namespace {namespace.name} yet: the server could not be asked about "
            "what goes there"
        )


def _lines(session: Session, wanted: Object, *, fresh: bool, take_over: bool) -> Iterator[str]:
    key = Key.of(wanted)
    if fresh and key.namespace == session.manifests.namespace:
        yield f"{key} would be made"
        return
    before = session.cluster.get(key)
    if before is not None and key.kind == "RayService":
        wanted = {**wanted, "spec": {**wanted["spec"]}}
        model = served(before).model or served(wanted).model
        wanted["spec"]["serveConfigV2"] = with_model(wanted, model)
    # What a promotion owns is changed as one, so that only a preview has to take it over.
    force = take_over or key.kind == "RayService"
    after = session.cluster.apply(wanted, force=force, dry=True)
    if before is None:
        yield f"{key} would be made"
        return
    difference = list(difflib.unified_diff(_text(before), _text(after), lineterm="", n=1))[2:]
    yield f"{key} would be {'changed' if difference else 'left as it is'}"
    yield from (f"    {line}" for line in difference)


def _text(found: Object) -> list[str]:
    metadata = {k: v for k, v in found["metadata"].items() if k not in KEPT_BY_SERVER}
    shown: dict[str, Any] = {**found, "metadata": metadata}
    shown.pop("status", None)
    if found["kind"] == "Secret":
        for name in ("data", "stringData"):
            shown[name] = dict.fromkeys(found.get(name) or {}, HIDDEN)
    return yaml.safe_dump(shown, sort_keys=True).splitlines()
