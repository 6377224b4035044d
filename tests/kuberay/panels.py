"""What the dashboards' queries on the pods find, given some of a cluster's series."""

from __future__ import annotations

from tests.prometheus import Query

NAMED = 'namespace="heart", pod="p"'
CPU = (
    f'container_cpu_usage_seconds_total{{{NAMED}, container="ray"}}',
    f'container_cpu_usage_seconds_total{{{NAMED}, container="autoscaler"}}',
    f'container_cpu_usage_seconds_total{{{NAMED}, container=""}}',
    'container_cpu_usage_seconds_total{namespace="other", pod="q", container="ray"}',
)
LIMITS = f'kube_pod_container_resource_limits{{{NAMED}, container="ray", resource='
MEMORY = tuple(name.replace("cpu_usage_seconds_total", "memory_working_set_bytes") for name in CPU)
SERIES = {
    CPU[0]: "0+1x100",
    CPU[1]: "0+2x100",
    CPU[2]: "0+3x100",  # The pod as a whole, which would count both twice.
    CPU[3]: "0+4x100",
    MEMORY[0]: "10+0x100",
    MEMORY[1]: "20+0x100",
    MEMORY[2]: "30+0x100",
    MEMORY[3]: "40+0x100",
    f'{LIMITS}"memory"}}': "50+0x100",
    f'{LIMITS}"cpu"}}': "2+0x100",
    f'kube_pod_container_status_restarts_total{{{NAMED}, container="ray"}}': "0+1x100",
    'kube_job_status_active{namespace="heart", job_name="search"}': "1+0x100",
    'kube_job_status_failed{namespace="heart", job_name="search"}': "2+0x100",
}
STEP_S = 1
FOUND = {
    ("service", "CPU by pod", "A"): ('{pod="p"}', 3),
    ("service", "Memory by pod", "A"): ('{pod="p"}', 30),
    ("service", "Memory by pod", "B"): ('{pod="p"}', 50),
    ("service", "Restarts", "A"): ('{pod="p", container="ray"}', 20),
    ("search", "CPU by pod", "A"): ('{pod="p"}', 3),
    ("search", "Memory by pod", "A"): ('{pod="p"}', 30),
    ("search", "Jobs", "A"): ('{job_name="search"}', 1),
    ("search", "Jobs", "B"): ('{job_name="search"}', 2),
}
"""The one sample that each finds, a window of 20 s behind it."""


def expectation(query: Query) -> dict[str, object]:
    """A query as an entry of promtool's `tests`."""
    labels, value = FOUND[query.board, query.panel, query.ref]
    return {
        "name": f"{query.board}, {query.panel}, {query.ref}",
        "interval": f"{STEP_S}s",
        "input_series": [{"series": s, "values": v} for s, v in SERIES.items()],
        "promql_expr_test": [
            {
                "expr": query.filled(namespace="heart"),
                "eval_time": "60s",
                "exp_samples": [{"labels": labels, "value": value}],
            }
        ],
    }
