"""Audits: each thing that can be wrong with a table is made, found, and named without values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heart import audit_coding, audit_duplicates, cohorts
from heart.attributes import BY_NAME, NAMES
from heart.audit import Report, audit, main, read, show
from heart.audit_checks import LEAK_BOUND, MISSINGNESS_BOUND
from heart.audit_table import CODINGS, TARGETS, Finding, keys, parse
from heart.errors import DataError, run_main
from tests.heart.tables import ambiguous, bundled, inverted, plain, recoded, strangers

CODING = {"other coding", "coding undecided", "mixed coding"}
TARGET = {"inverted target", "target undecided"}


@pytest.fixture(scope="module")
def cleveland() -> pd.DataFrame:
    return plain("cleveland")


@pytest.fixture(scope="module")
def whole() -> Report:
    return audit(bundled())


def named(report: Report, name: str) -> Finding:
    (finding,) = [f for f in report.findings if f.name == name]
    return finding


def names(report: Report) -> set[str]:
    return {finding.name for finding in report.findings}


def reading(report: Report) -> tuple[str, bool]:
    return report.coding, report.inverted


def written(tmp_path: Path, table: pd.DataFrame, name: str = "table.csv") -> str:
    path = tmp_path / name
    table.to_csv(path, index=False)
    return str(path)


def test_the_bundled_table_has_nothing_serious(whole: Report) -> None:
    assert not whole.serious
    assert reading(whole) == ("uci", False)
    assert names(whole) == {
        "exact duplicates",
        "near duplicates",
        "zero trestbps",
        "zero chol",
        "missingness tells the label",
        "missingness tells the hospital",
        "known patients",
    }


def test_the_two_duplicates_of_the_bundled_table(whole: Report) -> None:
    finding = named(whole, "exact duplicates")
    assert (finding.n_rows, finding.rows, finding.severity) == (2, (406, 908), "note")


def test_the_zeros_and_the_near_duplicates_of_the_bundled_table(whole: Report) -> None:
    assert named(whole, "zero chol").n_rows == 172
    assert named(whole, "zero trestbps").n_rows == 1
    near = named(whole, "near duplicates")
    assert (near.n_rows, near.severity) == (10, "note")


def test_no_two_patients_of_the_bundled_table_are_within_the_tolerance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = cohorts.load("all").X
    assert (audit_duplicates._neighbours(X, X) == 1).all()
    wider = {name: 2.5 * value for name, value in audit_duplicates.TOLERANCE.items()}
    monkeypatch.setattr(audit_duplicates, "TOLERANCE", wider)
    assert (audit_duplicates._neighbours(X, X) > 1).any()


def test_known_patients_are_named_with_their_site(whole: Report) -> None:
    found = named(whole, "known patients").found
    assert "100.0%" in found
    for count in ("cleveland 303", "hungarian 294", "switzerland 123", "va 200"):
        assert count in found


@pytest.mark.full
@pytest.mark.parametrize("coding", ["uci", "kaggle", "from_zero"])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_six_readings(cleveland: pd.DataFrame, coding: str, flipped: bool, new: bool) -> None:
    """Of the patients it knows, and of others, who are told by their likelihood alone."""
    table = strangers(cleveland) if new else cleveland
    if coding != "uci":
        table = recoded(table, coding)  # type: ignore[arg-type]
    report = audit(inverted(table) if flipped else table)
    assert reading(report) == (coding, flipped)
    assert names(report) & CODING == ({"other coding"} if coding != "uci" else set())
    assert names(report) & TARGET == ({"inverted target"} if flipped else set())
    assert report.serious == (coding != "uci" or flipped)
    assert ("known patients" in names(report)) != new


def unseen(site: str, monkeypatch: pytest.MonkeyPatch) -> audit_coding.Reference:
    """Models of the other hospitals."""
    others = cohorts.load("all")
    others = others.take(others.sites != site)
    monkeypatch.setattr(cohorts, "load", lambda _: others)
    return audit_coding.reference.__wrapped__()


@pytest.mark.full
@pytest.mark.parametrize("site", ["hungarian", "switzerland", "va"])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("coding", ["uci", "kaggle", "from_zero"])
def test_hospitals_that_the_models_have_not_seen(
    site: str, flipped: bool, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = unseen(site, monkeypatch)
    monkeypatch.setattr(audit_coding, "reference", lambda: reference)
    table = plain(site) if coding == "uci" else recoded(plain(site), coding)  # type: ignore[arg-type]
    judgement = audit_coding.judge(parse(inverted(table) if flipped else table))
    assert judgement.reading == audit_coding.Reading(coding, flipped)  # type: ignore[arg-type]
    assert judgement.coding_is_sure
    assert judgement.target_is_sure


def test_rows_selected_by_their_codes_are_judged_by_what_goes_with_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How often a code occurs would mislead here: every sample would be read from zero."""
    reference = unseen("hungarian", monkeypatch)
    rows = ambiguous(plain("hungarian"))
    table = parse(rows[rows["thal"].isna()])
    assert not any(table.strays(coding).any() for coding in CODINGS)
    likelihoods = {
        coding: [
            reference.log_likelihood(table.in_uci(coding), y)
            for y in (table.label, 1 - table.label)
        ]
        for coding in CODINGS
    }
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = rng.choice(len(table), 80, replace=False)
        fit = {c: max(of[sample].sum() for of in likelihoods[c]) for c in CODINGS}
        assert max(CODINGS, key=lambda coding: fit[coding]) == "uci"


@pytest.mark.parametrize("flipped", [False, True])
def test_codes_that_are_all_valid_in_both_codings(cleveland: pd.DataFrame, flipped: bool) -> None:
    uci, kaggle = ambiguous(cleveland), ambiguous(recoded(cleveland, "kaggle"))
    assert (len(uci), len(kaggle)) == (108, 35)
    for table, coding in ((uci, "uci"), (kaggle, "kaggle")):
        assert not parse(table).strays("uci").any()
        assert not parse(table).strays("kaggle").any()
        report = audit(inverted(table) if flipped else table)
        assert reading(report) == (coding, flipped)
        assert not names(report) & {"coding undecided", "target undecided"}


def test_unknown_patients_whose_codes_are_valid_in_both_codings(cleveland: pd.DataFrame) -> None:
    report = audit(strangers(ambiguous(cleveland)))
    assert reading(report) == ("uci", False)
    assert not names(report) & (CODING | TARGET)


def test_a_handful_of_unknown_patients_is_left_open(cleveland: pd.DataFrame) -> None:
    table = strangers(ambiguous(recoded(cleveland, "kaggle"))).iloc[::5]
    report = audit(table)
    assert reading(report) == ("uci", False)
    assert {"coding undecided", "target undecided", "few of a class"} <= names(report)
    assert not report.serious


def test_one_code_of_the_other_coding_settles_a_handful(cleveland: pd.DataFrame) -> None:
    table = strangers(ambiguous(recoded(cleveland, "kaggle"))).iloc[::5].reset_index(drop=True)
    table.loc[0, "thal"] = 2
    table.loc[1, "thal"] = 0
    report = audit(table)
    assert report.coding != "uci"
    assert named(report, "other coding").severity == "serious"


def test_the_target_of_few_is_left_open_though_it_fits_better_inverted() -> None:
    table = parse(strangers(ambiguous(plain("switzerland"))))
    kept, turned = (
        audit_coding._likelihood(table, audit_coding.Reading("uci", inverted)).sum()
        for inverted in (False, True)
    )
    judgement = audit_coding.judge(table)
    assert turned > kept
    assert not judgement.target_is_sure
    assert not judgement.reading.inverted


def test_labels_of_noise_are_left_open(cleveland: pd.DataFrame) -> None:
    noise = np.random.default_rng(0).permutation(cleveland["target"])
    report = audit(strangers(cleveland).assign(target=noise))
    assert "target undecided" in names(report)
    assert not report.inverted


def test_two_codings_in_one_table(cleveland: pd.DataFrame) -> None:
    table = pd.concat([cleveland.head(250), recoded(cleveland.tail(53), "kaggle")])
    report = audit(table)
    finding = named(report, "mixed coding")
    assert report.coding == "uci"
    assert finding.severity == "serious"
    assert min(finding.rows) > 250
    assert finding.n_rows > 40


def test_words_are_read_whatever_the_coding(cleveland: pd.DataFrame) -> None:
    table = cleveland.astype(object)
    for name in NAMES:
        if BY_NAME[name].words:
            table[name] = cleveland[name].map(BY_NAME[name].words)
    report = audit(table)
    assert reading(report) == ("uci", False)
    assert named(report, "known patients").n_rows == 303
    assert not names(report) & CODING
    mixed = recoded(cleveland, "kaggle").assign(thal=table["thal"])
    assert audit(mixed).coding == "kaggle"
    assert named(audit(mixed), "known patients").n_rows == 303


def test_impossible_values_are_named_by_rule_and_row(cleveland: pd.DataFrame) -> None:
    table = cleveland.astype(object)
    table.loc[3, "trestbps"] = 31417
    table.loc[[5, 9], "thal"] = 31417
    table.loc[7, "age"] = "31417 years"
    table.loc[8, "oldpeak"] = np.inf
    report = audit(table)
    for name, rows in {"trestbps": (4,), "thal": (6, 10), "age": (8,), "oldpeak": (9,)}.items():
        finding = named(report, f"impossible {name}")
        assert (finding.rows, finding.severity) == (rows, "serious")
        assert finding.rule == BY_NAME[name].rule()
    assert "31417" not in report.model_dump_json()
    assert report.coding == "uci"


def test_what_is_missing_is_not_impossible(cleveland: pd.DataFrame) -> None:
    table = cleveland.astype(object)
    table.loc[0, "thal"], table.loc[1, "ca"], table.loc[2, "chol"] = "?", " ", -9
    report = audit(table)
    assert not [name for name in names(report) if name.startswith("impossible")]
    X = parse(table).in_uci("uci")
    assert X.loc[[0, 1, 2], ["thal", "ca", "chol"]].isna().to_numpy().diagonal().all()


def test_a_patient_is_recognised_however_the_number_is_written(cleveland: pd.DataFrame) -> None:
    X = parse(cleveland).in_uci("uci")
    for other in (X.astype(np.float32), X.where(X != 0, -0.0), X + 1e-4, X - 1e-4):
        assert (keys(other.astype(np.float64)) == keys(X)).all()
    assert len(set(keys(X))) == 303


def test_zeros_are_counted(cleveland: pd.DataFrame) -> None:
    table = cleveland.copy()
    table.loc[[10, 20], "chol"] = 0
    finding = named(audit(table), "zero chol")
    assert (finding.rows, finding.severity) == ((11, 21), "note")


def test_duplicates_above_the_bound_are_serious(cleveland: pd.DataFrame) -> None:
    report = audit(pd.concat([cleveland, cleveland.head(30)]))
    finding = named(report, "exact duplicates")
    assert (finding.n_rows, finding.severity) == (30, "serious")
    assert finding.rows == tuple(range(304, 324))
    few = named(audit(pd.concat([cleveland, cleveland.head(3)])), "exact duplicates")
    assert (few.n_rows, few.severity) == (3, "note")


def test_the_same_patient_with_another_target(cleveland: pd.DataFrame) -> None:
    report = audit(pd.concat([cleveland, inverted(cleveland.iloc[[4]])]))
    assert named(report, "contradictory labels").rows == (5, 304)
    assert "exact duplicates" not in names(report)


@pytest.mark.parametrize(
    "change",
    [
        {"age": 30},
        {"chol": np.nan},
        {"thal": 6},
        {"age": 1, "trestbps": 2, "chol": -5, "thalach": 2, "oldpeak": 0.2},
    ],
)
def test_near_duplicates(cleveland: pd.DataFrame, change: dict[str, float]) -> None:
    twin = cleveland.iloc[[1]].copy()
    small = len(change) > 1
    for name, value in change.items():
        twin[name] = twin[name] + value if small else value
    report = audit(pd.concat([cleveland, twin]))
    assert named(report, "near duplicates").rows == (2, 304)
    assert not names(report) & {"exact duplicates", "contradictory labels"}


@pytest.mark.parametrize(
    "change",
    [
        {"age": 2, "trestbps": 1},
        {"chol": 6, "thalach": 1},
        {"oldpeak": 0.3, "age": 1},
        {"fbs": 1, "trestbps": 1},
    ],
)
def test_patients_who_are_only_alike(cleveland: pd.DataFrame, change: dict[str, float]) -> None:
    other = cleveland.iloc[[1]].copy()
    for name, value in change.items():
        other[name] += value
    assert "near duplicates" not in names(audit(pd.concat([cleveland, other])))


def test_patients_in_train_and_test(cleveland: pd.DataFrame) -> None:
    file, test = cleveland.head(200), cleveland.tail(103)
    assert not [f for f in audit(file, test=test).findings if f.table == "both"]
    twin = file.iloc[[2]].assign(chol=lambda t: t["chol"] + 1)
    leaky = pd.concat([test, file.iloc[[0]], inverted(file.iloc[[1]]), twin])
    report = audit(file, test=leaky)
    both = {f.name: f for f in report.findings if f.table == "both"}
    assert both["exact duplicates"].rows == (104,)
    assert both["exact duplicates"].severity == "serious"
    assert both["contradictory labels"].rows == (105,)
    assert both["near duplicates"].rows == (106,)
    assert report.n_rows == 200


def test_train_and_test_in_two_codings_share_their_patients(cleveland: pd.DataFrame) -> None:
    other = inverted(recoded(cleveland, "kaggle"))
    report = audit(cleveland, test=other)
    (exact,) = [f for f in report.findings if (f.table, f.name) == ("both", "exact duplicates")]
    assert exact.n_rows == 303
    (coding,) = [f for f in report.findings if f.name == "other coding"]
    assert coding.table == "test"


def test_leaks(cleveland: pd.DataFrame) -> None:
    y = cleveland["target"]
    noise = np.random.default_rng(0).normal(size=len(y))
    table = cleveland.assign(
        num=bundled("cleveland")["num"],
        prediction=y * 0.4 + noise * 0.05,
        survival=-y - noise * 0.1,
        discharge=np.where(y == 1, "ward " + pd.Series(range(303)).mod(3).astype(str), "home"),
        bypass=np.where(y == 1, noise, np.nan),
        depth=np.where(y == 1, -2 - noise.clip(-1, 1), -8 + noise).round(9),
        record=range(303),
        reader=pd.Series(range(303)).mod(7).astype(str),
        person=[f"p{i}" for i in range(303)],
    )
    table.loc[(y == 0) & (table["record"] % 2 == 0), "depth"] = np.nan
    report = audit(table)
    leaks = [f for f in report.findings if f.name == "leak"]
    assert {f.severity for f in leaks} == {"serious"}
    found = " ".join(f.found for f in leaks)
    for name in ("num", "prediction", "survival", "discharge", "bypass", "depth"):
        assert f"the column {name} tells it" in found
    assert len(leaks) == 6


def test_no_column_of_the_bundled_table_is_near_the_bound(
    whole: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "leak" not in names(whole)
    for bound, columns in ((0.81, 0), (0.75, 1)):
        monkeypatch.setattr("heart.audit_checks.LEAK_BOUND", bound)
        assert len([f for f in audit(bundled()).findings if f.name == "leak"]) == columns
    assert LEAK_BOUND == 0.95


def test_missingness_of_the_bundled_table(whole: Report) -> None:
    label = named(whole, "missingness tells the label")
    assert label.severity == "note"
    assert "ROC-AUC 0.75, chance with 0.50" in label.found
    hospital = named(whole, "missingness tells the hospital")
    assert hospital.severity == "note"
    assert "in 85% of rows, chance in 33%" in hospital.found
    assert MISSINGNESS_BOUND == 0.85


def test_a_hospital_of_a_few_rows_is_left_out_of_its_measure() -> None:
    table = bundled()
    table.loc[[0, 400, 900], "site"] = "elsewhere"
    assert named(audit(table), "missingness tells the hospital").n_rows == 917


def test_missingness_that_tells_the_label(cleveland: pd.DataFrame) -> None:
    table = cleveland.copy()
    table.loc[(table["target"] == 1) & (table.index % 10 > 0), "chol"] = np.nan
    finding = named(audit(table), "missingness tells the label")
    assert finding.severity == "serious"
    zeros = cleveland.copy()
    zeros.loc[zeros["target"] == 1, "chol"] = 0
    assert named(audit(zeros), "missingness tells the label").severity == "serious"


def test_a_complete_table_has_no_missingness(cleveland: pd.DataFrame) -> None:
    assert not [n for n in names(audit(cleveland.dropna())) if n.startswith("missingness")]


def test_one_class(cleveland: pd.DataFrame) -> None:
    report = audit(cleveland[cleveland["target"] == 1])
    assert named(report, "one class").severity == "serious"
    few = audit(cleveland[(cleveland["target"] == 1) | (cleveland.index < 9)])
    assert named(few, "few of a class").severity == "note"


def test_rows_without_a_label(cleveland: pd.DataFrame) -> None:
    table = cleveland.astype({"target": object})
    table.loc[[3, 4, 5], "target"] = [np.nan, "yes", 7]
    finding = named(audit(table), "no label")
    assert (finding.rows, finding.severity) == ((4, 5, 6), "serious")


@pytest.mark.parametrize("target", TARGETS)
def test_names_of_the_target(cleveland: pd.DataFrame, target: str) -> None:
    report = audit(inverted(cleveland).rename(columns={"target": target}))
    assert named(report, "inverted target").rule.startswith(f"{target} is 0 without disease")


def test_the_hospital_may_be_called_dataset() -> None:
    report = audit(bundled().rename(columns={"site": "dataset"}))
    assert "missingness tells the hospital" in names(report)


def test_tables_that_cannot_be_audited(cleveland: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"^the table lacks the columns ca, thal$"):
        audit(cleveland.drop(columns=["ca", "thal"]))
    with pytest.raises(DataError, match=r"^the test table lacks the columns cp$"):
        audit(cleveland, test=cleveland.drop(columns="cp"))
    with pytest.raises(DataError, match=r"^the table has no target: no column target, condition"):
        audit(cleveland.drop(columns="target"))
    with pytest.raises(DataError, match=r"^the table has no row whose target is 0"):
        audit(cleveland.head(0))
    with pytest.raises(DataError, match=r"^the table has no row whose target is 0"):
        audit(cleveland.assign(target="Presence"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no CSV table: No columns to parse"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is no CSV table: "),
        (b"age,sex\n1,2\n1,2,3,4\n", "is no CSV table: "),
        (b"age,sex\n1,2,3\n1,2,3\n", "has rows with more cells than its header"),
        (b"age,sex\n1,2\n", "the table lacks the columns cp, "),
    ],
)
def test_files_that_cannot_be_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert run_main(lambda: main([str(path)])) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert captured.out == ""


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_the_command_s_json_is_one_line(
    tmp_path: Path, cleveland: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, inverted(recoded(cleveland, "kaggle")))
    assert main([path, "--json", "--test", path]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert (report["coding"], report["inverted"], report["serious"]) == ("kaggle", True, True)
    assert report["n_rows"] == 303
    severities = [finding["severity"] for finding in report["findings"]]
    assert severities == sorted(severities, reverse=True)
    assert {f["table"] for f in report["findings"]} == {"file", "test", "both"}
    assert set(report["findings"][0]) == set(Finding.model_fields)


def test_the_command_on_the_bundled_table() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "heart.audit", str(cohorts.TABLE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("920 rows, read in the coding uci, target as it stands\n")
    assert "exact duplicates" in ended.stdout
    assert "406, 908" in " ".join(ended.stdout.split())


def test_a_report_without_findings(capsys: pytest.CaptureFixture[str]) -> None:
    show(Report(n_rows=3, coding="uci", inverted=False, findings=()))
    assert "nothing found" in capsys.readouterr().out


def test_at_most_twenty_rows_are_named(whole: Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert max(len(finding.rows) for finding in whole.findings) == 20
    show(whole)
    assert ", …" in capsys.readouterr().out
