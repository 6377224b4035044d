"""A command under way: where, how long, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from kuberay.cluster import Cluster, Key
from kuberay.manifests import STAGES, Manifests
from kuberay.promotion import Rollout
from kuberay.tracking import Tracking, tracking
from kuberay.waiting import Pace, Waiting


@dataclass
class Session:
    """What every command needs; ``say`` tells progress, ``write`` gives results."""

    cluster: Cluster
    manifests: Manifests
    seconds: float
    pace: Pace
    say: Callable[[str], None]
    write: Callable[[str], None]
    dry: bool = False
    tracking_uri: str | None = None
    doing: str = "starting"
    applied: list[str] = field(default_factory=list)

    def waiting(self) -> Waiting:
        """To wait for one thing after the other."""
        return Waiting(self.cluster, seconds=self.seconds, pace=self.pace, say=self.say)

    def rollout(self) -> Rollout:
        """To change the model of the service."""
        key = Key.of(self.manifests.service)
        return Rollout(self.cluster, key, seconds=self.seconds, pace=self.pace, say=self.say)

    def tracking(self) -> AbstractContextManager[Tracking]:
        """The cluster's MLflow."""
        return tracking(self.cluster, self.manifests, uri=self.tracking_uri)

    @property
    def left(self) -> str:
        """What is on the cluster after a command that did not end well."""
        if not self.applied:
            return "nothing was changed"
        missing = [stage for stage in STAGES if stage not in self.applied]
        rest = f", not yet {', '.join(missing)}" if missing else ""
        told = f"{', '.join(self.applied)} applied{rest}"
        return f"{told}; `up` goes on from there, `down` takes it away"
