"""Where a model comes from: a reference, and the bundle that it stands for.

A folder of this machine is read where it is. What comes over HTTP or from S3 is verified and
kept under ``cache/`` of HEART_HOME, by its checksum, so that a replica that starts again asks
nobody.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from heart.bundle import (
    EVALUATION_FILE,
    METADATA_FILE,
    MODEL_FILE,
    Bundle,
    load_bundle,
    read_champion,
)
from heart.errors import BundleError
from heart.files import locked, sha256, storage_errors
from heart.settings import Settings, without_password
from heart.transfer import HTTP, S3, transfer

FILES: Final = (METADATA_FILE, MODEL_FILE, EVALUATION_FILE)
KEPT: Final = 8
"""Bundles in the cache; those in service, in shadow and before are three."""
LOCK: Final = ".lock"


class Reference(BaseModel):
    """A version of the model and where it is.

    ``uri`` is a folder that holds metadata.json, model.onnx and evaluation.json: an absolute
    path, file://, http(s):// or s3://. ``sha256`` is of metadata.json, which holds the
    checksums of the other two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    uri: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("uri")
    @classmethod
    def _known(cls, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.scheme in HTTP and parts.hostname:
            return uri
        if parts.scheme == S3 and parts.netloc and "@" not in parts.netloc:
            return uri
        if _local(uri) is not None:
            return uri
        raise ValueError(
            "must be an absolute path, file:///…, http(s)://HOST/… or s3://BUCKET/…, the keys "
            "of S3 in AWS_* variables"
        )

    @property
    def shown(self) -> str:
        """The URI without the user, the password and the options it may hold."""
        return without_password(self.uri.partition("?")[0])


def reference_of(folder: Path, version: str) -> Reference:
    """The reference to a bundle's folder on this machine; raises `BundleError`."""
    path = folder.resolve() / METADATA_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}", field=str(path)) from error
    return Reference(version=version, uri=str(folder.resolve()), sha256=sha256(content))


def champion_reference(bundles: Path) -> Reference | None:
    """The reference to the champion, None where there is none; raises `BundleError`."""
    champion = read_champion(bundles)
    if champion is None:
        return None
    return Reference(
        version=champion.version,
        uri=str(bundles.resolve() / champion.folder),
        sha256=champion.metadata_sha256,
    )


def fetch(reference: Reference, settings: Settings) -> Bundle:
    """The bundle, verified; takes up to HEART_DOWNLOAD_TIMEOUT_S where it is not here yet.

    Raises `BundleError` where it cannot be had or is not what the reference says, and
    `StorageError` where the cache cannot be written.
    """
    folder = _local(reference.uri)
    if folder is not None:
        return _load(folder, reference)
    return _cached(reference, settings.cache) or _download(reference, settings)


def _local(uri: str) -> Path | None:
    """The folder that an absolute path or a file:// URI names."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        uri = unquote(parts.path)
    return Path(uri) if Path(uri).is_absolute() else None


def _load(folder: Path, reference: Reference) -> Bundle:
    return load_bundle(folder, version=reference.version, metadata_sha256=reference.sha256)


def _cached(reference: Reference, cache: Path) -> Bundle | None:
    """The bundle of an earlier fetch; None where there is none, or a damaged one."""
    entry = cache / reference.sha256
    try:
        bundle = _load(entry, reference)
    except BundleError:
        return None
    with storage_errors(entry):
        os.utime(entry)  # what is used is not the oldest
    return bundle


def _download(reference: Reference, settings: Settings) -> Bundle:
    """Fetch into the cache, one at a time on this machine: the next finds what this one left."""
    cache = settings.cache
    with locked(cache / LOCK):
        found = _cached(reference, cache)
        if found is not None:
            return found
        with storage_errors(cache), _aside(cache) as aside:
            try:
                transfer(reference.uri, FILES, aside, seconds=settings.download_timeout_s)
                bundle = _load(aside, reference)
            except BundleError as error:
                reason = without_password(error.message).replace(f"{aside}/", "")
                raise BundleError(f"{reference.shown}: {reason}", field="uri") from None
            shutil.rmtree(cache / reference.sha256, ignore_errors=True)  # it is damaged
            aside.rename(cache / reference.sha256)
            _forget(cache)
    return bundle


@contextmanager
def _aside(cache: Path) -> Iterator[Path]:
    """An empty folder in the cache; those of processes that died are removed on the way."""
    for left in cache.glob(".aside-*"):
        shutil.rmtree(left)
    aside = Path(tempfile.mkdtemp(dir=cache, prefix=".aside-"))
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _forget(cache: Path) -> None:
    """Remove the entries that were not used for longest."""
    entries = [path for path in cache.iterdir() if path.name[0] != "."]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[KEPT:]:
        shutil.rmtree(entry)
