"""The thirteen attributes and the two codings in circulation."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping

import pytest

from heart import attributes, cohorts, errors
from heart.attribute import CODINGS, Coding
from heart.attributes import ATTRIBUTES, BY_NAME, NAMES, parse_patient, parse_table
from heart.errors import InvalidValueError, MissingAttributeError, UnknownAttributeError

PERMUTATION: Mapping[str, Mapping[int, int | None]] = {
    "cp": {0: 4, 1: 2, 2: 3, 3: 1},
    "restecg": {0: 2, 1: 0, 2: 1},
    "slope": {0: 3, 1: 2, 2: 1},
    "thal": {0: None, 1: 6, 2: 3, 3: 7},
    "ca": {0: 0, 1: 1, 2: 2, 3: 3, 4: None},
}
PATIENT: Mapping[str, object] = {a.name: a.example for a in ATTRIBUTES}
Patient = dict[str, object]


def uci_patients() -> list[Patient]:
    """The complete rows of Cleveland, where the other coding comes from."""
    X = cohorts.load("cleveland", treatment="complete").X
    return [{name: float(row[i]) for i, name in enumerate(NAMES)} for row in X.to_numpy()]


def to_kaggle(patient: Patient) -> Patient:
    """The inverse of the permutation, missing left out."""
    inverse: dict[str, dict[object, int]] = {
        name: {uci: code for code, uci in codes.items()} for name, codes in PERMUTATION.items()
    }
    return {
        name: inverse[name][value] if name in inverse else value for name, value in patient.items()
    }


def is_valid(patient: Patient, coding: Coding) -> bool:
    try:
        parse_patient(patient, coding)
    except InvalidValueError:
        return False
    return True


def test_the_thirteen_in_the_order_of_the_table() -> None:
    assert " ".join(NAMES) == (
        "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal"
    )
    assert set(attributes.NUMERIC) == {"age", "trestbps", "chol", "thalach", "oldpeak", "ca"}
    assert set(attributes.NUMERIC) | set(attributes.CATEGORICAL) == set(NAMES)


@pytest.mark.parametrize("cohort", cohorts.COHORTS)
def test_every_row_of_the_data_is_a_valid_patient(cohort: cohorts.CohortName) -> None:
    raw = cohorts.load(cohort, treatment="raw").X
    clean = cohorts.load(cohort).X.to_numpy()
    for i, row in enumerate(raw.to_numpy()):
        given = [None if math.isnan(value) else float(value) for value in row]
        parsed = parse_patient(dict(zip(NAMES, given, strict=True)))
        assert parsed == pytest.approx(list(clean[i]), nan_ok=True, abs=0)


@pytest.mark.parametrize(
    ("name", "code", "uci"),
    [(name, code, uci) for name, codes in PERMUTATION.items() for code, uci in codes.items()],
)
def test_the_other_coding_is_this_permutation(name: str, code: int, uci: int | None) -> None:
    parsed = BY_NAME[name].parse(code, "kaggle")
    assert math.isnan(parsed) if uci is None else parsed == uci


def test_no_other_attribute_is_coded_otherwise() -> None:
    assert {a.name: a.kaggle for a in ATTRIBUTES if a.kaggle} == PERMUTATION


@pytest.mark.parametrize("coding", CODINGS)
def test_words_mean_the_same_in_either_coding(coding: Coding) -> None:
    for attribute in ATTRIBUTES:
        for code, word in attribute.words.items():
            assert attribute.parse(word, coding) == code


def test_each_word_of_an_attribute_stands_for_one_code() -> None:
    for attribute in ATTRIBUTES:
        assert len(set(attribute.words.values())) == len(attribute.words)


def test_a_code_of_the_other_coding_is_refused_with_its_mapping() -> None:
    with pytest.raises(InvalidValueError) as caught:
        BY_NAME["thal"].parse(2)
    assert caught.value.message == (
        "thal must be 3 (normal), 6 (fixed_defect) or 7 (reversible_defect), got 2; "
        '2 is "normal" in the other coding '
        "(0=missing, 1=fixed_defect, 2=normal, 3=reversible_defect): send coding=kaggle"
    )
    assert caught.value.field == "thal"


def test_a_uci_code_sent_as_kaggle_is_refused_with_the_way_back() -> None:
    with pytest.raises(InvalidValueError, match=r"got 7; .*: send coding=uci$"):
        BY_NAME["thal"].parse(7, "kaggle")


def test_a_code_of_neither_coding_names_no_other_coding() -> None:
    with pytest.raises(InvalidValueError, match=r"got 9$"):
        BY_NAME["thal"].parse(9)


def test_a_wrong_word_is_told_the_codes_of_the_coding_it_came_in() -> None:
    with pytest.raises(InvalidValueError, match=r"^slope must be 0 \(downsloping\)"):
        BY_NAME["slope"].parse("steep", "kaggle")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [True, False, "1", "", math.nan, math.inf, -math.inf, 10**400, -(10**5000), 1e308, [1], {}],
    ids=lambda value: str(value)[:20] if not isinstance(value, int) else "int",
)
def test_what_no_attribute_can_be(name: str, value: object) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be ") as caught:
        BY_NAME[name].parse(value)
    assert caught.value.field == name
    assert len(caught.value.message) < 300


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidValueError) as caught:
        BY_NAME["thal"].parse("x" * 10_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [(a.name, a.low, a.high) for a in ATTRIBUTES if not a.words],
)
def test_the_bounds_themselves_are_allowed(name: str, low: float, high: float) -> None:
    attribute = BY_NAME[name]
    assert attribute.parse(low) == low
    assert attribute.parse(high) == high
    for beyond in (low - 0.1, high + 0.1):
        with pytest.raises(InvalidValueError, match=f"from {low:g} to {high:g}"):
            attribute.parse(beyond)


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_missing_only_for_cholesterol_and_pressure(name: str) -> None:
    assert BY_NAME[name].zero_is_missing == (name in {"chol", "trestbps"})


@pytest.mark.parametrize("name", ["chol", "trestbps"])
def test_a_zero_that_stands_for_missing(name: str) -> None:
    assert math.isnan(BY_NAME[name].parse(0))


def test_an_attribute_left_out_is_missing() -> None:
    values = parse_patient({"age": 54, "sex": "male", "cp": "asymptomatic"})
    assert values[:3] == [54, 1, 4]
    assert all(math.isnan(value) for value in values[3:])


@pytest.mark.parametrize("name", ["age", "sex", "cp"])
def test_a_required_attribute(name: str) -> None:
    with pytest.raises(MissingAttributeError, match=f"^{name} is required"):
        parse_patient({**PATIENT, name: None})


def test_an_unknown_attribute() -> None:
    with pytest.raises(UnknownAttributeError, match=r'^"cholesterol" is no attribute'):
        parse_patient({**PATIENT, "cholesterol": 200})


def test_a_translated_table_comes_back_as_it_was() -> None:
    patients = uci_patients()
    as_uci = parse_table(patients)
    assert len(patients) == 297
    assert parse_table([to_kaggle(patient) for patient in patients], "kaggle") == as_uci
    assert as_uci == [list(patient.values()) for patient in patients]


def test_a_table_in_the_other_coding_is_refused_as_a_whole() -> None:
    with pytest.raises(InvalidValueError, match="send coding=kaggle"):
        parse_table([to_kaggle(patient) for patient in uci_patients()])


def test_one_row_of_the_other_coding_condemns_those_that_look_valid() -> None:
    with pytest.raises(InvalidValueError, match="send coding=kaggle"):
        parse_table([PATIENT, PATIENT, {**PATIENT, "thal": 2}])


def test_the_other_coding_is_seen_behind_another_error_of_the_row() -> None:
    with pytest.raises(InvalidValueError, match="send coding=kaggle"):
        parse_table([PATIENT, {**PATIENT, "age": 500, "thal": 2}])


def test_other_errors_stay_with_their_rows() -> None:
    rows: list[Patient] = [
        {**PATIENT, "age": 500},
        dict(PATIENT),
        {**PATIENT, "age": None},
        {**PATIENT, "colour": 1},
        {**PATIENT, "thal": "in the other coding"},
    ]
    answers = parse_table(rows)
    kinds = [type(answer) for answer in answers]
    assert kinds == [
        InvalidValueError,
        list,
        MissingAttributeError,
        UnknownAttributeError,
        InvalidValueError,
    ]


def test_how_many_patients_are_valid_in_both_codings() -> None:
    """The figures of the data sheet: 35 of 297 one way (one in nine), 105 the other."""
    patients = uci_patients()
    assert sum(is_valid(to_kaggle(patient), "uci") for patient in patients) == 35
    assert sum(is_valid(patient, "kaggle") for patient in patients) == 105
    assert round(297 / 35, 1) == 8.5


@pytest.mark.parametrize(
    "kind",
    [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.HeartError)],
)
def test_an_error_survives_pickling(kind: type[errors.HeartError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("the rule, got 2", field="thal")))
    assert type(copy) is kind
    assert (copy.message, copy.field, str(copy)) == ("the rule, got 2", "thal", "the rule, got 2")
