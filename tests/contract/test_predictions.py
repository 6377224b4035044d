"""Any patient whom the document allows is judged, and as the bundle judges."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heart.attribute import Attribute
from heart.attributes import ATTRIBUTES, parse_table
from heart.bundle import Bundle
from heart.errors import HeartError

REPEATED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def values(attribute: Attribute) -> st.SearchStrategy[Any]:
    """What one attribute may be: a number in range, a code or its word, or missing."""
    if attribute.words:
        known = st.sampled_from([*attribute.words, *attribute.words.values()])
    else:
        low, high = attribute.low, attribute.high
        known = st.floats(low, high) | st.integers(int(low), int(high))
    if attribute.zero_is_missing:
        known |= st.just(0)
    return known if attribute.required else known | st.none()


PATIENTS = st.fixed_dictionaries(
    {a.name: values(a) for a in ATTRIBUTES if a.required},
    optional={a.name: values(a) for a in ATTRIBUTES if not a.required},
)


def check(client: httpx.Client, bundle: Bundle, patients: list[dict[str, Any]]) -> None:
    answer = client.post("/predict/batch", json={"patients": patients})
    assert answer.status_code == 200, answer.text
    found = [verdict["probability"] for verdict in answer.json()["predictions"]]
    rows = [row for row in parse_table(patients) if not isinstance(row, HeartError)]
    assert len(rows) == len(patients)
    assert found == bundle.predict(rows).tolist()
    assert all(0 <= probability <= 1 for probability in found)
    alone = client.post("/predict", json=patients[0]).json()
    assert alone["probability"] == pytest.approx(found[0], abs=1e-7)


@given(patients=st.lists(PATIENTS, min_size=1, max_size=50))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=REPEATED)
def test_any_patient(client: httpx.Client, bundle: Bundle, patients: list[dict[str, Any]]) -> None:
    check(client, bundle, patients)


@pytest.mark.long
@given(patients=st.lists(PATIENTS, min_size=1, max_size=200))
@settings(max_examples=1000, deadline=None, suppress_health_check=REPEATED)
def test_many_patients(
    client: httpx.Client, bundle: Bundle, patients: list[dict[str, Any]]
) -> None:
    check(client, bundle, patients)
