"""Timing in rounds, and that the programs that are timed compute what they are called."""

import json
import time

import numpy as np
import pytest
from planning.timing import build_score_programs, build_step_programs, compare
from run_scripts import run_script
from small_runs import small

from planning.cost import DATA_SETS


def test_a_program_that_waits_three_times_as_long_has_the_ratio_three():
    programs = {"short": lambda: time.sleep(0.02), "long": lambda: time.sleep(0.06)}
    figures = compare(programs, rounds=5)
    assert figures["short"]["ratio"] == [1.0, 1.0, 1.0]
    low, median, high = figures["long"]["ratio"]
    assert low <= median <= high
    assert median == pytest.approx(3, rel=0.3)
    assert figures["long"]["milliseconds"][1] >= 60


def test_every_form_of_the_score_gives_the_same_alignments():
    programs = build_score_programs(12, 5, 4)
    expected = programs["closed form"]()
    for name, program in programs.items():
        np.testing.assert_allclose(program(), expected, atol=1e-5, err_msg=name)


def test_the_step_without_the_score_trains_the_same_and_computes_less():
    programs, counts = build_step_programs(small(), DATA_SETS["digits"])
    for _ in range(2):
        outputs = {name: program() for name, program in programs.items()}
    assert "alignment" not in outputs["without"][1]
    assert {"alignment", "dissent"} <= outputs["and dissent"][1].keys()
    for state, _ in outputs.values():
        kernel = outputs["without"][0].params["head"]["kernel"]
        np.testing.assert_allclose(state.params["head"]["kernel"], kernel, atol=1e-6)
    assert counts["without"]["flops"] < counts["with the score"]["flops"] < counts["and dissent"]["flops"]
    assert counts["without"]["flops"] > 0.9 * counts["and dissent"]["flops"]


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr("planning.timing.SCORE_SHAPES", ((12, 5, 4), (6, 5, 3)))
    result = run_script("benchmark.py", "score", "--rounds=1", f"--output={tmp_path / 'x.json'}")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "x.json").read_text())
    assert len(report["comparisons"]) == 2
    median = report["comparisons"][0]["programs"]["textbook"]["milliseconds"][1]
    assert f"{median:.3f} ms" in result.stdout


@pytest.mark.parametrize(("arguments", "words"), [(["stop"], "'stop'"), (["score", "--rounds=0"], "--rounds is 0")])
def test_mistakes_are_one_line(arguments, words):
    result = run_script("benchmark.py", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
