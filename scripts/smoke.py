"""Is the service at an address the service it should be? For a process, a container, a cluster.

``python scripts/smoke.py http://127.0.0.1:8000`` asks for the example patient, holds the answers
of /predict, /predict/batch and /explain against each other and, with ``--expect``, ``--home`` or
``--tracking-uri``, against the known one; looks at health, readiness, errors, metrics and the
page; and with ``--prometheus`` asks Prometheus whether it reaches the service. Exit code 0 if all
is well, 1 if not, 2 where nobody answers.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from heart.attributes import ATTRIBUTES, NAMES
from heart.bundle import Bundle, load_champion
from heart.errors import HeartError, UsageError, run_main
from heart.settings import Settings, keep_private

NEAR: Final = 1e-5
"""How near a probability must come to the known one: what ONNX parity is held to as well."""
SAME: Final = 1e-6
"""How near two answers of one graph about one patient come: rows alone and in batches."""
ANSWER_S: Final = 10.0
REPORTED_S: Final = 15.0
"""How old a node's metrics may be: its report of them, and the replica's to it."""
AGAIN_S: Final = 0.5
PATIENT: Final = {a.name: a.example for a in ATTRIBUTES}
REQUEST_ID: Final = "smoke-test-1"
SERIES: Final = "heart_api_requests_total"
TARGETS: Final = 'up{job="heart"}'
"""What the PodMonitors and `make monitoring` call the service."""


class FailedError(Exception):
    """Something that is not as it should be."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; raises `FailedError`."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise FailedError(f"{self.status} without JSON: {self.body[:80]!r}") from None


@dataclass(frozen=True)
class Service:
    """Where the service is, and the key that it asks for."""

    url: str
    key: str | None

    def ask(self, path: str, body: object = None, *, status: int = 200) -> Answer:
        """One request; raises `FailedError` where another status comes back."""
        answer = fetch(f"{self.url}{path}", body, key=self.key)
        if answer.status != status:
            hint = " (it asks for a key: --key-file)" if answer.status in (401, 403) else ""
            said = answer.body[:200].decode(errors="replace")
            raise FailedError(f"{path} answers {answer.status}, not {status}{hint}: {said}")
        return answer

    def predict(self) -> dict[str, Any]:
        """The answer for the example patient."""
        found: dict[str, Any] = self.ask("/predict", PATIENT).json
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything, a line each; the exit code."""
    keep_private()
    given = _options(arguments)
    if given.url is None:
        return 0 if _check("targets", lambda: targets(given.prometheus, seconds=given.wait)) else 1
    service = Service(given.url.rstrip("/"), _key(given))
    if not _answers(service, given.wait):
        raise HeartError(
            f"nobody answers at {service.url}: is the service up, and the address right?"
        )
    checks: list[tuple[str, Callable[[], str]]] = [
        ("health", lambda: health(service)),
        ("ready", lambda: ready(service, seconds=given.wait)),
        ("predict", lambda: predict(service)),
        ("known answer", lambda: known(service, given)),
        ("batch", lambda: batch(service)),
        ("explain", lambda: explain(service)),
        ("errors", lambda: errors(service)),
        ("metrics", lambda: metrics(service)),
        ("page", lambda: page(service)),
    ]
    if given.prometheus:
        checks.append(("targets", lambda: targets(given.prometheus, seconds=given.wait)))
    passed = [_check(name, check) for name, check in checks]
    return 0 if all(passed) else 1


def health(service: Service) -> str:
    """The process lives."""
    told = service.ask("/health").json
    require(told.get("status") == "ok", f"/health says {told}")
    return f"model version {told['model_version']}"


def ready(service: Service, *, seconds: float) -> str:
    """A model is loaded, or comes in time."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return f"model version {service.ask('/ready').json['model_version']}"
        except FailedError:
            if time.monotonic() >= ends:
                raise
            time.sleep(AGAIN_S)


def predict(service: Service) -> str:
    """The example patient is judged, and the caller's request id comes back."""
    answer = service.ask("/predict", PATIENT)
    told = answer.json
    probability = told["probability"]
    require(0 <= probability <= 1, f"the probability is {probability}")
    require(told["imputed"] == [], f"{told['imputed']} were imputed, though given")
    found = answer.headers.get("x-request-id")
    require(found == REQUEST_ID, f"X-Request-ID is {found}, {REQUEST_ID} was sent")
    return f"probability {probability:.6f}, {told['decision']}"


def known(service: Service, given: argparse.Namespace) -> str:
    """The probability is the known one: given, or that of the bundle here or in MLflow."""
    told = service.predict()
    expect: float | None = given.expect
    if given.home is not None:
        expect = of_champion(given.home, version=told["model_version"], run_id=told["run_id"])
    if given.tracking_uri is not None:
        expect = of_registry(given.tracking_uri, version=told["model_version"])
    if expect is None:
        return "not asked for: --expect, --home or --tracking-uri says what it is"
    off = abs(told["probability"] - expect)
    require(off <= NEAR, f"probability {told['probability']:.8f}, known is {expect:.8f}")
    return f"{expect:.6f}, off by {off:.1e}"


def of_champion(home: Path, *, version: str, run_id: str) -> float:
    """What the champion of a HEART_HOME says of the example patient; it must be what is served."""
    bundle = load_champion(home / "bundles")
    if bundle is None:
        raise FailedError(f"{home} has no champion to compare with")
    here = bundle.metadata.lineage.run_id
    require(here == run_id, f"version {version} is of run {run_id}, the champion here of {here}")
    return of_bundle(bundle)


def of_registry(uri: str, *, version: str) -> float:
    """What a version in MLflow, fetched and verified, says of the example patient."""
    # MLflow takes seconds to import, and a known answer of another kind needs none of it.
    from heart.registry import Registry
    from heart.store import connect

    with tempfile.TemporaryDirectory(prefix="smoke-") as home:
        settings = Settings(home=Path(home), tracking_uri=uri)
        return of_bundle(Registry(connect(settings), settings).load(version))


def of_bundle(bundle: Bundle) -> float:
    """What a bundle says of the example patient."""
    (probability,) = bundle.predict([[PATIENT[name] for name in NAMES]])
    return float(probability)


def batch(service: Service) -> str:
    """The same patient three times in a batch, and one that is wrong between them."""
    alone = service.predict()["probability"]
    patients = [PATIENT, {**PATIENT, "thal": 99}, PATIENT]
    told = service.ask("/predict/batch", {"patients": patients}).json["predictions"]
    require([one["index"] for one in told] == [0, 1, 2], "the answers are not in order")
    require("error" in told[1], "thal 99 was judged")
    for one in (told[0], told[2]):
        off = abs(one["probability"] - alone)
        require(off <= SAME, f"alone {alone:.8f}, in a batch {one['probability']:.8f}")
    return "as alone"


def explain(service: Service) -> str:
    """The contributions add up to what /predict says."""
    alone = service.predict()["probability"]
    told = service.ask("/explain", PATIENT).json
    require(set(told["contributions"]) == set(NAMES), "some attribute has no contribution")
    require(abs(told["probability"] - alone) <= SAME, "it judges otherwise than /predict")
    total = told["base_probability"] + math.fsum(told["contributions"].values())
    require(abs(total - alone) <= SAME, f"contributions add up to {total:.8f}, not {alone:.8f}")
    largest = max(told["contributions"], key=lambda name: abs(told["contributions"][name]))
    return f"{told['method']}, most by {largest}"


def errors(service: Service) -> str:
    """A value of the other coding is refused, and in the one shape of errors."""
    told = service.ask("/predict", {**PATIENT, "thal": 2}, status=422).json["error"]
    require(told["code"] == "invalid_value", f"the code is {told['code']}")
    require(told["field"] == "thal", f"the field is {told['field']}")
    return "thal 2 is refused"


def metrics(service: Service) -> str:
    """The series of the service are there, or come with the next report of the nodes."""
    ends = time.monotonic() + REPORTED_S
    text = service.ask("/metrics").body.decode()
    while SERIES not in text:
        require(time.monotonic() < ends, f"/metrics has no {SERIES}")
        time.sleep(AGAIN_S)
        text = service.ask("/metrics").body.decode()
    return f"{sum(not line.startswith('#') for line in text.splitlines())} series"


def page(service: Service) -> str:
    """The page is there, with a field for each attribute."""
    answer = service.ask("/")
    text = answer.body.decode()
    kind = answer.headers.get("content-type", "")
    require(kind.startswith("text/html"), f"the page is {kind}")
    missing = [name for name in NAMES if f'name="{name}"' not in text]
    require(not missing, f"the page has no field for {', '.join(missing)}")
    return f"{len(NAMES)} fields"


def targets(url: str, *, seconds: float) -> str:
    """Prometheus reaches every target of the service; it takes a scrape to know of a new one."""
    query = urllib.parse.urlencode({"query": TARGETS})
    ends = time.monotonic() + seconds
    while True:
        found = fetch(f"{url.rstrip('/')}/api/v1/query?{query}", None, key=None).json["data"][
            "result"
        ]
        down = [one["metric"].get("instance", "?") for one in found if one["value"][1] != "1"]
        if found and not down:
            return f"{len(found)} up"
        if time.monotonic() >= ends:
            told = f"down: {', '.join(down)}" if down else f"none of {TARGETS}"
            raise FailedError(f"targets of {url}: {told}")
        time.sleep(AGAIN_S)


def require(held: bool, otherwise: str) -> None:
    """Raise `FailedError` for what does not hold."""
    if not held:
        raise FailedError(otherwise)


def fetch(url: str, body: object, *, key: str | None) -> Answer:
    """One request and its answer, whatever the status; raises `FailedError` where none comes."""
    headers = {"Content-Type": "application/json", "X-Request-ID": REQUEST_ID}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return _answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return _answer(error.code, error.headers, error.read())
    except (OSError, ValueError) as error:
        raise FailedError(f"{url} does not answer: {getattr(error, 'reason', error)}") from None


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, body)


def _answers(service: Service, seconds: float) -> bool:
    """Whether anybody answers, now or in time."""
    ends = time.monotonic() + seconds
    while True:
        try:
            fetch(f"{service.url}/health", None, key=None)
        except FailedError:
            if time.monotonic() >= ends:
                return False
            time.sleep(AGAIN_S)
        else:
            return True


def _check(name: str, check: Callable[[], str]) -> bool:
    try:
        told, passed = check(), True
    except (FailedError, HeartError) as error:
        told, passed = str(error), False
    except (LookupError, TypeError, UnicodeDecodeError) as error:
        told, passed = f"the answer has another form: {error!r}", False
    print(f"{'ok  ' if passed else 'FAIL'} {name}: {told}", flush=True)
    return passed


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Is the service at an address the service it should be?", allow_abbrev=False
    )
    parser.add_argument("url", nargs="?", help="http://HOST:PORT or https://HOST")
    parser.add_argument("--key-file", type=Path, help="file that holds the API key")
    parser.add_argument("--expect", type=float, help="the example patient's known probability")
    parser.add_argument("--home", type=Path, help="HEART_HOME whose champion must be served")
    parser.add_argument("--tracking-uri", help="the MLflow that has the version which is served")
    parser.add_argument("--prometheus", help="address of the Prometheus that scrapes it")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for what is late")
    given = parser.parse_args(arguments)
    for url in filter(None, (given.url, given.prometheus)):
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"an address begins with http:// or https://, got {url}", field="url")
    if given.url is None and given.prometheus is None:
        raise UsageError("name the service's address, or --prometheus, or both", field="url")
    return given


def _key(given: argparse.Namespace) -> str | None:
    return given.key_file.read_text().strip() if given.key_file else None


if __name__ == "__main__":
    sys.exit(run_main(main))
