"""The versions of a registered model as MLflow has them: found, made, named by aliases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.tracking import MlflowClient

from heart.errors import RegistryError
from heart.settings import Settings
from heart.store import tracking_errors

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous"
ALIASES: Final = (CHAMPION, CHALLENGER, PREVIOUS)
BUNDLE_ARTIFACT: Final = "bundle"
CHECKSUM_TAG: Final = "metadata_sha256"
_ABSENT: Final = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """A version with its aliases and what its tags tell."""

    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]


class Versions:
    """The versions of the settings' model. Every method raises `TrackingError` as well."""

    def __init__(self, client: MlflowClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._name = settings.model_name

    def all(self) -> list[Version]:
        """All versions, the newest first."""
        with tracking_errors(self._settings):
            found = self._client.search_model_versions(f"name = '{self._name}'")
        named = {alias: self.named(alias) for alias in ALIASES}
        return [
            Version(
                version=str(version.version),
                aliases=tuple(a for a, of in named.items() if of == str(version.version)),
                tags=dict(version.tags),
            )
            for version in sorted(found, key=lambda v: -int(v.version))
        ]

    def find(self, version: str) -> ModelVersion:
        """The version of a number; raises `RegistryError`."""
        with tracking_errors(self._settings):
            try:
                found = self._client.get_model_version(self._name, version)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                found = None
        # The database reads 01 as 1; a folder and the pointer would not.
        if found is None or str(found.version) != version:
            raise RegistryError(f"{self._name} has no version {version}", field="version")
        return found

    def named(self, alias: str) -> str | None:
        """The number of the version that has an alias, None where none has it."""
        with tracking_errors(self._settings):
            try:
                return str(self._client.get_model_version_by_alias(self._name, alias).version)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def name(self, alias: str, version: str | None) -> None:
        """Give an alias to a version, or take it from the one that has it."""
        with tracking_errors(self._settings):
            if version is not None:
                self._client.set_registered_model_alias(self._name, alias, version)
            elif self.named(alias) is not None:
                self._client.delete_registered_model_alias(self._name, alias)

    def tag(self, version: str, name: str, value: str) -> None:
        """Note something with a version."""
        with tracking_errors(self._settings):
            self._client.set_model_version_tag(self._name, version, name, value)

    def make(self, run_id: str, folder: Path, tags: dict[str, str]) -> str:
        """Keep a bundle's folder with its run and make a version of it; its number.

        A bundle that is a version already, as its tag `CHECKSUM_TAG` tells, stays that one.
        """
        with tracking_errors(self._settings):
            if (made := self._made(run_id, tags[CHECKSUM_TAG])) is not None:
                return made
            self._client.log_artifacts(run_id, str(folder), BUNDLE_ARTIFACT)
            self._create_model()
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{BUNDLE_ARTIFACT}"
            version = self._client.create_model_version(
                self._name, source=source, run_id=run_id, tags=tags
            )
        return str(version.version)

    def download(self, found: ModelVersion, folder: str) -> Path:
        """Copy a version's bundle from its run into a folder; where it is there."""
        with tracking_errors(self._settings):
            return Path(self._client.download_artifacts(str(found.run_id), BUNDLE_ARTIFACT, folder))

    def _made(self, run_id: str, checksum: str) -> str | None:
        """The version that a run has made of the bundle with this checksum."""
        where = f"name = '{self._name}' and run_id = '{run_id}'"
        found = self._client.search_model_versions(where)
        same = [v.version for v in found if v.tags.get(CHECKSUM_TAG) == checksum]
        return str(same[0]) if same else None

    def _create_model(self) -> None:
        """Make the registered model; another search may have been quicker."""
        try:
            self._client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
