"""The registry on a real database: versions, the champion and the pointer, and what goes wrong."""

from __future__ import annotations

import http.server
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from heart import promotions
from heart.bundle import (
    CHAMPION_FILE,
    EVALUATION_FILE,
    METADATA_FILE,
    MODEL_FILE,
    Champion,
    load_champion,
    read_champion,
    save_bundle,
)
from heart.errors import (
    BundleError,
    HeartError,
    PromotionError,
    RegistryError,
    StorageError,
    TrackingError,
)
from heart.files import locked
from heart.metadata import Metadata
from heart.registry import REASON_TAG, Aliases, Registry
from heart.settings import Settings
from heart.store import connect, experiment_id, tracking_errors
from heart.versions import CHALLENGER, CHAMPION, PREVIOUS
from tests.heart.conftest import EVALUATION
from tune.result import Result

LONGEST_WAIT_S = 10.0
REASON = {"reason": "better"}
PROMOTE = """
import sys
from heart.registry import Registry
from heart.settings import Settings
from heart.store import connect
settings = Settings(home=sys.argv[1])
registry = Registry(connect(settings), settings)
print("ready", flush=True)
for line in sys.stdin:
    registry.promote(sys.argv[2], reason="its turn")
    print("promoted", flush=True)
"""


class Store:
    """A registry in a home, with bundles to put in."""

    def __init__(self, settings: Settings, graph: bytes, metadata: Metadata) -> None:
        self.settings, self.client = settings, connect(settings)
        self.registry = Registry(self.client, settings)
        self.graph, self.metadata = graph, metadata

    def register(self, threshold: float = 0.5) -> str:
        """A new run with a bundle; the version that became of it."""
        run = self.client.create_run(experiment_id(self.client, self.settings))
        return self.register_of(str(run.info.run_id), threshold)

    def register_of(self, run_id: str, threshold: float = 0.5) -> str:
        """Register a bundle with a run that is there; the version that it is."""
        lineage = self.metadata.lineage.model_copy(update={"run_id": run_id})
        metadata = self.metadata.model_copy(update={"lineage": lineage, "threshold": threshold})
        folder = self.settings.home / "search" / run_id
        save_bundle(folder, self.graph, metadata, evaluation=EVALUATION)
        return self.registry.register(run_id, folder)

    def alias(self, name: str) -> str:
        model = self.settings.model_name
        return str(self.client.get_model_version_by_alias(model, name).version)

    def folder(self, version: str) -> Path:
        """Where a version's bundle is published."""
        (found,) = self.settings.bundles.glob(f"{version}-*")
        return found


@pytest.fixture
def store(stored: Settings, graph: bytes, metadata: Metadata) -> Store:
    return Store(stored, graph, metadata)


def served(store: Store) -> str | None:
    """The version that the service would load, all its checks included."""
    bundle = load_champion(store.settings.bundles)
    return None if bundle is None else bundle.version


def test_versions_count_up_and_none_is_champion_unasked(store: Store) -> None:
    assert [store.register(), store.register()] == ["1", "2"]
    assert store.registry.champion() is None
    assert read_champion(store.settings.bundles) is None


def test_a_bundle_that_is_a_version_already_stays_that_one(store: Store) -> None:
    first = store.register()
    run_id = str(store.client.get_model_version("heart", first).run_id)
    assert store.register_of(run_id) == first
    assert store.register_of(run_id, threshold=0.4) == "2", "another bundle of the same run"
    assert store.register() == "3", "another run"
    assert len(store.registry.versions()) == 3


def test_a_version_tells_its_lineage(store: Store) -> None:
    version = store.client.get_model_version("heart", store.register())
    assert version.tags | {"metadata_sha256": "", "run_id": ""} == {
        "run_id": "",
        "metadata_sha256": "",
        "search": "search",
        "cohort": "all",
        "space": "default",
        "data_sha256": store.metadata.lineage.data_sha256,
        "code_version": "1.2.3",
        "seed": "42",
        "split_seed": "7",
        "test_size": "0.2",
        "family": "logistic_regression",
        "params": "{'C': 0.1}",
        "cv_roc_auc": "0.900 [0.880, 0.920]",
        "test_roc_auc": "0.900 [0.880, 0.920]",
        "packages": "numpy 2.0, onnx 1.0",
    }
    assert version.tags["run_id"] == version.run_id


def test_a_promotion_moves_the_alias_and_the_pointer(store: Store) -> None:
    version = store.register()
    store.registry.promote(version, reason="it is the first")
    assert (store.alias(CHAMPION), served(store)) == (version, version)
    tags = store.client.get_model_version("heart", version).tags
    assert tags[REASON_TAG] == "it is the first"
    champion = store.registry.champion()
    assert champion is not None
    assert champion.metadata.lineage.run_id == tags["run_id"]


def test_the_champion_before_is_kept_as_previous(store: Store) -> None:
    first, second, third = store.register(), store.register(0.4), store.register(0.3)
    for version in (first, second, third):
        store.registry.promote(version, reason="better")
    assert (store.alias(CHAMPION), store.alias(PREVIOUS), served(store)) == (third, second, third)
    store.registry.promote(second, reason="rolled back")
    assert (store.alias(CHAMPION), store.alias(PREVIOUS), served(store)) == (second, third, second)


def test_a_promotion_again_changes_nothing(store: Store) -> None:
    first, second = store.register(), store.register()
    store.registry.promote(first, reason="first")
    store.registry.promote(second, reason="second")
    store.registry.promote(second, reason="again")
    assert (store.alias(CHAMPION), store.alias(PREVIOUS), served(store)) == (second, first, second)


@pytest.mark.parametrize("version", ["99", "0", "01", "-1", "best", ""])
def test_an_unknown_version_is_named(store: Store, version: str) -> None:
    store.registry.promote(store.register(), reason="first")
    for act in (store.registry.load, lambda v: store.registry.promote(v, reason="")):
        with pytest.raises(RegistryError, match=f"^heart has no version {version}$"):
            act(version)
    assert (store.alias(CHAMPION), served(store)) == ("1", "1")


def test_deleted_bundles_are_fetched_again(store: Store) -> None:
    version = store.register(0.3)
    store.registry.promote(version, reason="first")
    shutil.rmtree(store.settings.bundles)
    assert store.registry.load(version).metadata.threshold == 0.3
    assert {path.name for path in store.folder(version).iterdir()} == {
        MODEL_FILE,
        EVALUATION_FILE,
        METADATA_FILE,
    }
    store.registry.promote(version, reason="again")
    assert served(store) == version


def test_a_bundle_cut_off_while_it_was_published_is_fetched_again(store: Store) -> None:
    version = store.register()
    store.registry.load(version)
    (store.folder(version) / METADATA_FILE).unlink()
    (store.folder(version) / MODEL_FILE).write_bytes(b"half")
    assert store.registry.load(version).version == version


def test_a_search_that_is_deleted_takes_no_version_with_it(store: Store) -> None:
    version = store.register()
    shutil.rmtree(store.settings.home / "search")
    store.registry.promote(version, reason="first")
    assert served(store) == version


@pytest.mark.parametrize("name", [MODEL_FILE, METADATA_FILE])
def test_a_damaged_bundle_is_not_promoted(store: Store, name: str) -> None:
    first, second = store.register(), store.register()
    store.registry.promote(first, reason="first")
    store.registry.load(second)
    path = store.folder(second) / name
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.9").replace(b"thal", b"thai"))
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        store.registry.promote(second, reason="better")
    assert (store.alias(CHAMPION), served(store)) == (first, first)


def test_a_damaged_artefact_does_not_reach_the_bundles(store: Store) -> None:
    version = store.register()
    (artefact,) = (store.settings.home / "mlruns").rglob(MODEL_FILE)
    artefact.write_bytes(artefact.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{MODEL_FILE} is damaged"):
        store.registry.promote(version, reason="first")
    assert not store.settings.bundles.exists()
    assert store.registry.champion() is None


def test_a_version_whose_files_are_gone_is_an_error_of_the_store(store: Store) -> None:
    version = store.register()
    shutil.rmtree(store.settings.home / "mlruns")
    with pytest.raises(TrackingError, match="does not answer"):
        store.registry.load(version)
    assert not store.settings.bundles.exists()


def test_a_damaged_folder_is_not_registered(store: Store) -> None:
    folder = store.settings.home / "search" / "run"
    save_bundle(folder, b"other", store.metadata, evaluation=EVALUATION)
    with pytest.raises(BundleError, match="damaged"):
        store.registry.register("0" * 32, folder)
    assert store.client.search_registered_models() == []


def test_another_home_fetches_and_leaves_the_artefacts(store: Store, tmp_path: Path) -> None:
    version = store.register(0.3)
    other = Settings(home=tmp_path / "other", tracking_uri=store.settings.resolved_tracking_uri)
    registry = Registry(connect(other), other)
    registry.promote(version, reason="from elsewhere")
    champion = load_champion(other.bundles)
    assert champion is not None
    assert champion.metadata.threshold == 0.3
    assert store.registry.load(version).metadata.threshold == 0.3


def test_models_of_other_names_are_kept_apart(store: Store) -> None:
    store.registry.promote(store.register(), reason="first")
    other = store.settings.model_copy(update={"model_name": "other"})
    assert Registry(store.client, other).champion() is None


def test_a_promotion_waits_for_one_under_way(store: Store) -> None:
    version = store.register()
    promotion = threading.Thread(target=store.registry.promote, args=[version], kwargs=REASON)
    with locked(store.settings.home / ".registry.lock"):
        promotion.start()
        promotion.join(0.7)
        assert promotion.is_alive()
        assert read_champion(store.settings.bundles) is None
    promotion.join()
    assert store.alias(CHAMPION) == served(store) == version


def say(other: subprocess.Popen[str], line: str) -> None:
    assert other.stdin is not None
    other.stdin.write(line)
    other.stdin.flush()


def hear(other: subprocess.Popen[str]) -> str:
    assert other.stdout is not None
    return other.stdout.readline()


@pytest.mark.full
def test_two_that_promote_at_once_leave_alias_and_pointer_alike(store: Store) -> None:
    versions = [store.register(), store.register(0.4)]
    command = [sys.executable, "-c", PROMOTE, str(store.settings.home)]
    others = [
        subprocess.Popen([*command, v], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for v in versions
    ]
    assert [hear(other) for other in others] == ["ready\n"] * 2
    for _ in range(6):
        for other in others:
            say(other, "go\n")
        assert [hear(other) for other in others] == ["promoted\n"] * 2
        assert store.alias(CHAMPION) == served(store)
    for other in others:
        other.communicate(timeout=30)
    assert {store.alias(CHAMPION), store.alias(PREVIOUS)} == set(versions)


def test_registering_at_once_gives_each_a_version(store: Store) -> None:
    experiment_id(store.client, store.settings)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.register())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["1", "2", "3", "4"]


def told(error: HeartError) -> str:
    """The message, which must be one line."""
    assert "\n" not in error.message
    return error.message


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "artifacts"
    home.mkdir()
    (home / "mlflow.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(TrackingError) as error:
        connect(Settings(home=home))
    assert told(error.value) == (
        f"the MLflow store sqlite:///{home}/mlflow.db does not answer: file is not a database"
    )
    assert (home / "mlflow.db").read_bytes() == b"garbage" * 1000


@pytest.fixture
def lock(store: Store) -> Iterator[None]:
    """Somebody else's transaction on the database."""
    with closing(sqlite3.connect(store.settings.home / "mlflow.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.full
@pytest.mark.usefixtures("lock")
def test_a_locked_database_is_told_soon(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with pytest.raises(TrackingError, match="database is locked") as error:
        connect(store.settings)
    assert time.monotonic() - started < LONGEST_WAIT_S
    assert told(error.value)
    assert capfd.readouterr().err == ""


def test_a_promotion_on_a_locked_database_moves_nothing(store: Store) -> None:
    first, second = store.register(), store.register()
    store.registry.promote(first, reason="first")
    with closing(sqlite3.connect(store.settings.home / "mlflow.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(TrackingError, match="database is locked"):
            store.registry.promote(second, reason="better")
        assert time.monotonic() - started < LONGEST_WAIT_S
    assert (store.alias(CHAMPION), served(store)) == (first, first)


@pytest.mark.parametrize("inside", ["", "deep"])
def test_a_home_that_is_a_file_is_named(tmp_path: Path, inside: str) -> None:
    (tmp_path / "artifacts").write_text("")
    home = tmp_path / "artifacts" / inside
    with pytest.raises(StorageError) as error:
        connect(Settings(home=home))
    assert told(error.value) == f"{home}/.mlflow.lock cannot be written: Not a directory"


def test_a_pointer_that_cannot_be_written_is_told(store: Store) -> None:
    version = store.register()
    (store.settings.bundles / CHAMPION_FILE).mkdir(parents=True)
    with pytest.raises(StorageError, match=f"{CHAMPION_FILE} cannot be written: Is a directory"):
        store.registry.promote(version, reason="first")
    assert store.registry.aliases() == Aliases(champion=None, previous=None)


def test_a_step_that_fails_moves_everything_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = store.register(), store.register(), store.register()
    store.registry.promote(first, reason="first")
    store.registry.promote(second, reason="second")
    log = store.settings.promotions.read_bytes()
    monkeypatch.setattr(promotions, "append", _refuse)
    with pytest.raises(StorageError, match="no space"):
        store.registry.promote(third, reason="better")
    assert store.registry.aliases() == Aliases(champion=second, previous=first)
    assert served(store) == second
    assert store.settings.promotions.read_bytes() == log


def _refuse(*_: object) -> None:
    raise StorageError("no space left on device")


def test_who_was_judged_against_another_champion_is_told(store: Store) -> None:
    first, second, third = (store.register() for _ in range(3))
    store.registry.promote(first, reason="first", over=None)
    store.registry.promote(second, reason="better than the first", over=first)
    with pytest.raises(PromotionError, match="judged against champion 1, but 2 is champion now"):
        store.registry.promote(third, reason="better than the first", over=first)
    with pytest.raises(PromotionError, match="judged against champion none, but 2"):
        store.registry.promote(third, reason="there was none", over=None)
    assert store.registry.aliases() == Aliases(champion=second, previous=first)


def test_of_two_that_promote_over_the_same_champion_one_is_told(store: Store) -> None:
    first, *rivals = (store.register() for _ in range(5))
    store.registry.promote(first, reason="first")
    outcomes: list[str] = []

    def promote(version: str) -> None:
        try:
            store.registry.promote(version, reason="better", over=first)
            outcomes.append("promoted")
        except PromotionError:
            outcomes.append("told")

    threads = [threading.Thread(target=promote, args=[version]) for version in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["promoted", "told", "told", "told"]
    assert served(store) == store.alias(CHAMPION) in rivals


def test_a_rollback_changes_places(store: Store) -> None:
    first, second = store.register(), store.register()
    store.registry.promote(first, reason="first")
    store.registry.promote(second, reason="better")
    assert store.registry.rollback(reason="it was not") == first
    assert store.registry.aliases() == Aliases(champion=first, previous=second)
    assert served(store) == first


def test_there_may_be_nothing_to_go_back_to(store: Store) -> None:
    with pytest.raises(PromotionError, match="no previous champion"):
        store.registry.rollback(reason="because")
    store.registry.promote(store.register(), reason="first")
    with pytest.raises(PromotionError, match="no previous champion"):
        store.registry.rollback(reason="because")


def test_every_change_of_champion_is_in_the_log(store: Store) -> None:
    first, second = store.register(), store.register()
    store.registry.promote(first, reason="first")
    store.registry.promote(second, reason="though", forced=True)
    store.registry.rollback(reason="it was not")
    told = [
        (p.action, p.version, p.before, p.reason, p.forced)
        for p in promotions.read(store.settings.promotions)
    ]
    assert told == [
        ("promote", first, None, "first", False),
        ("promote", second, first, "though", True),
        ("rollback", first, second, "it was not", False),
    ]


def test_a_challenger_that_is_promoted_challenges_no_more(store: Store) -> None:
    version = store.register()
    store.registry.challenge(version)
    assert store.registry.resolve(CHALLENGER) == version
    store.registry.promote(version, reason="first")
    with pytest.raises(RegistryError, match="no version is challenger"):
        store.registry.resolve(CHALLENGER)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ann:hunter2@db/heart",
        "mysql+nothing://ann:hunter2@db/heart",
        "postgresql:/ann:hunter2@db",
        "nothing://ann:hunter2@db/heart",
        "nothing://db/heart?password=hunter2",
        "http://ann:hunter2@127.0.0.1:9/",
        "mlruns",
    ],
)
def test_a_store_that_cannot_be_opened_is_told_without_the_password(
    tmp_path: Path, uri: str
) -> None:
    settings = Settings(home=tmp_path, tracking_uri=uri)
    with pytest.raises(TrackingError) as error:
        connect(settings)
    assert settings.shown_tracking_uri in told(error.value)
    assert "hunter2" not in error.value.message


def test_a_password_in_the_stores_own_words_is_cut(settings: Settings) -> None:
    with pytest.raises(TrackingError) as error, tracking_errors(settings):
        raise MlflowException("moved to https://ann:hunter2@elsewhere/heart\nin full: …")
    assert told(error.value).endswith("does not answer: moved to https://elsewhere/heart")


def test_a_server_of_something_else_is_told(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(TrackingError, match=f"{uri} does not answer"):
            connect(Settings(home=tmp_path, tracking_uri=uri))
        server.shutdown()


def test_the_experiment_is_made_once_and_keeps_its_files_at_home(store: Store) -> None:
    first = experiment_id(store.client, store.settings)
    assert experiment_id(store.client, store.settings) == first
    location = store.client.get_experiment(first).artifact_location
    assert location == (store.settings.home / "mlruns").as_uri()


def test_what_a_search_registered_is_what_is_served(
    champion_home: Path, champion_result: Result
) -> None:
    settings = Settings(home=champion_home)
    client: MlflowClient = connect(settings)
    version = client.get_model_version_by_alias("heart", CHAMPION)
    pointer = read_champion(settings.bundles)
    assert pointer is not None
    assert pointer == Champion(
        version=str(champion_result.model_version),
        run_id=champion_result.run_id,
        metadata_sha256=version.tags["metadata_sha256"],
    )
    assert str(version.version) == pointer.version
    assert version.tags[REASON_TAG] == champion_result.reason
    assert version.tags["data_sha256"] == champion_result.checksums["data"]
    bundle = Registry(client, settings).champion()
    assert bundle is not None
    assert bundle.metadata.recipe.family == champion_result.winner.family
    assert bundle.metadata.test == champion_result.test
