"""The MLflow store: one database for tracking and registry, opened with clear errors."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from heart.errors import TrackingError
from heart.files import locked
from heart.settings import Settings, without_password

HTTP_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server that is away is told to the user, not waited for: MLflow alone tries for minutes."""
LOCK_TIMEOUT_S: Final = 5.0
"""How long a database may be locked before work begins; MLflow waits 20 s a statement."""


@contextmanager
def tracking_errors(settings: Settings) -> Iterator[None]:
    """Turn what a store can raise into one `TrackingError` that names it."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
    except (MlflowException, RequestException, sqlite3.Error, ImportError) as error:
        reason = str(error)
    else:
        return
    reason = reason.replace(settings.resolved_tracking_uri, settings.shown_tracking_uri)
    first = without_password(reason.strip()).splitlines()[0][:200]
    raise TrackingError(
        f"the MLflow store {settings.shown_tracking_uri} does not answer: {first}",
        field="tracking_uri",
    )


def connect(settings: Settings) -> MlflowClient:
    """A client of a store that is ready for use; raises `TrackingError`.

    The database is made under a lock: two that migrate it at once would damage it.
    """
    for name, value in HTTP_BOUNDS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = settings.resolved_tracking_uri
    with locked(settings.home.resolve() / ".mlflow.lock"), tracking_errors(settings):
        check_database(settings)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.get_experiment_by_name(settings.experiment)
        return client


def check_database(settings: Settings) -> None:
    """Raise `TrackingError` for a database file that is damaged, or locked for long."""
    uri = settings.resolved_tracking_uri
    with tracking_errors(settings):
        database = make_url(uri).database if uri.startswith("sqlite:") else None
        if database and Path(database).exists():
            with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()


def experiment_id(client: MlflowClient, settings: Settings) -> str:
    """The experiment of the searches, made if it is not there; raises `TrackingError`."""
    location = None
    if settings.resolved_tracking_uri.startswith("sqlite:"):
        location = (settings.home.resolve() / "mlruns").as_uri()
    with locked(settings.home.resolve() / ".mlflow.lock"), tracking_errors(settings):
        found = client.get_experiment_by_name(settings.experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(client.create_experiment(settings.experiment, artifact_location=location))
