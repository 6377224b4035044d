"""The errors of this project. Each class knows its HTTP status and its code.

A command line prints the message of such an error on one line and ends with exit code 2;
the service answers with the status and the message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus


class HeartError(Exception):
    """What a user did, or what a user's machine lacks; never a fault of the code.

    ``field`` names the attribute, option or file the rule is about. ``retry_after_s`` is in how
    many seconds the same may be tried again, where that is known.
    """

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal_error"
    retry_after_s: int | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __reduce__(self) -> tuple[Callable[..., HeartError], tuple[object, ...]]:
        return _rebuild, (type(self), self.message, self.field)


def _rebuild(kind: type[HeartError], message: str, field: str | None) -> HeartError:
    """Ray carries errors between processes by pickle, which forgets keyword arguments."""
    return kind(message, field=field)


class InvalidValueError(HeartError):
    """An attribute's value that no patient can have, or that is in no accepted coding."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_value"


class MissingAttributeError(HeartError):
    """An attribute that was neither given nor said to be missing."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "missing_attribute"


class UnknownAttributeError(HeartError):
    """A name that is none of the thirteen attributes."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "unknown_attribute"


class MalformedBodyError(HeartError):
    """A request body that is not one JSON object."""

    status = HTTPStatus.BAD_REQUEST
    code = "malformed_body"


class MediaTypeError(HeartError):
    """A request body in another format than JSON."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "media_type"


class BodyTooLargeError(HeartError):
    """A request body that is longer than any honest one."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"


class NoModelError(HeartError):
    """Nothing to predict with: no champion has been registered."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "no_model"


class UnauthorizedError(HeartError):
    """No API key, or one that the service does not know."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthorized"


class ForbiddenError(HeartError):
    """A known API key whose scopes do not reach this far."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class RateLimitedError(HeartError):
    """More requests of one key or address than the service takes from one."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "rate_limited"


class BodyTimeoutError(HeartError):
    """A client that took too long to send its body."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "body_timeout"


class OverloadedError(HeartError):
    """More requests at a time than a replica answers soon."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "overloaded"
    retry_after_s = 1


class RolloutError(HeartError):
    """A version that could not be put into service, or was taken out of it again."""

    code = "rollout"


class ClusterError(HeartError):
    """A cluster that is away, refuses, or cannot do what is asked."""

    code = "cluster"


class UsageError(HeartError):
    """An option, or a combination of options, that means nothing."""

    status = HTTPStatus.BAD_REQUEST
    code = "usage"


class DataError(HeartError):
    """A table that is not what it is said to be: checksum, columns, values."""

    code = "data"


class DownloadError(DataError):
    """The data set could not be fetched, or what came is not the data set."""

    code = "download"


class BundleError(HeartError):
    """A served artefact that is absent, damaged, or not what its metadata say."""

    code = "bundle"


class TrackingError(HeartError):
    """The MLflow database is locked, damaged, or away."""

    code = "tracking"


class StorageError(HeartError):
    """A folder that cannot be written: full, read-only, or not a folder."""

    code = "storage"


class RegistryError(HeartError):
    """A version or an alias that the registry does not have, or a promotion it refuses."""

    status = HTTPStatus.CONFLICT
    code = "registry"


class PromotionError(RegistryError):
    """A promotion that came too late, or of a version that did not pass its gates."""

    code = "promotion"


def run_main(main: Callable[[], int]) -> int:
    """Run a command; a `HeartError` or a full disk becomes one line on stderr and exit code 2."""
    try:
        return main()
    except HeartError as error:
        print(f"error: {' '.join(error.message.splitlines())}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
    return 2
