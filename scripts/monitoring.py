"""What ``make monitoring`` does: Prometheus on the service that runs on this machine.

Its rules are those of kuberay/monitoring/rules.yaml, and it scrapes as the PodMonitors there
say, from the nodes that Ray's dashboard lists. Usable alone: ``python scripts/monitoring.py``.
Listens on loopback, keeps a day of data under HEART_HOME, ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

import yaml

from heart.errors import UsageError, run_main
from heart.files import write_whole
from heart.settings import Settings

HOST: Final = "127.0.0.1"
PORT: Final = 9090
DASHBOARD: Final = f"http://{HOST}:8265"
DISCOVERY: Final = "/api/prometheus/sd"
FOLDER: Final = Path(__file__).parents[1] / "kuberay" / "monitoring"
RETENTION: Final = "1d"
REFRESH: Final = "5s"
NOT_NODES: Final = ".+:44(217|227)"
"""The ports of Ray's autoscaler and dashboard, which the dashboard lists beside the nodes'."""
LOOK_AT: Final = (
    ("requests a second", "heart:requests:rate5m"),
    ("latency of /predict", "heart:predict_latency_seconds:quantile5m"),
    ("share of errors", "heart:error_ratio:rate5m"),
    ("replicas", "heart:replicas:healthy"),
    ("model version", "ray_heart_model_info"),
    ("trials of a search", "ray_heart_search_trials"),
)


def main() -> int:
    """Run Prometheus until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}")
    parser.add_argument("--dashboard", default=DASHBOARD, help=f"of Ray; default {DASHBOARD}")
    options = parser.parse_args()
    settings = Settings.from_environment()
    program = shutil.which("prometheus")
    if program is None:
        raise UsageError(
            "prometheus is not installed: `apt-get install prometheus`, `brew install prometheus`, "
            "or the archive for your system from its releases, unpacked to a folder of PATH",
            field="prometheus",
        )
    source = discovered(options.dashboard, token=token_file())
    config = write_config(settings.home / "monitoring", source)
    tell(f"http://{HOST}:{options.port}", dashboard=options.dashboard)
    return watch([program, *arguments(config, port=options.port)])


def write_config(folder: Path, source: dict[str, Any], *, every: str | None = None) -> Path:
    """The rules and the configuration of Prometheus, written to a folder; the latter's path.

    ``source`` says where the targets are found, as a scrape configuration does; ``every``
    replaces the intervals of the manifests.
    """
    write_whole(folder / "rules.yaml", yaml.safe_dump(rules(every=every)).encode())
    endpoint = pod_endpoint()
    every = every or endpoint["interval"]
    scrape = {
        "job_name": "heart",
        "metrics_path": endpoint["path"],
        **source,
        "relabel_configs": [*source.get("relabel_configs", []), *endpoint["relabelings"]],
        "metric_relabel_configs": endpoint["metricRelabelings"],
    }
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [_snake(scrape)],
    }
    path = folder / "prometheus.yaml"
    write_whole(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path


def rules(*, every: str | None = None) -> dict[str, Any]:
    """The content of the rules file: the ``spec`` of the PrometheusRule."""
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]["groups"]
    return {"groups": [{**group, "interval": every} if every else group for group in groups]}


def pod_endpoint() -> dict[str, Any]:
    """How a Ray pod is scraped: the endpoint of the first PodMonitor."""
    monitor = next(yaml.safe_load_all((FOLDER / "podmonitors.yaml").read_text()))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return dict(endpoint)


def discovered(dashboard: str, *, token: Path | None) -> dict[str, Any]:
    """The nodes that Ray's dashboard lists, asked with the token of this user if there is one."""
    source: dict[str, Any] = {"url": f"{dashboard}{DISCOVERY}", "refresh_interval": REFRESH}
    if token is not None:
        # The type is Prometheus' default where targets are scraped, not where they are asked for.
        source["authorization"] = {"type": "Bearer", "credentials_file": str(token)}
    ports = {"source_labels": ["__address__"], "regex": NOT_NODES, "action": "drop"}
    return {"http_sd_configs": [source], "relabel_configs": [ports]}


def token_file() -> Path | None:
    """Where Ray keeps the token of this user, None where it keeps none."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.resolve() if path.is_file() else None


def arguments(config: Path, *, port: int) -> list[str]:
    """The arguments of Prometheus; its data lie beside its configuration."""
    return [
        f"--config.file={config}",
        f"--web.listen-address={HOST}:{port}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        "--log.level=warn",
    ]


def tell(url: str, *, dashboard: str) -> None:
    """Say where to look, and what is missing."""
    print(f"Prometheus {url}/alerts, its targets {url}/targets")
    for what, query in LOOK_AT:
        search = urllib.parse.urlencode({"g0.expr": query, "g0.tab": "0", "g0.range_input": "15m"})
        print(f"  {what:20} {url}/graph?{search}")
    if not _answers(dashboard):
        print(f"no Ray answers on {dashboard} yet: `make serve` starts the service")
    print("Ctrl-C ends it", flush=True)


def watch(command: list[str]) -> int:
    """Run a command to its end or to Ctrl-C, which is no failure."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Prometheus had the signal from the terminal as well.
            process.wait()
            return 0


def _snake(config: Any) -> Any:
    """A configuration of the operator with the keys that Prometheus itself has."""
    if isinstance(config, list):
        return [_snake(part) for part in config]
    if isinstance(config, dict):
        return {re.sub("[A-Z]", _lower, key): _snake(value) for key, value in config.items()}
    return config


def _lower(capital: re.Match[str]) -> str:
    return f"_{capital[0].lower()}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # It asks for a token.
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(run_main(main))
