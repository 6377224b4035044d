"""What must show of what `bench_serve.py` measured, on two cores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bench_loads import Flood, Load
from bench_model import MANY, ONE, REPLICAS, THIS, WHY
from servers import Served

BATCH_CONCURRENCY: Final = 8
ALLOWED: Final = frozenset({"200", "429", "503"})
Side = Literal["at most", "at least"]


@dataclass(frozen=True)
class Check:
    """A figure and its bound."""

    what: str
    found: float
    must_be: Side
    bound: float
    holds: bool


def checks(loads: Sequence[Load], served: Sequence[Served], flooded: Flood | None) -> list[Check]:
    """What must show, as far as it was measured."""
    found = [*_of_loads({(x.program, x.concurrency, x.asked): x for x in loads})]
    for one in served:
        found += _of_server(one)
    if flooded:
        found += _of_flood(flooded)
    return found


def _most(what: str, found: float, bound: float) -> Check:
    return Check(what, found, "at most", bound, found <= bound)


def _least(what: str, found: float, bound: float) -> Check:
    return Check(what, found, "at least", bound, found >= bound)


def _of_loads(at: Mapping[tuple[str, int, str], Load]) -> Iterator[Check]:
    this, pickled = at.get((THIS, 1, ONE)), at.get(("pickled", 1, ONE))
    if this and pickled:
        yield _most("p50 at 1, to the pickled pipeline", this.p50_ms / pickled.p50_ms, 0.15)
    for program in REPLICAS:
        this = at.get((program, 32, ONE))
        for rival, bound in (("pickled", 15.0), ("onnx", 0.6)):
            other = at.get((rival, 32, ONE))
            if this and other:
                ratio = this.requests_per_s / other.requests_per_s
                yield _least(f"{program}: requests/s at 32, to {rival}", ratio, bound)
    if batch := at.get((THIS, BATCH_CONCURRENCY, MANY)):
        yield _least("patients/s in batches", batch.patients_per_s, 20_000.0)
    if explained := at.get((THIS, 1, WHY)):
        yield _most("p50 of an explanation at 1, ms", explained.p50_ms, 15.0)


def _of_server(one: Served) -> Iterator[Check]:
    if one.program == THIS:
        yield _most("seconds to the first answer", one.first_answer_s, 15.0)
        yield _most("MB of a replica", one.replica_mb or math.nan, 300.0)
    if one.replacement_s is not None:
        yield _most("seconds from a replica's kill to another", one.replacement_s, 3.0)


def _of_flood(flooded: Flood) -> Iterator[Check]:
    strange = sum(n for status, n in flooded.statuses.items() if status not in ALLOWED)
    yield _most("flooded: answers but 200, 429, 503", strange, 0.0)
    yield _most("flooded: requests without an answer", flooded.broken, 0.0)
    yield _most("flooded: replicas that ended", flooded.restarted, 0.0)
    yield _most(
        "flooded: memory of the replica, to before", flooded.most_mb / flooded.before_mb, 2.0
    )
    if flooded.refused_p50_ms is not None:
        yield _most("flooded: p50 of a refusal, ms", flooded.refused_p50_ms, 50.0)
    ratio = flooded.after_p50_ms / flooded.before_p50_ms
    yield _most("flooded: p50 of one client after, to before", ratio, 2.0)
