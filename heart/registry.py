"""The registry: versions of the model in MLflow, and which of them is champion.

MLflow holds the versions, their lineage and the alias ``champion``. Replicas do not import
MLflow, so a promotion also publishes the version's bundle: a checked copy under ``bundles/``
and the pointer beside it, which is what the service reads.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.tracking import MlflowClient

from heart import promotions
from heart.bundle import (
    EVALUATION_FILE,
    METADATA_FILE,
    MODEL_FILE,
    Bundle,
    Champion,
    load_bundle,
    remove_champion,
    write_champion,
)
from heart.errors import HeartError, PromotionError, RegistryError, run_main
from heart.files import locked, sha256, write_whole
from heart.promotions import Action, Promotion
from heart.settings import Settings
from heart.sources import Reference, reference_of
from heart.store import check_database, tracking_errors

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous"
ALIASES: Final = (CHAMPION, CHALLENGER, PREVIOUS)
ANY: Final = object()
"""No champion in particular: for a promotion that was judged against none."""
BUNDLE_ARTIFACT: Final = "bundle"
REASON_TAG: Final = "promotion_reason"
CHECKSUM_TAG: Final = "metadata_sha256"


@dataclass(frozen=True)
class Aliases:
    """The versions that are champion now and were before; None where there is none."""

    champion: str | None
    previous: str | None


@dataclass(frozen=True)
class Version:
    """A version with its aliases and what its tags tell."""

    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]


class Registry:
    """The versions of one registered model. Every method raises `TrackingError` as well."""

    def __init__(self, client: MlflowClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._name = settings.model_name

    def register(self, run_id: str, folder: Path) -> str:
        """Keep a bundle's folder with its run and make a version of it; its number.

        A bundle that is a version already, since a search was cut off after it made it, stays
        that one.
        """
        bundle = load_bundle(folder, version="unregistered")
        lineage = bundle.metadata.lineage.model_dump(exclude={"packages"})
        tags = {key: str(value) for key, value in lineage.items()} | lineage_tags(bundle)
        tags[CHECKSUM_TAG] = _checksum(folder)
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

    @property
    def settings(self) -> Settings:
        """Where this registry is."""
        return self._settings

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with tracking_errors(self._settings):
            found = self._client.search_model_versions(f"name = '{self._name}'")
        named = {alias: self._version_of(alias) for alias in ALIASES}
        return [
            Version(
                version=str(version.version),
                aliases=tuple(a for a, of in named.items() if of == str(version.version)),
                tags=dict(version.tags),
            )
            for version in sorted(found, key=lambda v: -int(v.version))
        ]

    def resolve(self, named: str) -> str:
        """The number of a version that is named by number or alias; raises `RegistryError`."""
        if named not in ALIASES:
            return str(self._find(named).version)
        version = self._version_of(named)
        if version is None:
            raise RegistryError(f"no version is {named}", field="version")
        return version

    def source(self, version: str) -> str:
        """Where MLflow keeps a version's bundle: a URI of its folder."""
        return str(self._find(version).source)

    def champion(self) -> Bundle | None:
        """The champion's bundle, or None where no version has the alias yet."""
        version = self._by_alias(CHAMPION)
        return None if version is None else self.load(str(version.version))

    def load(self, version: str) -> Bundle:
        """A version's bundle, verified; fetched from its run where it is not here yet."""
        with locked(self._settings.home.resolve() / ".registry.lock"):
            return self._publish(self._find(version))

    def reference(self, version: str) -> Reference:
        """Where a version's bundle is on this machine, verified and fetched as `load` does."""
        self.load(version)
        return reference_of(self._folder(self._find(version)), version)

    def challenge(self, version: str) -> None:
        """Give a version that was not promoted the alias ``challenger``."""
        with tracking_errors(self._settings):
            self._client.set_registered_model_alias(self._name, CHALLENGER, version)

    def promote(
        self, version: str, *, reason: str, over: str | Any | None = ANY, forced: bool = False
    ) -> None:
        """Make a version champion, and the champion before it ``previous``: all of it, or none.

        ``over`` is the champion that the version was judged against. Raises `PromotionError`
        where another took its place meanwhile.
        """
        with self._transaction() as before:
            if over is not ANY and over != before.champion:
                raise PromotionError(
                    f"version {version} was judged against champion {over or 'none'}, but "
                    f"{before.champion or 'none'} is champion now: judge it again",
                    field="version",
                )
            found = self._find(version)
            self._publish(found)
            previous = before.previous if before.champion == version else before.champion
            self._move(Aliases(champion=version, previous=previous))
            with tracking_errors(self._settings):
                self._client.set_model_version_tag(self._name, version, REASON_TAG, reason)
                if self._version_of(CHALLENGER) == version:
                    self._client.delete_registered_model_alias(self._name, CHALLENGER)
            self._log("promote", before, version=version, reason=reason, forced=forced)

    def rollback(self, *, reason: str) -> str:
        """Make ``previous`` champion again, the champion ``previous``; the version's number."""
        with self._transaction() as before:
            if before.previous is None:
                raise PromotionError("there is no previous champion to go back to")
            self._publish(self._find(before.previous))
            self._move(Aliases(champion=before.previous, previous=before.champion))
            self._log("rollback", before, version=before.previous, reason=reason, forced=False)
        return before.previous

    def aliases(self) -> Aliases:
        """Which versions are champion and previous."""
        return Aliases(champion=self._version_of(CHAMPION), previous=self._version_of(PREVIOUS))

    @contextmanager
    def _transaction(self) -> Iterator[Aliases]:
        """Alone on this home; what was moved is moved back where a step fails."""
        with locked(self._settings.home.resolve() / ".registry.lock"):
            check_database(self._settings)
            before = self.aliases()
            try:
                yield before
            except HeartError:
                if self.aliases() != before:
                    self._move(before)
                raise

    def _move(self, to: Aliases) -> None:
        """Set the aliases, then the pointer that the service reads."""
        with tracking_errors(self._settings):
            for alias, version in ((PREVIOUS, to.previous), (CHAMPION, to.champion)):
                if version is not None:
                    self._client.set_registered_model_alias(self._name, alias, version)
                elif self._version_of(alias) is not None:
                    self._client.delete_registered_model_alias(self._name, alias)
        if to.champion is None:
            remove_champion(self._settings.bundles)
            return
        found = self._find(to.champion)
        write_champion(
            self._settings.bundles,
            Champion(
                version=to.champion,
                run_id=str(found.run_id),
                metadata_sha256=_checksum(self._folder(found)),
            ),
        )

    def _log(
        self, action: Action, before: Aliases, *, version: str, reason: str, forced: bool
    ) -> None:
        promotions.append(
            self._settings.promotions,
            Promotion(
                at=datetime.now(UTC),
                action=action,
                version=version,
                before=before.champion,
                reason=reason,
                forced=forced,
            ),
        )

    def _version_of(self, alias: str) -> str | None:
        found = self._by_alias(alias)
        return None if found is None else str(found.version)

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

    def _by_alias(self, alias: str) -> ModelVersion | None:
        with tracking_errors(self._settings):
            try:
                return self._client.get_model_version_by_alias(self._name, alias)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def _find(self, version: str) -> ModelVersion:
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

    def _folder(self, found: ModelVersion) -> Path:
        return self._settings.bundles / Champion.folder_name(str(found.version), str(found.run_id))

    def _publish(self, found: ModelVersion) -> Bundle:
        """A version's bundle, from a folder of its own under ``bundles/``."""
        folder = self._folder(found)
        if not (folder / METADATA_FILE).exists():
            self._fetch(found, folder)
        return _load(folder, found)

    def _fetch(self, found: ModelVersion, folder: Path) -> None:
        """Copy a version's files from its run: aside first, verified, then into place."""
        with tempfile.TemporaryDirectory() as aside:
            with tracking_errors(self._settings):
                run_id = str(found.run_id)
                copy = Path(self._client.download_artifacts(run_id, BUNDLE_ARTIFACT, aside))
            _load(copy, found)
            for name in (MODEL_FILE, EVALUATION_FILE, METADATA_FILE):
                write_whole(folder / name, (copy / name).read_bytes())


def _load(folder: Path, found: ModelVersion) -> Bundle:
    """A version's bundle, held against the checksum that it was registered with."""
    expected = found.tags.get(CHECKSUM_TAG)
    return load_bundle(folder, version=str(found.version), metadata_sha256=expected)


def _checksum(folder: Path) -> str:
    return sha256((folder / METADATA_FILE).read_bytes())


_ABSENT: Final = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")


def lineage_tags(bundle: Bundle) -> dict[str, str]:
    """What a list of versions shows beside the lineage."""
    metadata = bundle.metadata
    packages = metadata.lineage.packages
    return {
        "family": metadata.recipe.family,
        "params": str(metadata.recipe.params),
        "cv_roc_auc": str(metadata.cv["roc_auc"]),
        "test_roc_auc": str(metadata.test["roc_auc"]),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }


if __name__ == "__main__":
    # Imported here because the commands import this module.
    from heart.registry_command import main

    sys.exit(run_main(main))
