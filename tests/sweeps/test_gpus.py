"""Runs that train at the same time get GPUs of their own where there are enough, and else equal parts."""

import pytest

from sweeps.gpus import divide_gpus, list_gpus


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("JAX_PLATFORMS", "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)


@pytest.mark.parametrize(
    ("visible", "runs", "parts", "line"),
    [
        ("0,1,2,3", 2, ["0,1", "2,3"], "each run has 2 of 4 GPUs"),
        ("4,5,7", 2, ["4", "5"], "each run has 1 of 3 GPUs; 1 left over"),
        ("GPU-a, GPU-b", 2, ["GPU-a", "GPU-b"], "each run has 1 of 2 GPUs"),
        ("0,1,-1,2", 2, ["0", "1"], "each run has 1 of 2 GPUs"),
        ("0,1", 1, [None], None),
        ("", 2, [None, None], None),
    ],
)
def test_each_run_has_gpus_of_its_own_where_there_are_enough(monkeypatch, visible, runs, parts, line):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    variables, said = divide_gpus(runs)
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in variables] == parts
    assert not any("XLA_CLIENT_MEM_FRACTION" in one for one in variables)
    assert said == line


def test_runs_share_a_gpu_and_its_memory_where_there_are_too_few(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    variables, line = divide_gpus(3)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in variables] == ["2", "5", "2"]
    assert {one["XLA_CLIENT_MEM_FRACTION"] for one in variables} == {"0.45"}
    assert line == "up to 2 runs share a GPU, each with 45 % of its memory"


@pytest.mark.parametrize(
    "name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"]
)
def test_what_the_user_says_of_memory_stands(monkeypatch, name):
    """JAX refuses to start where both names of the fraction are set."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv(name, "0.2")
    variables, line = divide_gpus(2)
    assert variables == [{"CUDA_VISIBLE_DEVICES": "0"}] * 2
    assert line == "up to 2 runs share a GPU"


def test_the_gpus_are_those_of_the_machine_unless_jax_is_to_use_cpus(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr("sweeps.gpus._DEV", tmp_path)
    assert list_gpus() == ["0", "1"]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert list_gpus() == []
