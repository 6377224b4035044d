"""The table, the cohorts made of it, and their split. Every figure of the data sheet is here."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from heart import cohorts, download, files
from heart.attributes import NAMES
from heart.cohorts import COHORTS, TABLE, TREATMENTS, Cohort, CohortName, Treatment, load, split
from heart.errors import DataError, UsageError, run_main

TRACE = ["site", "row"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return cohorts.read_table()


def traces(cohort: Cohort) -> list[tuple[str, int]]:
    return [(str(s), int(r)) for s, r in zip(cohort.sites, cohort.rows, strict=True)]


def damaged(tmp_path: Path) -> Path:
    """A copy of the table with one digit changed."""
    content = TABLE.read_bytes()
    path = tmp_path / "table.csv"
    path.write_bytes(content.replace(b"cleveland,63,", b"cleveland,64,", 1))
    assert len(path.read_bytes()) == len(content)
    return path


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heart.cohorts", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", cohorts.COHORTS)
def test_no_patient_is_there_twice(name: cohorts.CohortName) -> None:
    """So that no fold and no split can have a patient on both sides."""
    assert not cohorts.load(name).X.duplicated().any()


def test_rows_by_site(table: pd.DataFrame) -> None:
    assert table["site"].value_counts().to_dict() == {
        "cleveland": 303,
        "hungarian": 294,
        "switzerland": 123,
        "va": 200,
    }


def test_num(table: pd.DataFrame) -> None:
    assert table["num"].value_counts().to_dict() == {0: 411, 1: 265, 2: 109, 3: 107, 4: 28}
    hungarian = table[table["site"] == "hungarian"]
    assert hungarian["num"].value_counts().to_dict() == {0: 188, 1: 106}


def test_disease_by_site(table: pd.DataFrame) -> None:
    counts = (table["num"] > 0).groupby(table["site"]).sum().to_dict()
    assert counts == {"cleveland": 139, "hungarian": 106, "switzerland": 115, "va": 149}


def test_missing_by_attribute(table: pd.DataFrame) -> None:
    missing = table.isna().sum()
    assert missing[missing > 0].to_dict() == {
        "trestbps": 59,
        "chol": 30,
        "fbs": 90,
        "restecg": 2,
        "thalach": 55,
        "exang": 55,
        "oldpeak": 62,
        "slope": 309,
        "ca": 611,
        "thal": 486,
    }


def test_missing_by_hospital(table: pd.DataFrame) -> None:
    missing = table[list(NAMES)].isna().groupby(table["site"]).sum().T
    assert {site: counts[counts > 0].to_dict() for site, counts in missing.items()} == {
        "cleveland": {"ca": 4, "thal": 2},
        "hungarian": {
            "trestbps": 1,
            "chol": 23,
            "fbs": 8,
            "restecg": 1,
            "thalach": 1,
            "exang": 1,
            "slope": 190,
            "ca": 291,
            "thal": 266,
        },
        "switzerland": {
            "trestbps": 2,
            "fbs": 75,
            "restecg": 1,
            "thalach": 1,
            "exang": 1,
            "oldpeak": 6,
            "slope": 17,
            "ca": 118,
            "thal": 52,
        },
        "va": {
            "trestbps": 56,
            "chol": 7,
            "fbs": 7,
            "thalach": 53,
            "exang": 53,
            "oldpeak": 56,
            "slope": 102,
            "ca": 198,
            "thal": 166,
        },
    }


def test_zeros_and_negatives(table: pd.DataFrame) -> None:
    def by_site(rows: pd.Series[bool]) -> dict[str, int]:
        return {str(s): int(n) for s, n in rows.groupby(table["site"]).sum().items() if n}

    assert by_site(table["chol"] == 0) == {"switzerland": 123, "va": 49}
    assert by_site(table["trestbps"] == 0) == {"va": 1}
    assert by_site(table["oldpeak"] < 0) == {"switzerland": 11, "va": 1}


def test_who_is_in_it(table: pd.DataFrame) -> None:
    assert (table["age"].min(), table["age"].median(), table["age"].max()) == (28, 54, 77)
    assert int(table["sex"].sum()) == 726
    women = (table["sex"] == 0).groupby(table["site"]).sum().to_dict()
    assert women == {"cleveland": 97, "hungarian": 81, "switzerland": 10, "va": 6}


def test_the_corrected_label(table: pd.DataFrame) -> None:
    (row,) = table[table["age"] == 28].itertuples()
    assert (row.Index, row.site, row.row, row.sex) == (303, "hungarian", 1, 1)


def test_the_data_sheet_states_what_is_in_the_table(table: pd.DataFrame) -> None:
    sheet = (TABLE.parent / "README.md").read_text()
    assert cohorts.SHA256 in sheet
    assert download.CLEVELAND_SHA256 in sheet
    for site, rows in table.groupby("site"):
        sick, women = (rows["num"] > 0), (rows["sex"] == 0)
        assert f"| {len(rows)} | {sick.sum()} | {sick.mean():.1%} | {women.sum()} |" in sheet, site
    for name in NAMES:
        counts = table[name].isna().groupby(table["site"]).sum().tolist()
        if any(counts):
            cells = " | ".join(str(count) for count in [*counts, sum(counts)])
            assert f"| {name} | {cells} |" in sheet
    pairs = table[table.duplicated([*NAMES, "num"], keep=False)][TRACE].values.tolist()
    assert pairs == [["hungarian", 102], ["hungarian", 103], ["va", 140], ["va", 188]]
    assert "hungarian rows 102 and 103, va rows 140 and 188" in sheet


def test_checksum_of_the_table() -> None:
    assert files.sha256(TABLE.read_bytes()) == cohorts.SHA256
    assert cohorts.SHA256 == "d32cd731a4608b8367b9bda3c474651baf85e9a2ceac9f9493a8e9463756d91a"


def test_checksum_of_cleveland_as_the_data_set_s_own_download_gives_it() -> None:
    table = pd.read_csv(TABLE)
    cleveland = table[table["site"] == "cleveland"].rename(columns={"num": "target"})
    whole = {name: np.int64 for name in (*NAMES, "target") if name not in download.FLOATS}
    content = cleveland[[*NAMES, "target"]].astype(whole).to_csv(index=False).encode()
    assert files.sha256(content) == download.CLEVELAND_SHA256
    assert download.CLEVELAND_SHA256 == (
        "fbd8e872af527dd3544a47b52cb3ce38f2f94b19082a40a1e20904a80d8377d6"
    )


@pytest.mark.parametrize(
    ("name", "treatment", "without", "with_disease"),
    [
        ("all", "clean", 410, 508),
        ("all", "raw", 410, 508),
        ("all", "complete", 160, 139),
        ("cleveland", "clean", 164, 139),
        ("cleveland", "raw", 164, 139),
        ("cleveland", "complete", 160, 137),
    ],
)
def test_cohorts(name: CohortName, treatment: Treatment, without: int, with_disease: int) -> None:
    cohort = load(name, treatment=treatment)
    assert np.bincount(cohort.y).tolist() == [without, with_disease]
    assert len(cohort) == len(cohort.X) == len(cohort.sites) == len(cohort.rows)
    assert tuple(cohort.X.columns) == NAMES
    assert set(cohort.X.dtypes) == {np.dtype("float64")}
    assert cohort.X.index.equals(pd.RangeIndex(len(cohort)))
    assert cohort.y.dtype == cohort.rows.dtype == np.int64
    assert cohort.sha256 == cohorts.SHA256
    assert cohort.name == name


def test_raw_keeps_the_zeros_and_clean_calls_them_missing() -> None:
    raw, clean = load("all", treatment="raw").X, load("all").X
    zeros = {"chol": 172, "trestbps": 1}
    for name in NAMES:
        n_zeros = zeros.get(name, 0)
        assert clean[name].isna().sum() == raw[name].isna().sum() + n_zeros
        kept = clean[name].notna()
        assert clean.loc[kept, name].equals(raw.loc[kept, name])
    assert (raw[list(zeros)] == 0).sum().to_dict() == zeros
    missing = raw.isna().sum()
    assert missing[["chol", "slope", "ca", "thal"]].tolist() == [29, 307, 609, 484]


def test_complete_lacks_nothing() -> None:
    assert load("cleveland", treatment="complete").X.notna().all(axis=None)


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("name", COHORTS)
def test_no_patient_is_in_a_cohort_twice(name: CohortName, treatment: Treatment) -> None:
    """So that no split, and no fold, can have the same patient on both of its sides."""
    assert not load(name, treatment=treatment).X.duplicated().any()


def test_the_two_duplicates_and_only_they_are_dropped(table: pd.DataFrame) -> None:
    dropped = table.drop(cohorts.drop_duplicates(table).index)
    assert dropped[TRACE].values.tolist() == [["hungarian", 103], ["va", 188]]


def test_duplicates_are_found_whatever_their_site(table: pd.DataFrame) -> None:
    moved = table.head(1).assign(site="va", row=201)
    assert len(cohorts.drop_duplicates(pd.concat([table, moved]))) == 918


@pytest.mark.parametrize("name", COHORTS)
def test_every_row_can_be_traced(name: CohortName) -> None:
    """Site and row lead to the line of the table that holds the same values."""
    with TABLE.open(newline="") as file:
        lines = list(csv.DictReader(file))
    by_site = {site: [x for x in lines if x["site"] == site] for site in download.SITES}
    cohort = load(name, treatment="raw")
    for i, (site, row) in enumerate(traces(cohort)):
        line = by_site[site][row - 1]
        values = [float(line[attribute] or "nan") for attribute in NAMES]
        np.testing.assert_array_equal(cohort.X.iloc[i], values)
        assert cohort.y[i] == (line["num"] != "0")


def test_take_keeps_the_order_and_what_belongs_together() -> None:
    cohort = load("all")
    taken = cohort.take(np.array([700, 3, 3]))
    assert traces(taken) == [traces(cohort)[i] for i in (700, 3, 3)]
    pd.testing.assert_frame_equal(taken.X, cohort.X.iloc[[700, 3, 3]].reset_index(drop=True))
    assert taken.y.tolist() == [cohort.y[700], cohort.y[3], cohort.y[3]]
    women = cohort.take((cohort.X["sex"] == 0).to_numpy())
    assert len(women) == 193
    assert (women.X["sex"] == 0).all()
    assert len(cohort.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize("name", COHORTS)
def test_split_is_deterministic_disjoint_and_exhaustive(name: CohortName) -> None:
    cohort = load(name)
    train, test = split(cohort, test_size=0.2, seed=42)
    again = split(cohort, test_size=0.2, seed=42)
    assert [traces(part) for part in again] == [traces(train), traces(test)]
    assert not set(traces(train)) & set(traces(test))
    assert sorted(traces(train) + traces(test)) == sorted(traces(cohort))
    other = split(cohort, test_size=0.2, seed=43)[1]
    assert set(traces(other)) != set(traces(test))


def test_split_is_stratified_by_site_and_target() -> None:
    cohort = load("all")
    train, test = split(cohort, test_size=0.2, seed=42)
    for site in download.SITES:
        for target in (0, 1):
            cell = int(((cohort.sites == site) & (cohort.y == target)).sum())
            in_test = int(((test.sites == site) & (test.y == target)).sum())
            assert abs(in_test - 0.2 * cell) < 1, (site, target)
    assert (len(train), len(test)) == (734, 184)


@pytest.mark.parametrize("seed", range(20))
def test_the_eight_healthy_of_switzerland_are_on_both_sides(seed: int) -> None:
    for part in split(load("all"), test_size=0.2, seed=seed):
        assert ((part.sites == "switzerland") & (part.y == 0)).sum() in (1, 2, 6, 7)


@pytest.mark.parametrize(
    ("name", "treatment", "n_train"), [("cleveland", "complete", 237), ("all", "raw", 734)]
)
def test_split_by_target_alone_is_that_of_scikit_learn(
    name: CohortName, treatment: Treatment, n_train: int
) -> None:
    cohort = load(name, treatment=treatment)
    train, test = split(cohort, test_size=0.2, seed=42, by_site=False)
    X_train, X_test, y_train, y_test = train_test_split(
        cohort.X, cohort.y, test_size=0.2, random_state=42, stratify=cohort.y
    )
    assert len(train) == n_train
    pd.testing.assert_frame_equal(train.X, X_train.reset_index(drop=True))
    pd.testing.assert_frame_equal(test.X, X_test.reset_index(drop=True))
    np.testing.assert_array_equal(train.y, y_train)
    np.testing.assert_array_equal(test.y, y_test)


@pytest.mark.parametrize("test_size", [0, 1, -0.2, 1.5, float("nan")])
def test_a_size_that_is_no_share(test_size: float) -> None:
    with pytest.raises(UsageError, match=r"^test_size must be between 0 and 1") as caught:
        split(load("cleveland"), test_size=test_size, seed=42)
    assert str(test_size) in caught.value.message


@pytest.mark.parametrize("test_size", [0.001, 0.999])
@pytest.mark.parametrize("by_site", [True, False])
def test_a_share_that_leaves_a_class_out(test_size: float, by_site: bool) -> None:
    with pytest.raises(DataError, match=f"^test_size {test_size} ") as caught:
        split(load("cleveland"), test_size=test_size, seed=42, by_site=by_site)
    assert "\n" not in caught.value.message


def test_a_cell_of_one_patient_cannot_be_divided() -> None:
    """Of the complete rows, Hungary and Veterans Affairs have one each."""
    complete = load("all", treatment="complete")
    with pytest.raises(DataError, match=r'^stratum "hungarian target 1" has 1 patient'):
        split(complete, test_size=0.2, seed=42)
    assert len(split(complete, test_size=0.2, seed=42, by_site=False)[1]) == 60


def test_a_cohort_of_one_class_is_not_split() -> None:
    cohort = load("all")
    with pytest.raises(DataError, match="leaves a class without patients"):
        split(cohort.take(cohort.y == 1), test_size=0.2, seed=42)


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r'^cohort must be all or cleveland, got "va"$'):
        load("va")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r'^treatment must be clean or raw or complete, got "x"$'):
        load("all", treatment="x")  # type: ignore[arg-type]


def test_one_changed_byte_is_noticed_with_both_checksums(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    with pytest.raises(DataError) as caught:
        load("all", table=path)
    assert files.sha256(path.read_bytes()) in caught.value.message
    assert cohorts.SHA256 in caught.value.message
    assert str(path) in caught.value.message


def test_the_checksum_is_looked_at_in_every_load(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.read_bytes())
    assert len(load("all", table=path)) == 918
    path.write_bytes(TABLE.read_bytes() + b"\n")
    with pytest.raises(DataError, match="is not the known table"):
        load("all", table=path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load("all", table=tmp_path / "none.csv")


def test_the_command_prints_provenance_and_counts() -> None:
    ended = command()
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert "doi:10.24432/C52P4X, CC BY 4.0" in ended.stdout
    assert f"SHA-256 {cohorts.SHA256}, verified" in ended.stdout
    assert ["switzerland", "123", "115", "93.5%"] in lines
    assert ["all", "918", "299", "508", "55.3%"] in lines
    assert ["chol", "29", "172", "0", "0"] in lines
    assert ["ca", "609", "0", "4", "0"] in lines


@pytest.mark.full
def test_the_command_s_json_is_one_line() -> None:
    ended = command("--json")
    assert ended.returncode == 0
    (line,) = ended.stdout.splitlines()
    described = json.loads(line)
    assert described["table"]["sha256"] == cohorts.SHA256
    assert (described["table"]["rows"], described["table"]["duplicates"]) == (920, 2)
    assert [(s["site"], s["rows"], s["with_disease"]) for s in described["sites"]] == [
        ("cleveland", 303, 139),
        ("hungarian", 294, 106),
        ("switzerland", 123, 115),
        ("va", 200, 149),
    ]
    assert described["cohorts"]["all"]["missing"]["trestbps"] == {"empty": 59, "zero": 1}
    assert described["cohorts"]["cleveland"]["complete_rows"] == 297


def test_the_command_refuses_an_unknown_option() -> None:
    ended = command("--fresh")
    assert ended.returncode == 2
    assert "unrecognized arguments: --fresh" in ended.stderr


def test_the_command_on_a_damaged_table_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cohorts, "TABLE", damaged(tmp_path))
    assert run_main(lambda: cohorts.main([])) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert cohorts.SHA256 in line
    assert captured.out == ""
