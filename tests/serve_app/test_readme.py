"""The README holds only what works as printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import tune.options
from serve_app.schemas import example

README = (Path(__file__).parents[2] / "README.md").read_text()


def curl_line() -> str:
    (line,) = re.findall(r"^\$ (curl .+)$", README, re.MULTILINE)
    return str(line)


def test_the_curl_line_works_as_printed(service: str) -> None:
    command = shlex.split(curl_line().replace("http://127.0.0.1:8000", service))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert 0 < answer["probability"] < 1
    assert answer["model_version"]
    assert answer["run_id"]
    assert answer["imputed"] == []


def test_the_curl_line_sends_the_example_patient() -> None:
    assert json.loads(shlex.split(curl_line())[-1]) == example()


def test_every_option_of_the_search_is_in_the_readme() -> None:
    parser = tune.options.parser()
    options = {name for action in parser._actions for name in action.option_strings}
    assert {name for name in options if name.startswith("--") and name not in README} == {"--help"}
