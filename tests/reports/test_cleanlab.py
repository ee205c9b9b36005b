"""cleanlab and pandas read `label_issues.csv`: they come from the package index, into an environment of their own."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from test_label_table import write_run

from repository import ROOT

from reports.label_table import tabulate_label_issues, write_label_issues

PACKAGES = ("cleanlab[datalab]==2.9.0", "pandas>=2", "pyarrow")


@pytest.mark.slow
def test_cleanlab_takes_the_table(tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH")
    table = tabulate_label_issues(write_run(tmp_path, names=("cat", "dog", "mouse")))
    write_label_issues(table, tmp_path)
    packages = [f"--with={package}" for package in PACKAGES]
    script = ROOT / "tests" / "support" / "cleanlab_process.py"
    command = ["uv", "run", "--isolated", "--no-project", "--quiet", *packages, "python", "-P", script, tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}  # uv's own cache
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    read, ranked, cleaned, datalab = lines
    flagged = table.columns["is_label_issue"]
    assert (read["same"], read["lines"]) == (True, 400)
    types = {name: read["types"][name] for name in ("is_label_issue", "label_quality", "given_label", "rank", "row")}
    assert types == {"is_label_issue": "bool", "label_quality": "float64"} | dict.fromkeys(
        ("given_label", "rank", "row"), "int64"
    )
    assert ranked["worst"] == ranked["by_rank"] == table.list_worst(10).tolist()
    assert cleaned["trained_on"] == np.flatnonzero(~flagged).tolist()
    assert datalab["given_labels_agree"]
    assert datalab["shared_columns"] == ["given_label", "is_label_issue", "predicted_label"]
