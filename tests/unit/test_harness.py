"""The benchmark report: goals are compared as written, and what was not measured is not met."""

from __future__ import annotations

import json
import math
import time

import pytest

from tests.benchmarks.harness import Report, cpu_ms, interleaved_ratio, percentile, run_cli


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_goal_is_met_only_by_a_measured_figure_on_the_right_side() -> None:
    report = Report(
        "example",
        figures={"at_limit": 3.0, "over": 3.001, "share": 0.98, "broken": math.nan},
        goals={
            "at_limit": ("<=", 3),
            "over": ("<=", 3),
            "share": (">=", 0.97),
            "broken": ("<=", 1),
            "absent": ("==", 0),
        },
    )
    assert report.met() == {"at_limit": True, "over": False, "share": True, "broken": False, "absent": False}


def test_json_holds_the_promised_keys_and_is_valid_json_even_for_nan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(Report("example", {"a": math.nan, "b": 2.5}, {"b": ("<", 3)}), as_json=True) == 0
    printed = capsys.readouterr().out
    read = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(read) == ["bench", "machine", "versions", "figures", "goals", "met"]
    assert (read["figures"], read["goals"], read["met"]) == ({"a": None, "b": 2.5}, {"b": ["<", 3]}, {"b": True})
    assert read["versions"]["python"].startswith("3.")
    assert read["machine"]["cores"] >= 1


def test_the_table_says_not_met_and_not_measured() -> None:
    lines = Report("example", {"slow": 12.5}, {"slow": ("<=", 10), "absent": (">=", 1)}).table().splitlines()
    assert lines[0].startswith("bench example: ")
    assert lines[2].split() == ["slow", "12.5", "<=", "10", "NOT", "MET"]
    assert lines[3].split() == ["absent", "not", "measured", ">=", "1", "NOT", "MET"]


def test_processor_time_counts_work_and_not_waiting() -> None:
    assert cpu_ms(lambda: spin(0.02)) >= 20
    assert cpu_ms(lambda: None) < 5


def test_the_ratio_compares_medians() -> None:
    assert 2 < interleaved_ratio(lambda: spin(0.012), lambda: spin(0.004), rounds=5) < 4


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.99), percentile(values, 0.5), percentile(values, 1)) == (99, 50, 100)
    assert math.isnan(percentile([], 0.5))
