"""The MLflow UI on this project's store: ``python scripts/mlflow_ui.py``."""

from __future__ import annotations

import os
import sys

from heart.errors import run_main
from heart.settings import Settings, keep_private
from run import MLFLOW_PORT, check_free, mlflow_command


def main() -> int:
    """Become the MLflow server."""
    keep_private()
    check_free(MLFLOW_PORT, "the MLflow UI")
    command = mlflow_command(Settings.from_environment())
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(run_main(main))
