"""The command under test, and the versions that it is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from heart.files import sha256
from heart.registry import Registry
from heart.store import connect
from heart.versions import CHAMPION, CHECKSUM_TAG
from kuberay import manifests
from kuberay.waiting import Pace

OVERLAY = Path(__file__).parent / "overlay.yaml"
FAST = Pace(look_s=0.2, patience=0.0, again_s=0.02, request_s=2.0)


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def version(
    registry: Registry, folder: Path, *, files: dict[str, bytes] | None = None, **metadata: object
) -> str:
    """Register the champion's bundle again, with other files and metadata."""
    champion = registry.champion()
    assert champion is not None
    shutil.copytree(next(registry.settings.bundles.glob("1-*")), folder)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    changed = champion.metadata.model_copy(update=metadata)
    (folder / "metadata.json").write_text(changed.model_dump_json())
    client = connect(registry.settings)
    run = client.create_run(client.get_experiment_by_name("heart").experiment_id)
    made = registry.register(run.info.run_id, folder)
    checksum = sha256((folder / "metadata.json").read_bytes())
    assert client.get_model_version("heart", made).tags[CHECKSUM_TAG] == checksum
    return made


NAMED = (
    "model: null",
    f"model: {{version: '7', uri: /srv/bundles/7, sha256: {'a' * 64}}}",
)
"""A change of the overlay that names the model, so that none has to be found."""


def dethroned(registry: Registry) -> MlflowClient:
    """A client of the registry, whose champion is none any more."""
    client = connect(registry.settings)
    client.delete_registered_model_alias("heart", CHAMPION)
    return client


def without(folder: Path, kind: str) -> str:
    """The overlay without a kind of object."""
    path = folder / f"without-{kind}.yaml"
    parts = OVERLAY.read_text().split("---\n")
    path.write_text("---\n".join(part for part in parts if f"kind: {kind}\n" not in part))
    return str(path)


def changed(folder: Path, *changes: tuple[str, str]) -> str:
    """The overlay with some of its text replaced."""
    path, text = folder / "changed.yaml", OVERLAY.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


def secrets_folder(tmp_path: Path, *, made: bool = True) -> Path:
    """A folder of secrets like the project's, with the files that its script makes or without."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    shutil.copy(manifests.SECRETS / "kustomization.yaml", folder)
    for name in manifests.secret_names() if made else ():
        (folder / f"{name}.env").write_text("auth_token=x\n")
    return folder
