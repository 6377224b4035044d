"""For each alert what makes it fire and what does not, as `promtool test rules` takes it.

A sample every 15 seconds, in promtool's notation: `1+0x39` is forty ones, ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STEP = "15s"
HOURS = 4 * 60 * 4
ALWAYS = f"1+0x{HOURS}"
THEN_0 = f"1+0x39 0+0x{HOURS}"
THEN_1 = f"0+0x39 1+0x{HOURS}"
THEN_GONE = "1+0x39 stale"


def growing(per_step: float, *, after: int = 0) -> str:
    """A counter that grows from a step on."""
    wait = f"0+0x{after - 1} " if after else ""
    return f"{wait}0+{per_step}x{HOURS}"


@dataclass(frozen=True)
class Case:
    """Series under which an alert is quiet at one time and fires at another, or never does."""

    alert: str
    why: str
    series: dict[str, str]
    quiet: str
    fires: str | None
    labels: str = 'namespace="heart"'
    severity: str = "warning"

    def test(self) -> dict[str, Any]:
        """As an entry of promtool's `tests`."""
        firing = f'ALERTS{{alertname="{self.alert}", alertstate="firing"}}'
        labels = ", ".join(filter(None, [self.labels, f'severity="{self.severity}"']))
        fired = [{"labels": f"{firing[:-1]}, {labels}}}", "value": 1}]
        expected = [{"expr": firing, "eval_time": self.quiet, "exp_samples": []}]
        if self.fires:
            expected.append({"expr": firing, "eval_time": self.fires, "exp_samples": fired})
        return {
            "name": f"{self.alert}: {self.why}",
            "interval": STEP,
            "input_series": [{"series": s, "values": v} for s, v in self.series.items()],
            "promql_expr_test": expected,
        }


UP = 'up{job="heart", namespace="heart", pod="head", instance="10.0.0.1:8080"}'
UP_LABELS = UP[3:-1]
HEALTHY = (
    "ray_serve_deployment_replica_healthy"
    '{application="heart", deployment="heart", replica="a", namespace="heart"}'
)
PROCESS = 'kube_pod_container_status_restarts_total{namespace="heart", pod="w", container="ray"}'


def created(pod: str) -> str:
    return f'kube_pod_created{{namespace="heart", pod="{pod}", uid="{pod}"}}'


def brief(step: int) -> str:
    """A pod that is there for a minute."""
    return f"_x{step} {step * 15}+0x3 stale"


def proxied(status: int) -> str:
    return (
        "ray_serve_num_http_requests_total"
        f'{{application="heart", status_code="{status}", namespace="heart"}}'
    )


def answered(status: int) -> str:
    return (
        "ray_heart_api_requests_total"
        f'{{endpoint="/predict", http_status="{status}", replica="a", namespace="heart"}}'
    )


def loaded(replica: str) -> str:
    return f'ray_heart_model_loaded{{replica="{replica}", namespace="heart"}}'


def serving(version: str, replica: str) -> str:
    return (
        f'ray_heart_model_info{{model_version="{version}", replica="{replica}", namespace="heart"}}'
    )


def slower_than(seconds: str) -> dict[str, str]:
    """Ten requests a second of which all take longer than one bound and none than 0.25 s."""
    bounds = ["0.005", "0.05", "0.1", "0.25", "+Inf"]
    return {
        "ray_heart_api_request_latency_seconds_bucket"
        f'{{endpoint="/predict", le="{le}", namespace="heart"}}': growing(
            0 if float(le) <= float(seconds) else 150
        )
        for le in bounds
    }


def trials(status: str) -> str:
    return f'ray_heart_search_trials{{search="s", status="{status}", namespace="heart"}}'


CASES = [
    Case(
        "HeartServiceDown",
        "the last replica is unhealthy",
        {UP: ALWAYS, HEALTHY: THEN_0},
        quiet="11m",
        fires="13m",
        severity="critical",
    ),
    Case(
        "HeartServiceDown",
        "Serve tells of no replica any more",
        {UP: ALWAYS, HEALTHY: THEN_GONE},
        quiet="11m",
        fires="13m",
        severity="critical",
    ),
    Case(
        "HeartServiceDown",
        "one of two replicas is lost",
        {UP: ALWAYS, HEALTHY: THEN_0, HEALTHY.replace('"a"', '"b"'): ALWAYS},
        quiet="30m",
        fires=None,
    ),
    Case(
        "HeartUnseen",
        "the pods are gone",
        {UP: THEN_GONE},
        quiet="14m",
        fires="16m",
        labels="",
        severity="critical",
    ),
    Case(
        "HeartUnseen",
        "no pod answers",
        {UP: THEN_0},
        quiet="14m",
        fires="16m",
        labels="",
        severity="critical",
    ),
    Case("HeartTargetDown", "a pod does not answer", {UP: THEN_0}, "14m", "16m", UP_LABELS),
    Case("HeartTargetDown", "all answer", {UP: ALWAYS}, "30m", None),
    Case(
        "HeartModelNotLoaded",
        "one of two replicas loses its model",
        {loaded("a"): ALWAYS, loaded("b"): THEN_0},
        quiet="11m",
        fires="13m",
        severity="critical",
    ),
    Case(
        "HeartErrorBudgetFast",
        "half of the requests fail",
        {proxied(200): growing(150), proxied(500): growing(150, after=80)},
        quiet="19m",
        fires="30m",
        severity="critical",
    ),
    Case(
        "HeartErrorBudgetFast",
        "one in a hundred fails",
        {proxied(200): growing(148.5), proxied(500): growing(1.5)},
        quiet="2h",
        fires=None,
    ),
    Case(
        "HeartErrorBudgetFast",
        "a burst of errors that is over",
        {proxied(200): growing(150), proxied(503): "0+0x239 0+150x4 600+0x400"},
        quiet="70m",
        fires=None,
    ),
    Case(
        "HeartErrorBudgetSlow",
        "one in a hundred fails",
        {proxied(200): growing(148.5), proxied(500): growing(1.5)},
        quiet="10m",
        fires="40m",
    ),
    Case(
        "HeartErrorBudgetSlow",
        "one in two hundred fails",
        {proxied(200): growing(149.25), proxied(500): growing(0.75)},
        quiet="2h",
        fires=None,
    ),
    Case(
        "HeartErrorBudgetSlow",
        "the callers are wrong",
        {proxied(200): growing(75), proxied(422): growing(75)},
        quiet="2h",
        fires=None,
    ),
    Case(
        "HeartClientErrors",
        "three in four requests are refused",
        {answered(200): growing(50), answered(422): growing(150)},
        quiet="14m",
        fires="20m",
        severity="info",
    ),
    Case(
        "HeartClientErrors",
        "one in four is refused",
        {answered(200): growing(150), answered(422): growing(50)},
        quiet="40m",
        fires=None,
    ),
    Case(
        "HeartLatencyHigh",
        "all take over 100 ms",
        slower_than("0.1"),
        quiet="9m",
        fires="12m",
        labels='namespace="heart", quantile="0.99"',
    ),
    Case("HeartLatencyHigh", "all take 50 to 100 ms", slower_than("0.05"), "40m", None),
    Case(
        "HeartQueueFull",
        "a request a second is refused",
        {
            proxied(200): growing(150),
            proxied(503): growing(15, after=40),
            loaded("a"): ALWAYS,
        },
        quiet="10m",
        fires="14m",
        severity="critical",
    ),
    Case(
        "HeartQueueFull",
        "no replica has a model",
        {proxied(503): growing(15), loaded("a"): f"0+0x{HOURS}"},
        quiet="40m",
        fires=None,
    ),
    Case(
        "HeartQueueFilling",
        "a replica has a hundred in hand",
        {
            'ray_serve_replica_processing_queries{application="heart", namespace="heart"}': (
                f"10+0x39 100+0x{HOURS}"
            )
        },
        quiet="14m",
        fires="21m",
    ),
    Case(
        "HeartReplicasCrashing",
        "a replica a minute",
        {loaded(str(n)): " ".join([f"_x{4 * n}"] * (n > 0) + ["1+0x3 stale"]) for n in range(12)},
        quiet="5m",
        fires="11m",
    ),
    Case(
        "HeartReplicasCrashing",
        "the autoscaler took two away",
        {loaded("a"): ALWAYS, loaded("b"): THEN_GONE, loaded("c"): THEN_GONE},
        quiet="12m",
        fires=None,
    ),
    Case(
        "HeartReconfigureFailed",
        "a replica fails once",
        {
            'ray_heart_reconfigure_failures_total{replica="a", namespace="heart"}': THEN_1,
        },
        quiet="9m",
        fires="11m",
    ),
    Case(
        "HeartReconfigureFailed",
        "it was half an hour ago",
        {
            'ray_heart_reconfigure_failures_total{replica="a", namespace="heart"}': THEN_1,
        },
        quiet="40m",
        fires=None,
    ),
    Case(
        "HeartVersionsMixed",
        "one replica stays behind",
        {serving("1", "a"): ALWAYS, serving("1", "b"): THEN_GONE, serving("2", "b"): THEN_1},
        quiet="10m",
        fires="30m",
    ),
    Case(
        "HeartVersionsMixed",
        "both serve one",
        {serving("1", "a"): ALWAYS, serving("1", "b"): ALWAYS},
        quiet="40m",
        fires=None,
    ),
    Case(
        "HeartPayloadsDropped",
        "the log falls behind",
        {
            'ray_heart_payloads_dropped_total{replica="a", namespace="heart"}': "_x40 3+0x200",
        },
        quiet="9m",
        fires="11m",
    ),
    Case(
        "HeartPodsEnding",
        "a pod that is replaced",
        {created("heart-ab1cd-replicas-worker-a"): brief(2)},
        quiet="6m",
        fires=None,
    ),
    Case(
        "HeartPodsEnding",
        "one pod after the other",
        {
            created("heart-ab1cd-replicas-worker-a"): brief(4),
            created("heart-ab1cd-replicas-worker-b"): brief(16),
            created("heart-ab1cd-head-c"): brief(28),
        },
        quiet="7m",
        fires="11m",
        severity="critical",
    ),
    Case(
        "HeartPodsEnding",
        "a search, which is short",
        {created(f"heart-search-ab1cd-trials-worker-{x}"): brief(4) for x in "abcd"},
        quiet="6m",
        fires=None,
    ),
    Case(
        "HeartCrashLoop",
        "a restart every minute",
        {PROCESS: growing(0.25, after=40)},
        quiet="11m",
        fires="16m",
        labels='namespace="heart", pod="w", container="ray"',
        severity="critical",
    ),
    Case("HeartCrashLoop", "one restart", {PROCESS: THEN_1}, "12m", None),
    Case(
        "HeartCrashLoop",
        "another namespace",
        {PROCESS.replace('namespace="heart"', 'namespace="other"'): growing(1)},
        quiet="16m",
        fires=None,
    ),
    Case(
        "HeartPodPending",
        "no node takes a pod",
        {'kube_pod_status_phase{namespace="heart", pod="w", phase="Pending"}': THEN_1},
        quiet="19m",
        fires="21m",
        labels='namespace="heart", pod="w"',
    ),
    Case(
        "HeartVolumeFull",
        "a twentieth is left",
        {
            "kubelet_volume_stats_available_bytes"
            '{namespace="heart", persistentvolumeclaim="m"}': f"20+0x39 5+0x{HOURS}",
            "kubelet_volume_stats_capacity_bytes"
            '{namespace="heart", persistentvolumeclaim="m"}': f"100+0x{HOURS}",
        },
        quiet="24m",
        fires="26m",
        labels='namespace="heart", persistentvolumeclaim="m"',
    ),
    Case(
        "HeartNodeMemoryHigh",
        "19 of 20 GB",
        {
            'ray_node_mem_used{instance="10.0.0.1:8080", namespace="heart"}': (
                f"10+0x39 19+0x{HOURS}"
            ),
            'ray_node_mem_total{instance="10.0.0.1:8080", namespace="heart"}': f"20+0x{HOURS}",
        },
        quiet="14m",
        fires="16m",
        labels='namespace="heart", instance="10.0.0.1:8080"',
    ),
    Case(
        "HeartSearchTrialsFailing",
        "a third fails",
        {
            trials("finished"): f"4+0x{HOURS}",
            trials("stopped"): f"2+0x{HOURS}",
            trials("failed"): f"0+0x39 3+0x{HOURS}",
        },
        quiet="14m",
        fires="16m",
        labels='namespace="heart", search="s"',
    ),
    Case(
        "HeartSearchTrialsFailing",
        "one of ten fails",
        {trials("finished"): f"9+0x{HOURS}", trials("failed"): ALWAYS},
        quiet="40m",
        fires=None,
    ),
    Case(
        "HeartSearchJobFailed",
        "the retries are used up",
        {
            "kube_job_failed"
            '{namespace="heart", job_name="search", condition="true", reason="Backoff"}': THEN_1
        },
        quiet="9m",
        fires="11m",
        labels='namespace="heart", job_name="search"',
    ),
]
