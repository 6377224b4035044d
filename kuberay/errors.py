"""What a cluster says no with, as one line that tells what is wrong and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from urllib3.exceptions import HTTPError, MaxRetryError

from heart.errors import ClusterError

QUOTA: Final = "exceeded quota"
SHOWN: Final = 600
"""Characters of a server's message that are told."""


class UnhealthyError(ClusterError):
    """What was applied, and did not become healthy in time."""

    code = "unhealthy"


class AwayError(ClusterError):
    """An API server that does not answer just now; asking again may help."""

    code = "away"


class ConflictError(ClusterError):
    """Something that was made or changed by someone else meanwhile."""

    code = "conflict"


@contextmanager
def asking(context: str, doing: str) -> Iterator[None]:
    """Turn what the client raises into one `ClusterError` that says what was being done."""
    try:
        yield
    except ApiException as error:
        raise _refused(error, context, doing) from None
    except ResourceNotFoundError:
        raise ClusterError(
            f"{doing}: the cluster of context {context} does not know that kind of object"
        ) from None
    except (HTTPError, OSError, json.JSONDecodeError) as error:
        raise _away(error, context, doing) from None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what the client raises of a kubeconfig, which it does not validate, into one error."""
    try:
        yield
    except (ConfigException, yaml.YAMLError, TypeError, LookupError, AttributeError) as error:
        raise ClusterError(
            f"the kubeconfig {path} cannot be used: {shortened(str(error))}", field="context"
        ) from None


def _away(error: Exception, context: str, doing: str) -> ClusterError:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    # urllib3 begins with the object that failed, which nobody can read.
    reason = str(cause).rpartition(">: ")[2].rpartition("): ")[2] or type(cause).__name__
    return AwayError(
        f"{doing}: the API server of context {context} does not answer ({reason}); is the "
        f"cluster up? `kubectl --context {context} cluster-info` (and `minikube status`) tell"
    )


def _refused(error: ApiException, context: str, doing: str) -> ClusterError:
    message = said(error)
    if QUOTA in message:
        return ClusterError(
            f"{doing}: the namespace's quota does not allow it: {message}; ask for more, or lower "
            "the requests in the overlay"
        )
    known = _ADVICE.get(error.status or 0)
    if known is None:
        return AwayError(f"{doing}: {message or error.reason}")
    kind, advice = known
    return kind(f"{doing}: {message}; {advice.format(context=context)}")


_ADVICE: Final[dict[int, tuple[type[ClusterError], str]]] = {
    HTTPStatus.BAD_REQUEST: (ClusterError, "the overlay and the cluster do not fit each other"),
    HTTPStatus.UNAUTHORIZED: (
        ClusterError,
        "the cluster does not accept who asks: sign in again, then try "
        "`kubectl --context {context} auth whoami`",
    ),
    HTTPStatus.FORBIDDEN: (
        ClusterError,
        "ask whoever runs the cluster for that right; "
        "`kubectl --context {context} auth can-i --list` shows those you have",
    ),
    HTTPStatus.NOT_FOUND: (ClusterError, "`status` shows what is there, `up` makes the rest"),
    HTTPStatus.CONFLICT: (ConflictError, "someone else made or changed it: look, then try again"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        ClusterError,
        "the manifest is not what this version of the cluster takes",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (AwayError, "the API server is busy: try again"),
}


def said(error: ApiException) -> str:
    """The message of a server's answer, on one line; its reason where it sent none."""
    body = error.body or ""
    try:
        message = json.loads(body).get("message") or error.reason
    except (ValueError, AttributeError):
        message = body or error.reason
    return shortened(str(message or "no reason was given"))


def shortened(text: str, *, length: int = SHOWN) -> str:
    """A message of others on one line, and not longer than anyone reads."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
