"""Comparisons in rounds, and that what is compared computes what it is called."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from run_scripts import check_refusal, run_script
from small_runs import small

from benchmarks import accelerator, crops, epoch, growth, score, step
from benchmarks.comparison import Options, compare, time_children, time_cpu
from benchmarks.plain_flax import plain_layers
from planning.cost import DATA_SETS
from training.prepare import initialize, prepare


def test_ratios_are_taken_within_a_round():
    costs = {"one": iter([9.0, 9.0, 1.0, 2.0, 4.0]), "three": iter([0.0, 0.0, 3.0, 6.0, 12.0])}
    comparison = compare("x", {name: lambda cost=cost: next(cost) for name, cost in costs.items()}, rounds=3)
    assert comparison.ways["one"].cost == [1.5, 2.0, 3.0]
    assert comparison.ways["one"].ratio == [1.0, 1.0, 1.0]
    assert comparison.ways["three"].ratio == [3.0, 3.0, 3.0]
    assert comparison.lines()[2].split() == ["three", "6.000", "ms", "ratio", "3.000", "[3.000,", "3.000]"]


def test_cpu_time_is_that_of_this_process_or_of_its_children():
    def compute():
        sum(range(2_000_000))

    assert time_cpu(compute)() > 1
    assert time_children(compute)() == pytest.approx(0, abs=1e-9)


def test_every_form_of_the_score_gives_the_same_alignments():
    programs = score.build_forms(12, 5, 4)
    expected = programs["closed form"]()
    for name, program in programs.items():
        np.testing.assert_allclose(program(), expected, atol=1e-5, err_msg=name)


def test_the_step_without_the_score_trains_the_same_and_computes_less():
    programs, counts = step.build_programs(small(), DATA_SETS["digits"])
    with plain_layers():
        plain, plain_counts = step.build_programs(small(), DATA_SETS["digits"], which=("with the score",))
    programs["plain"], counts["plain"] = plain["with the score"], plain_counts["with the score"]
    for _ in range(2):
        outputs = {name: program() for name, program in programs.items()}
    assert "alignment" not in outputs["without"][1]
    assert {"alignment", "dissent"} <= outputs["and dissent"][1].keys()
    for state, _ in outputs.values():
        kernel = outputs["without"][0].params["head"]["kernel"]
        np.testing.assert_allclose(state.params["head"]["kernel"], kernel, atol=1e-6)
    assert counts["without"]["GFLOP"] < counts["with the score"]["GFLOP"] < counts["and dissent"]["GFLOP"]
    assert counts["without"]["GFLOP"] > 0.9 * counts["and dissent"]["GFLOP"]
    assert counts["plain"]["GFLOP"] != counts["with the score"]["GFLOP"]


@pytest.mark.slow
def test_an_epoch_makes_the_updates_of_its_bare_steps(monkeypatch):
    config, params = small(), {}
    monkeypatch.setattr(Options, "load_config", lambda self: config)

    def run_once(title, measures, rounds):
        del rounds
        params.update(measures)
        return title

    monkeypatch.setattr(epoch, "time_program", lambda program: program())
    monkeypatch.setattr(epoch, "compare", run_once)
    assert epoch.measure(Options(1)) == ["an epoch of configs/cifar10_small.py"]
    assert len(params) == 3
    for leaves in params.values():
        for one, other in zip(leaves, params["bare steps"], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_block_makes_the_steps_of_a_dispatch():
    config = small(steps_per_dispatch=3, batch_size=8)
    block = step.build_block(config, DATA_SETS["digits"])
    assert [int(block()) for _ in range(2)] == [3, 6]


def test_forms_of_a_step_differ_as_they_say(monkeypatch):
    with jax.default_matmul_precision(None), prepare(small()) as setup:
        forms, state = accelerator.list_forms(setup.config), initialize(setup, fresh=True)
        assert "depthwise convolution as shifts" in forms
        programs = {
            name: accelerator.Program(setup, state, forms[name])
            for name in ("as configured", "without the score", "products in full float32", "1 step per dispatch")
        }
        texts = {name: program._lowered.as_text() for name, program in programs.items()}
        assert len(set(texts.values())) == 4
        assert texts["products in full float32"].count("HIGHEST") > texts["as configured"].count("HIGHEST")
        monkeypatch.setattr(accelerator, "_SECONDS", 0.0)
        compiled = {name: programs[name].compile() for name in ("as configured", "without the score")}
        comparison = accelerator.compare_forms(setup, compiled, Options(1))
    figures = comparison.ways["without the score"]
    assert figures.further["images/s"] == pytest.approx(1e3 * setup.batch_size / figures.cost[1])
    assert "vit" not in setup.config.network.name
    setup.config.network.name = "vit"
    assert "depthwise convolution as shifts" not in accelerator.list_forms(setup.config)


def test_ceilings_are_amounts_per_second(monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr(accelerator.time, "perf_counter", lambda: next(seconds))
    products, copies = accelerator.measure_ceilings(rounds=1)
    assert products.ways["bfloat16"].cost[1] == pytest.approx(8 * 2 * 1024**3 / 1e12)
    assert copies.ways["read and written"].cost[1] == pytest.approx(8 * 2 * 4 * 2**24 / 1e12)


def test_crops_of_a_folder(tmp_path, monkeypatch):
    pixels = np.linspace(0, 255, 420 * 500 * 3, dtype=np.uint8).reshape(420, 500, 3)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    monkeypatch.setattr(crops, "ENLARGED", range(1200, 1201))
    small_ones, enlarged = crops.measure(Options(1, folder=tmp_path))
    assert "1 JPEGs about 500 px" in small_ones.title
    assert small_ones.ways["Pillow"].further == {"from Pillow": 0}
    assert 0 < enlarged.ways["ours"].further["from Pillow"] < 10


def test_growth_names_what_grows(monkeypatch):
    for name, values in {"BATCHES": (2, 4), "CLASSES": (3, 5), "SAMPLES": (50, 100), "RUNS": (1, 2)}.items():
        monkeypatch.setattr(growth, name, values)
    assert [list(part.ways) for part in growth.measure(Options(1))] == [
        ["2 samples", "4 samples"],
        ["3 classes", "5 classes"],
        ["50 samples", "100 samples"],
        ["1 runs", "2 runs"],
    ]


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(score, "SHAPES", ((12, 5, 4), (6, 5, 3)))
    result = run_script("benchmark.py", "score", "--rounds=1", f"--output={tmp_path / 'x.json'}")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "x.json").read_text())
    assert len(report["comparisons"]) == 2
    median = report["comparisons"][0]["ways"]["textbook"]["cost"][1]
    assert f"{median:.3f} ms" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stop"], "'stop'"),
        (["score", "--rounds=0"], "--rounds is 0"),
        (["crops"], "a folder of images"),
        (["step", "--config=configs/none.py"], "there is no config configs/none.py"),
        (["start", "--against=nowhere"], "run `uv sync` in nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments, words):
    check_refusal(run_script("benchmark.py", *arguments), words)
