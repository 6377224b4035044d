"""What must show of what `bench_serve.py` measured, on two cores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench_loads import Flood, Load
from bench_model import MANY, ONE, REPLICAS, THIS, WHY
from checks import Check, at_least, at_most
from servers import Served

BATCH_CONCURRENCY: Final = 8
ALLOWED: Final = frozenset({"200", "429", "503"})


def checks(loads: Sequence[Load], served: Sequence[Served], flooded: Flood | None) -> list[Check]:
    """What must show, as far as it was measured."""
    found = [*_of_loads({(x.program, x.concurrency, x.asked): x for x in loads})]
    for one in served:
        found += _of_server(one)
    if flooded:
        found += _of_flood(flooded)
    return found


def _of_loads(at: Mapping[tuple[str, int, str], Load]) -> Iterator[Check]:
    this, pickled = at.get((THIS, 1, ONE)), at.get(("pickled", 1, ONE))
    if this and pickled:
        yield at_most("p50 at 1, to the pickled pipeline", this.p50_ms / pickled.p50_ms, 0.15)
    for program in REPLICAS:
        this = at.get((program, 32, ONE))
        for rival, bound in (("pickled", 15.0), ("onnx", 0.6)):
            other = at.get((rival, 32, ONE))
            if this and other:
                ratio = this.requests_per_s / other.requests_per_s
                yield at_least(f"{program}: requests/s at 32, to {rival}", ratio, bound)
    if batch := at.get((THIS, BATCH_CONCURRENCY, MANY)):
        yield at_least("patients/s in batches", batch.patients_per_s, 20_000.0)
    if explained := at.get((THIS, 1, WHY)):
        yield at_most("p50 of an explanation at 1, ms", explained.p50_ms, 15.0)


def _of_server(one: Served) -> Iterator[Check]:
    if one.program == THIS:
        yield at_most("seconds to the first answer", one.first_answer_s, 15.0)
        yield at_most("MB of a replica", one.replica_mb or math.nan, 300.0)
    if one.replacement_s is not None:
        yield at_most("seconds from a replica's kill to another", one.replacement_s, 3.0)


def _of_flood(flooded: Flood) -> Iterator[Check]:
    strange = sum(n for status, n in flooded.statuses.items() if status not in ALLOWED)
    yield at_most("flooded: answers but 200, 429, 503", strange, 0.0)
    yield at_most("flooded: requests without an answer", flooded.broken, 0.0)
    yield at_most("flooded: replicas that ended", flooded.restarted, 0.0)
    yield at_most(
        "flooded: memory of the replica, to before", flooded.most_mb / flooded.before_mb, 2.0
    )
    if flooded.refused_p50_ms is not None:
        yield at_most("flooded: p50 of a refusal, ms", flooded.refused_p50_ms, 50.0)
    ratio = flooded.after_p50_ms / flooded.before_p50_ms
    yield at_most("flooded: p50 of one client after, to before", ratio, 2.0)
