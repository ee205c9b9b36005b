"""Every field of configs/base.py takes what makes sense and nothing else, judged by tables that are written by hand."""

import math
import random
import re
import shlex

import jax
import jax.numpy as jnp
import pytest
from small_runs import small

from repository import ROOT

import datasets
import fields
import networks
from config_line import parse_config
from configs import base
from datasets.feeds.augment import augment_images
from errors import UserError
from gwa import RULES
from parallel.devices import check_batch_size, make_mesh, parameter_shardings
from sweeps import definition
from training.estimators import check_names
from training.idle import find_idle
from training.loop import train
from training.selection import Selection
from training.step import build_recipe

IMAGE, STEPS_PER_EPOCH, CLASSES = (8, 8, 1), 23, 10  # of digits with its batches of 64
PATHS = [path for path, _ in fields.walk(base.FIELDS)]

FREE_TEXT = {
    *("pretrained", "evaluate", "evaluate_path", "dataset.name", "dataset.path", "dataset.label_key"),
    *("dataset.clean_label_key", "dataset.test_split", "dataset.classes", "dataset.labels"),
    *("wandb.project", "wandb.entity", "wandb.name"),
}
OPTIONAL = {
    *("pretrained", "evaluate_path", "dataset.name", "dataset.path", "dataset.test_split", "dataset.classes"),
    *("eval_batch_size", "dataset.image_size", "dataset.labels", "optimizer.clip_norm", "wandb.entity", "wandb.name"),
    *(path for path in PATHS if path.startswith("network.") and path != "network.compute_dtype"),
}
ZERO = {
    *(
        "seed",
        "dataset.seed",
        "checkpoint_steps",
        "checkpoint_minutes",
        "loss.label_smoothing",
        "dataset.train_examples",
    ),
    *("dataset.val_fraction", "dataset.label_noise.rate", "dataset.stream.threads", "dataset.stream.workers"),
    *("augment.upscale", "augment.randaugment_ops", "augment.randaugment_magnitude", "augment.pad"),
    *("augment.mixup", "augment.cutmix", "network.stochastic_depth", "network.dropout", "optimizer.cosine_steps"),
    *("optimizer.warmup_steps", "optimizer.weight_decay", "optimizer.momentum", "optimizer.ema"),
    *("stopping.patience", "stopping.warmup", "stopping.churn_per_misfit.excess"),
    *("stopping.dissent.share", "stopping.dissent.longest_warmup"),
}
LIMITS = {  # the first values that are too large
    **dict.fromkeys(("loss.label_smoothing", "dataset.val_fraction", "optimizer.momentum", "stopping.warmup"), 1),
    **dict.fromkeys(("network.stochastic_depth", "network.dropout"), 1),
    **dict.fromkeys(("dataset.label_noise.rate", "augment.crop_area"), 1.0001),
    **{"stopping.dissent.share": 1.0001, "stopping.max_bounded_gwa.floor": 1000},
    **{"augment.randaugment_magnitude": 10.0001, "augment.pad": 8, "augment.upscale": 65},
    **{"optimizer.learning_rate": 1e4, "optimizer.clip_norm": 1e7, "epochs": 1e6, "seed": 2**32, "dataset.seed": 2**32},
}
REAL = {
    "checkpoint_minutes",
    *("loss.label_smoothing", "dataset.val_fraction", "dataset.label_noise.rate", "augment.crop_area"),
    *("augment.randaugment_magnitude", "augment.mixup", "augment.cutmix", "network.stochastic_depth"),
    *("network.dropout", "optimizer.learning_rate", "optimizer.weight_decay", "optimizer.momentum"),
    *("optimizer.clip_norm", "optimizer.ema", "stopping.warmup", "stopping.churn_per_misfit.excess"),
    *("stopping.lowest_sharpness.radius", "stopping.max_bounded_gwa.floor", "stopping.dissent.share"),
}
WORDS = {
    "sharding": {"data", "fsdp"},
    "record": {"loss", "margin", "error_norm"},
    "estimators": {"textbook", "offline", "offline_train", "full"},
    "dataset.feed": {"resident"},  # digits cannot be streamed
    "dataset.val_labels": {"observed", "clean"},
    "dataset.label_noise.kind": {"symmetric", "uniform"},  # digits has a rate
    "dataset.clean": {"drop", "relabel"},
    "dataset.stream.damaged": {"fail", "skip"},
    "network.name": {"convnextv2"},  # the others lack fields that digits sets, or have stages too many for 8 pixels
    "network.compute_dtype": {"float32", "bfloat16"},
    "network.activation": {"gelu", "gelu_tanh"},
    "network.head_init": {"normal", "zeros"},
    "optimizer.name": {"adam", "adamw", "sgd"},
    "optimizer.schedule": {"cosine", "constant"},
    "optimizer.decay": {"kernels", "all"},
    "stopping.rules": set(RULES) - {"oracle", "best_validation", "lowest_validation_loss"},  # nothing is held out
    "wandb.mode": {"disabled", "offline", "online"},
}
SWITCHES = {"pretrained_head", "report", "augment.crop_like_tensorflow", "augment.solarize_wraps", "augment.flip"}
SWITCHES |= {"network.stem_bias"}

EXTREMES = (
    *("nan", "inf", "-inf", "0", "-1", "1e30", "-1e30", "", " ", "None", "True", "ünï ✓", "many", "1" + 30 * "0"),
    *("()", "(0,)", "(-1, 2)", "(nan,)", "(1e30, 1)", "('',)", "('a', 'a')", "[]", "{}", "(", "\t", "\x00", 300 * "x"),
)


def draw_ordinary(rng):
    """What a user may try: numbers of any size, words that some field takes, tuples of both."""
    words = sorted({word for some in WORDS.values() for word in some} | {"oracle", "vit_s16", "stream", "adamv"})
    number = rng.choice((f"{round(10 ** rng.uniform(0, 6))}", f"{10 ** rng.uniform(-5, 3):.3g}", f"{rng.random():.2f}"))
    return rng.choice((number, number, number, rng.choice(words), f"({number},{number})", f"({rng.choice(words)},)"))


def build(config, path):
    """What a start builds from the field before the first step, on shapes."""
    section = path.partition(".")[0]
    check_names(config.estimators)
    mesh = make_mesh()
    check_batch_size(config.batch_size, config.optimizer.accumulation_steps, mesh)
    datasets.check_name(config.dataset)
    splits = datasets.build(config.dataset) if section == "dataset" else SPLITS
    recipe = build_recipe(config, CLASSES, config.epochs * STEPS_PER_EPOCH)
    recipe.augmentation.check_size(*IMAGE[:2])
    Selection(config.stopping, splits)
    if section == "network":
        networks.check_contract(recipe.model, IMAGE, CLASSES)
    if section == "augment":
        images, keys = jnp.zeros((2, *IMAGE), jnp.uint8), jax.random.split(jax.random.key(0), 2)
        shape = jax.eval_shape(lambda: augment_images(images, keys, recipe.augmentation)).shape
        assert shape == images.shape
    if section == "optimizer":
        kernel = {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)}
        jax.eval_shape(lambda params: recipe.optimizer.update(params, recipe.optimizer.init(params), params), kernel)
    parameter_shardings(jax.ShapeDtypeStruct((2, 2), jnp.float32), mesh, config.sharding)
    find_idle(config, IMAGE, STEPS_PER_EPOCH, mesh.size)


def judge(path, value):
    """Whether a value makes sense in a field of a run on digits."""
    if isinstance(value, tuple):
        if path in ("network.depths", "network.widths"):
            return len(value) == 2 and all(type(entry) is int and 0 < entry <= 65536 for entry in value)
        least = {"dataset.classes": 2, "stopping.rules": 1}.get(path, 0)
        right = path in FREE_TEXT or path in WORDS
        return right and least <= len(set(value)) == len(value) and all(judge(path, entry) for entry in value)
    if value is None:
        return path in OPTIONAL
    if isinstance(value, bool):
        return path in SWITCHES
    if isinstance(value, str):
        return (path in FREE_TEXT and value.isprintable() and bool(value.strip())) or value in WORDS.get(path, ())
    if path in FREE_TEXT or path in WORDS or path in SWITCHES or not (path in REAL or type(value) is int):
        return False
    return math.isfinite(value) and (value > 0 or (value == 0 and path in ZERO)) and value < LIMITS.get(path, 1e9 + 1)


SPLITS = None


@pytest.fixture(scope="module", autouse=True)
def digits():
    global SPLITS
    SPLITS = datasets.build(definition.configure(definition.Run("configs/digits.py", {"seed": 0})).dataset)


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))


def draw_pairs(count, seed=0):
    rng = random.Random(seed)
    for number in range(count):
        yield rng.choice(PATHS), rng.choice(EXTREMES) if number % 2 else draw_ordinary(rng)


def try_pair(path, text):
    """The config if a start would accept it, and otherwise what it would say."""
    try:
        config = parse_config(["--config=configs/digits.py", f"--config.{path}={text}"])
        build(config, path)
    except UserError as error:
        return str(error)
    return config


def test_a_thousand_pairs_are_refused_in_one_line_or_make_sense():
    accepted = 0
    for path, text in draw_pairs(1000):
        result = try_pair(path, text)
        if isinstance(result, str):
            assert len(result.splitlines()) == 1, (path, text)
            assert len(result) < 1000, (path, text)
        else:
            accepted += 1
            assert judge(path, fields.read(result, path)), (path, text)
    assert 150 < accepted < 500


@pytest.mark.slow
def test_what_is_accepted_can_be_trained(tmp_path):
    """Pairs that a start accepts end in a trained epoch, or in one line."""
    trained, refusals = 0, []
    tiny = ["dataset.train_examples=64", "network.depths=(1,)", "network.widths=(8,)", "report=False"]
    tiny += ["epochs=1", "network.patch_size=2", "steps_per_dispatch=1", "augment.pad=0"]
    for path, text in draw_pairs(1000, seed=1):
        shaped = path.split(".")[0] in ("network", "epochs", "steps_per_dispatch", "report", "wandb", "pretrained")
        if shaped or trained == 8 or isinstance(try_pair(path, text), str):
            continue
        arguments = [f"--config.{setting}" for setting in tiny if not setting.startswith(f"{path}=")]
        config = parse_config(["--config=configs/digits.py", *arguments, f"--config.{path}={text}"])
        try:
            assert train(config, tmp_path / str(trained))["epochs"] == 1, (path, text)
        except UserError as error:
            refusals.append(str(error))
        else:
            trained += 1
    assert trained == 8
    assert all(len(line.splitlines()) == 1 for line in refusals)


def test_the_lists_of_names_are_complete():
    assert set(base.NETWORKS) == set(networks.NAMES)
    assert tuple(RULES) == base.RULES


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (["network.widths=(4,4)"], "network.widths", (4, 4)),
        (["network.widths=(8,16)", "network.widths=(4,4)"], "network.widths", (4, 4)),
        (["stopping.rules=('last',)", "stopping.rules=('max_gwa','last')"], "stopping.rules", ("max_gwa", "last")),
        (["stopping.rules=last"], "stopping.rules", ("last",)),
        (["stopping.rules=(max_gwa, last)"], "stopping.rules", ("max_gwa", "last")),
        (["record=('loss',)", "record=()"], "record", ()),
        (["epochs=3", "epochs=2"], "epochs", 2),
        (["optimizer.clip_norm=1", "optimizer.clip_norm=None"], "optimizer.clip_norm", None),
        (["network.patch_size=None"], "network.patch_size", None),
        (["network.stem_bias=True", "network.stem_bias=None"], "network.stem_bias", None),
        (["dataset.classes=('0','1')", "dataset.classes=None"], "dataset.classes", None),
        (["dataset.path=x", "dataset.path=None"], "dataset.path", None),
    ],
)
def test_the_last_word_on_a_field_replaces_the_others(arguments, path, value):
    words = ["--config=configs/digits.py", *(f"--config.{argument}" for argument in arguments)]
    assert fields.read(parse_config(words), path) == value


def test_a_sweep_replaces_tuples_too():
    run = definition.Run("configs/digits.py", {"seed": 0}, {"network.widths": (8, 16), "stopping.rules": ("max_gwa",)})
    options = ["--config.network.widths=(4,4)", "--config.stopping.rules=last", "--config.stopping.rules=max_gwa,last"]
    (selected,) = definition.select(definition.Sweep("x", (run,)), "*", options).runs
    config = definition.configure(selected)
    assert (config.network.widths, config.stopping.rules) == ((4, 4), ("max_gwa", "last"))


IDLE = [  # options over digits, and the fields that then do nothing
    (["augment.crop_area=0.2"], ["augment.crop_area"]),
    (["dataset.image_size=32"], ["dataset.image_size"]),
    (["dataset.path=x", "dataset.label_key=worse_label"], ["dataset.path", "dataset.label_key"]),
    (["dataset.stream.threads=4", "dataset.stream.damaged=skip"], ["dataset.stream.threads", "dataset.stream.damaged"]),
    (["dataset.seed=3"], []),
    (["dataset.seed=3", "dataset.label_noise.rate=0"], ["dataset.label_noise.kind", "dataset.seed"]),
    (["dataset.clean=relabel"], ["dataset.clean"]),
    (["augment.randaugment_magnitude=5"], ["augment.randaugment_magnitude"]),
    (["augment.randaugment_magnitude=5", "augment.randaugment_ops=2"], []),
    (["augment.upscale=8"], ["augment.upscale"]),
    (["optimizer.momentum=0.5"], ["optimizer.momentum"]),
    (["optimizer.momentum=0.5", "optimizer.name=sgd"], []),
    (["optimizer.decay=all"], ["optimizer.decay"]),
    (["optimizer.cosine_steps=690", "optimizer.schedule=constant"], ["optimizer.cosine_steps"]),
    (["stopping.label_wave.window=2"], ["stopping.label_wave.window"]),
    (["stopping.label_wave.window=2", "stopping.rules=max_gwa,label_wave"], []),
    (["stopping.gradient_disparity.batches=3", "stopping.rules=gradient_disparity_consecutive"], []),
    (["stopping.patience=30"], ["stopping.patience"]),
    (["checkpoint_steps=23"], ["checkpoint_steps"]),
    (["sharding=fsdp"], ["sharding"]),
    (["optimizer.ema=0.0001"], ["optimizer.ema"]),
    (["optimizer.ema=0.5"], []),
    (["evaluate_path=x", "pretrained_head=True"], ["pretrained_head", "evaluate_path"]),
    (["wandb.project=mine"], ["wandb.project"]),
    (["wandb.project=mine", "wandb.mode=offline"], []),
]


@pytest.mark.parametrize(("options", "idle"), IDLE)
def test_settings_that_do_nothing_are_named(options, idle):
    config = parse_config(["--config=configs/digits.py", *(f"--config.{option}" for option in options)])
    lines = find_idle(config, IMAGE, STEPS_PER_EPOCH, num_devices=1)
    assert [line.partition("=")[0] for line in lines] == idle
    for line, path in zip(lines, idle, strict=True):
        assert line.startswith(f"{path}={fields.read(config, path)} has no effect on this run: ")
        assert "\n" not in line


SWEEPS = sorted(path.name for path in (ROOT / "configs" / "sweeps").glob("*.py"))


@pytest.mark.parametrize(
    ("interval", "at_the_ends"),
    [("[2, 5]", [True, True]), ("(2, 5]", [False, True]), ("[2, 5)", [True, False]), ("(2, 5)", [False, False])],
)
def test_the_ends_of_an_interval(interval, at_the_ends):
    for kind in (fields.number(interval), fields.whole(interval)):
        assert [kind.fits(value) for value in (1, 2, 3, 5, 6)] == [False, at_the_ends[0], True, at_the_ends[1], False]


def test_a_text_is_as_long_as_a_file_name_at_most():
    assert [fields.TEXT.fits("a" * length) for length in (1, 255, 256)] == [True, True, False]


@pytest.mark.parametrize("file", SWEEPS)
def test_no_run_of_ours_has_settings_that_do_nothing(file):
    """But for the kind of noise in cells without noise."""
    for run in definition.load(f"configs/sweeps/{file}").runs[::7]:
        config = definition.configure(run)
        lines = [line.partition("=")[0] for line in fields.find_idle(config, base.FIELDS)]
        noise = config.dataset.label_noise
        assert lines == ["dataset.label_noise.kind"] * (noise.kind != "none" and not noise.rate), run.name


def test_every_command_of_the_results_can_be_pasted():
    commands = re.findall(r"`uv run (src/train.py [^`]*)`", (ROOT / "results" / "README.md").read_text())
    assert len(commands) > 20
    for command in commands:
        assert parse_config(shlex.split(command)[1:]).epochs > 0, command


SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "option",
    [
        f"wandb.name={SECRET}",
        "wandb.name=sk-proj-1234567",
        f"dataset.path=/{SECRET}/x",
        f"network.options.key={SECRET}",
    ],
)
def test_a_secret_is_refused_without_being_repeated(monkeypatch, option):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    with pytest.raises(UserError, match="looks like a secret key") as error:
        parse_config(["--config=configs/digits.py", f"--config.{option}"])
    assert option.partition("=")[2] not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update({"epoch": 3}), "no field epoch; did you mean epochs"),
        (lambda config: config.optimizer.update({"rate": 3}), "no field optimizer.rate"),
        (lambda config: config.__setitem__("optimizer", base.ConfigDict({"name": "sgd"})), "lacks optimizer.learning"),
        (lambda config: config.update({"epochs": 10**6000}), "epochs is a number of more than 38 digits"),
    ],
)
def test_a_config_file_is_checked_as_well(change, message):
    config = small()
    change(config)
    with pytest.raises(UserError, match=message):
        fields.check(config, base.FIELDS)
