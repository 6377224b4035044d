"""Two Ray nodes on this machine, as the pods of the RayService: ``python ray_pods.py FOLDER``.

A program of its own, so that its environment is that of the pods. It prints the address of the
dashboard and ends with its standard input.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ray.cluster_utils import Cluster

from serve_app.environment import apart, free_port


def main() -> None:
    folder = Path(sys.argv[1])
    head = {
        "num_cpus": 1,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": free_port(),
        "dashboard_agent_listen_port": free_port(),
        "env_vars": apart_in(folder / "head"),
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    # On one machine the second pod's proxy cannot have the first one's port.
    port = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(free_port())}
    cluster.add_node(
        num_cpus=1,
        dashboard_agent_listen_port=free_port(),
        env_vars=apart_in(folder / "worker") | port,
    )
    print(f"http://{cluster.head_node.webui_url}", flush=True)
    sys.stdin.read()
    cluster.shutdown()


def apart_in(folder: Path) -> dict[str, str]:
    # The path of a socket is short, and HAProxy puts the node's name of 56 letters into it.
    return apart(Path(tempfile.mkdtemp(prefix=f"{folder.name}-")))


if __name__ == "__main__":
    main()
