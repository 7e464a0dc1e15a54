"""Random command lines: the exit code is 0 or 2, an error is one line, and there is no traceback.

`PELLUCID_FUZZ` sets the number of command lines, by default 150.
"""

import contextlib
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.cli.main import main
from pellucid.recipe import run_report
from pellucid.recipe.recipe import load_recipe

RECIPE_KEYS = [f"{table}.{key}" for table, keys in load_recipe("digits").tables().items() for key in keys]
SETTING_VALUES = [
    "0", "1", "2", "-1", "0.5", "1e-3", "1e30", "1e400", "nan", "inf", "true", "none", "", "[]", "[64, 10]",
    "[64, 3, 10]", "[64, 0, 10]", "[64, 1000000000000]", "[[1]]", "{}", "'x'", "adam", "sgd", "momentum", "l2",
    "cosine", "warmup", "mnist", "xor", "digits", "bf16", "relu", "tanh", "quadratic", "9" * 30, "1979-05-27",
    "../up", "a\nb",
]  # fmt: skip

short_texts = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=6)
mutated_keys = st.builds(
    lambda key, at, c: key[:at] + c + key[at + 1 :], st.sampled_from(RECIPE_KEYS), st.integers(0, 20), short_texts
)
settings_words = st.builds(
    lambda key, value: f"{key}={value}",
    st.sampled_from(RECIPE_KEYS) | mutated_keys,
    st.sampled_from(SETTING_VALUES) | short_texts,
).filter(lambda word: not word.startswith(("recipe.threads", "train.epochs")))
known_names = st.sampled_from(
    ["digits", "xor", "mnist-mlp", "mnist-conv", "mnist", "RUN", "WEIGHTS", "PICTURE", "BROKEN", "."]
)
known_options = st.sampled_from(
    ["--json", "--out", "--data", "--resume", "--batch", "--samples", "--help", "--jsno", "-x", "--"]
)
any_words = known_names | known_options | settings_words | st.sampled_from(["list", "get", "check", "3"]) | short_texts


TYPICAL_LINES = [
    line.split()
    for line in (
        "demo", "train digits", "train digits --json", "train xor", "train --resume RUN", "evaluate RUN", "recipes xor",
        "evaluate WEIGHTS --data digits --json", "predict RUN PICTURE", "predict WEIGHTS PICTURE PICTURE --json",
        "summary RUN", "summary digits", "summary mnist-conv --json", "verify xor", "verify RUN --json", "data list",
        "data get digits", "data check --json", "recipes",
    )
]  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a valid command line with words inserted, removed and replaced; training lasts one epoch."""
    line = list(draw(st.sampled_from(TYPICAL_LINES)))
    if line[0] == "train" and draw(st.booleans()):
        line += draw(st.lists(settings_words, min_size=1, max_size=2))
    else:
        for index, word in draw(st.lists(st.tuples(st.integers(0, 5), st.none() | any_words), max_size=3)):
            line[index : index + (word is None)] = [] if word is None else [word]
    return [*line, "train.epochs=1"] if "train" in line else line


@pytest.fixture
def replacements(run_folder: Path, seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The paths that replace RUN, PICTURE etc. in a command line; writing of reports is disabled."""
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((run_folder / "weights/last.safetensors").read_bytes()[:-100])
    monkeypatch.setattr(run_report, "write_report", lambda path, data: path / "report.html")
    weights = run_folder / "weights/best.safetensors"
    return {"RUN": str(run_folder), "WEIGHTS": str(weights), "PICTURE": str(seven), "BROKEN": str(broken)}


@pytest.mark.heavy
@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("PELLUCID_FUZZ", "150")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(command_lines())
def test_any_command_line_succeeds_or_is_refused_in_one_line(replacements: dict[str, str], line: list[str]):
    argv = [replacements.get(word, word) for word in line]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    assert code in (0, 2), err.getvalue()
    assert "Traceback" not in err.getvalue()
    if code == 2:
        lines = err.getvalue().splitlines()
        assert all(error_line.startswith("pellucid") for error_line in lines)
        assert 1 <= len(lines) <= (max(len(line) - 2, 1) if line[0] == "predict" else 1)  # one for each bad picture
    elif "--json" in line and "--help" not in line and "-h" not in line:
        assert isinstance(json.loads(out.getvalue()), dict)
