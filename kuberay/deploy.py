"""``python -m kuberay.deploy``: up, status, search, promote, rollback, dashboard, down."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from typing import Final

from heart.errors import ClusterError, HeartError, UsageError, run_main
from heart.settings import keep_private
from kuberay import changes, options, report, stack, teardown
from kuberay.cluster import Key, connect
from kuberay.contexts import contexts
from kuberay.errors import UnhealthyError
from kuberay.forwarding import forwarded
from kuberay.manifests import OVERLAYS, render
from kuberay.promotion import named
from kuberay.session import Session
from kuberay.tracking import Tracking, require
from kuberay.waiting import Pace

UNHEALTHY_EXIT: Final = 1
INTERRUPTED_EXIT: Final = 130
HEAD_PORT: Final = 8265


def main(arguments: Sequence[str] | None = None, *, pace: Pace = Pace()) -> int:  # noqa: B008
    """Run one command; the exit code. Raises `HeartError` for what run_main tells."""
    keep_private()
    given = options.parse(arguments)
    session = _session(given, pace)
    try:
        return _COMMANDS[given.command](session, given)
    except UnhealthyError as error:
        _say(f"error: {error.message}")
        _say(f"stopped while {session.doing}")
        _tell_left(session)
        return UNHEALTHY_EXIT
    except HeartError:
        _tell_left(session)
        raise
    except KeyboardInterrupt:
        _say(f"interrupted while {session.doing}")
        _tell_left(session)
        return INTERRUPTED_EXIT


def _session(given: argparse.Namespace, pace: Pace) -> Session:
    context = _context(given.context)
    manifests = render(_overlay(given.overlay, context))
    if getattr(given, "image", None):
        manifests = manifests.with_image(given.image)
    if getattr(given, "mlflow_image", None):
        manifests = manifests.with_mlflow(given.mlflow_image)
    return Session(
        cluster=connect(context, seconds=pace.request_s),
        manifests=manifests.with_checksums(),
        seconds=given.timeout,
        pace=pace,
        say=_say,
        write=_write,
        dry=getattr(given, "dry_run", False),
        tracking_uri=getattr(given, "tracking_uri", None),
    )


def _context(name: str | None) -> str:
    """The context that was named, or that the user confirms; raises `UsageError`."""
    if name is not None:
        return name
    known, current = contexts()
    if current is not None and sys.stdin.isatty():
        print(f"context {current.name}, server {current.server}: this one? [y/N] ", end="")
        if input().strip().lower() in ("y", "yes"):
            return current.name
    told = f"{current.name}, server {current.server}" if current else "not set"
    raise UsageError(
        f"name the context: --context {' or '.join(known)} (the current one is {told})",
        field="context",
    )


def _overlay(name: str | None, context: str) -> str:
    if name is not None:
        return name
    if (OVERLAYS / context).is_dir():
        return context
    raise UsageError(
        f"name the overlay: no overlay is called like the context {context}", field="overlay"
    )


def _up(session: Session, given: argparse.Namespace) -> int:
    if session.dry:
        changes.preview(session, take_over=given.take_over)
        return 0
    stack.up(session, bundle=given.bundle, search=given.search_options, take_over=given.take_over)
    _write("up: the service answers")
    return 0


def _status(session: Session, given: argparse.Namespace) -> int:
    return 0 if report.status(session) else UNHEALTHY_EXIT


def _search(session: Session, given: argparse.Namespace) -> int:
    stack.submit(session, given.search_options, follow=not given.no_follow)
    return 0


def _promote(session: Session, given: argparse.Namespace) -> int:
    session.doing = f"looking for version {given.version}"
    rollout = session.rollout()
    rollout.current()
    with session.tracking() as known:
        candidate = known.candidate(given.version)
        require(candidate, force=given.force)
        version = candidate.reference.version
        why = given.why or "promoted"
        session.doing = f"putting version {version} into service"
        rollout.change(candidate.reference, why=why, dry=session.dry)
        if not session.dry:
            _crown(session, known, version, why=why, forced=bool(candidate.failed))
    by_force = ", by force" if candidate.failed else ""
    _write(f"version {version} {'would be' if session.dry else 'is'} served{by_force}")
    return 0


def _rollback(session: Session, given: argparse.Namespace) -> int:
    rollout = session.rollout()
    model = rollout.before()
    session.doing = f"putting {named(model)} back into service"
    rollout.change(model, why=given.why or "rolled back", dry=session.dry)
    if model is not None and not session.dry:
        with session.tracking() as known:
            _crown(session, known, model.version, why=given.why or "rolled back")
    _write(f"{named(model)} {'would be' if session.dry else 'is'} served again")
    return 0


def _crown(
    session: Session, known: Tracking, version: str, *, why: str, forced: bool = False
) -> None:
    """Make the version that is served champion in MLflow."""
    session.doing = f"making version {version} champion in MLflow"
    try:
        if known.registry.aliases().champion != version:
            known.registry.promote(version, reason=why, forced=forced)
    except HeartError:
        _say(f"version {version} is served, and not champion in MLflow: `promote {version}` again")
        raise


def _dashboard(session: Session, given: argparse.Namespace) -> int:
    service = session.rollout().current()
    active = (service.get("status") or {}).get("activeServiceStatus") or {}
    labels = f"ray.io/cluster={active.get('rayClusterName')},ray.io/node-type=head"
    heads = session.cluster.find("v1", "Pod", session.manifests.namespace, labels=labels)
    if not heads:
        raise ClusterError(f"{Key.of(service)} has no head pod: `status` tells why")
    with forwarded(session.cluster, heads[0], HEAD_PORT, local=given.port) as url:
        _write(f"dashboard: {url}, until Ctrl-C")
        _say("it asks for the token that the pods have as RAY_AUTH_TOKEN: a secret")
        if sys.stdout.isatty():
            webbrowser.open(url)
        threading.Event().wait()
    return 0


def _down(session: Session, given: argparse.Namespace) -> int:
    teardown.down(session, delete_data=given.delete_data)
    return 0


def _tell_left(session: Session) -> None:
    if session.applied:
        _say(session.left)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(text: str) -> None:
    print(text, flush=True)


_COMMANDS: Final[dict[str, Callable[[Session, argparse.Namespace], int]]] = {
    "up": _up,
    "status": _status,
    "search": _search,
    "promote": _promote,
    "rollback": _rollback,
    "dashboard": _dashboard,
    "down": _down,
}


if __name__ == "__main__":
    # A terminal that is closed, and `timeout`, end it as Ctrl-C does: it says where it stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_main(main))
