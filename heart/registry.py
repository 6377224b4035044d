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
from heart.store import check_database
from heart.versions import ALIASES, CHALLENGER, CHAMPION, CHECKSUM_TAG, PREVIOUS, Version, Versions

ANY: Final = object()
"""No champion in particular: for a promotion that was judged against none."""
REASON_TAG: Final = "promotion_reason"


@dataclass(frozen=True)
class Aliases:
    """The versions that are champion now and were before; None where there is none."""

    champion: str | None
    previous: str | None


class Registry:
    """The versions of one registered model. Every method raises `TrackingError` as well."""

    def __init__(self, client: MlflowClient, settings: Settings) -> None:
        self._settings = settings
        self._versions = Versions(client, settings)

    def register(self, run_id: str, folder: Path) -> str:
        """Keep a bundle's folder with its run and make a version of it; its number.

        A bundle that is a version already, since a search was cut off after it made it, stays
        that one.
        """
        bundle = load_bundle(folder, version="unregistered")
        lineage = bundle.metadata.lineage.model_dump(exclude={"packages"})
        tags = {key: str(value) for key, value in lineage.items()} | lineage_tags(bundle)
        tags[CHECKSUM_TAG] = _checksum(folder)
        return self._versions.make(run_id, folder, tags)

    @property
    def settings(self) -> Settings:
        """Where this registry is."""
        return self._settings

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        return self._versions.all()

    def resolve(self, named: str) -> str:
        """The number of a version that is named by number or alias; raises `RegistryError`."""
        if named not in ALIASES:
            return str(self._versions.find(named).version)
        version = self._versions.named(named)
        if version is None:
            raise RegistryError(f"no version is {named}", field="version")
        return version

    def source(self, version: str) -> str:
        """Where MLflow keeps a version's bundle: a URI of its folder."""
        return str(self._versions.find(version).source)

    def champion(self) -> Bundle | None:
        """The champion's bundle, or None where no version has the alias yet."""
        version = self._versions.named(CHAMPION)
        return None if version is None else self.load(version)

    def load(self, version: str) -> Bundle:
        """A version's bundle, verified; fetched from its run where it is not here yet."""
        with locked(self._settings.home.resolve() / ".registry.lock"):
            return self._publish(self._versions.find(version))

    def reference(self, version: str) -> Reference:
        """Where a version's bundle is on this machine, verified and fetched as `load` does."""
        self.load(version)
        return reference_of(self._folder(self._versions.find(version)), version)

    def challenge(self, version: str) -> None:
        """Give a version that was not promoted the alias ``challenger``."""
        self._versions.name(CHALLENGER, version)

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
            found = self._versions.find(version)
            self._publish(found)
            previous = before.previous if before.champion == version else before.champion
            self._move(Aliases(champion=version, previous=previous))
            self._versions.tag(version, REASON_TAG, reason)
            if self._versions.named(CHALLENGER) == version:
                self._versions.name(CHALLENGER, None)
            self._log("promote", before, version=version, reason=reason, forced=forced)

    def rollback(self, *, reason: str) -> str:
        """Make ``previous`` champion again, the champion ``previous``; the version's number."""
        with self._transaction() as before:
            if before.previous is None:
                raise PromotionError("there is no previous champion to go back to")
            self._publish(self._versions.find(before.previous))
            self._move(Aliases(champion=before.previous, previous=before.champion))
            self._log("rollback", before, version=before.previous, reason=reason, forced=False)
        return before.previous

    def aliases(self) -> Aliases:
        """Which versions are champion and previous."""
        named = self._versions.named
        return Aliases(champion=named(CHAMPION), previous=named(PREVIOUS))

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
        for alias, version in ((PREVIOUS, to.previous), (CHAMPION, to.champion)):
            self._versions.name(alias, version)
        if to.champion is None:
            remove_champion(self._settings.bundles)
            return
        found = self._versions.find(to.champion)
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
            copy = self._versions.download(found, aside)
            _load(copy, found)
            for name in (MODEL_FILE, EVALUATION_FILE, METADATA_FILE):
                write_whole(folder / name, (copy / name).read_bytes())


def _load(folder: Path, found: ModelVersion) -> Bundle:
    """A version's bundle, held against the checksum that it was registered with."""
    expected = found.tags.get(CHECKSUM_TAG)
    return load_bundle(folder, version=str(found.version), metadata_sha256=expected)


def _checksum(folder: Path) -> str:
    return sha256((folder / METADATA_FILE).read_bytes())


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
