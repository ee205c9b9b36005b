"""Every field of a run, once, with its default, its allowed values, its unit and what it depends on.

`Field(default, what it may hold, when it matters)`: the program refuses other values before it reads any data, and says
at the start which of the fields that were changed do nothing in this run. The other configs change a handful. A field
whose default is None takes the value that its reader names: an optional field that is "not set".
"""

from ml_collections import ConfigDict, config_dict

from extensions import is_external
from fields import (
    COUNT,
    COUNT_OR_0,
    SHARE,
    SWITCH,
    TEXT,
    Condition,
    Field,
    Section,
    both,
    defaults,
    either,
    given,
    named,
    number,
    one_of,
    one_of_or_external,
    optional,
    several,
    unless,
    where,
    whole,
)

NETWORKS = (
    *("convnextv2_atto", "convnextv2_femto", "convnextv2_pico", "convnextv2_nano", "convnextv2_tiny"),
    *("convnextv2_base", "convnextv2_large", "convnextv2_huge", "convnextv2"),
    *("vit_ti16", "vit_s16", "vit_b16", "vit_l16", "vit_so400m14", "vit"),
)
RULES = (
    *("max_gwa", "max_bounded_gwa", "min_then_max_gwa", "best_validation", "lowest_validation_loss", "label_wave"),
    *("gradient_disparity", "gradient_disparity_consecutive", "lowest_train_loss", "lowest_gradient_norm"),
    *("lowest_head_gradient_norm", "lowest_prediction_entropy", "churn_per_misfit", "dissent", "hard_dissent"),
    *("lowest_sharpness", "last", "oracle"),
)
NOISE = one_of("none", "symmetric", "asymmetric", "uniform")
SEED = whole("[0, 4294967295]")
PIXELS = whole("[1, 4096]")
DEPTH, WIDTH = whole("[1, 1000]"), whole("[1, 65536]")
EPOCHS = whole("[1, 100000]")
STEPS = whole("[0, 1000000000]")
STREAMED = where("dataset.feed", "stream")
TFDS = unless("dataset.name", "digits", "arrays", "folder")
TRACKED = unless("wandb.mode", "disabled")
DRAWS = Condition(
    lambda config: (
        config.dataset.label_noise.rate > 0
        or config.dataset.train_examples > 0
        or config.dataset.val_fraction > 0
        or is_external(config.dataset.name)
    ),
    "label noise, a subset or a validation split",
)
PATIENT = Condition(
    lambda config: config.stopping.rules[0] != "last" and config.stopping.patience < config.epochs,
    "fewer epochs than the run has, and another first rule than last",
)


class Options(ConfigDict):
    """A section that takes any field, even where the config around it is locked, from a file or the command line."""

    def lock(self) -> "Options":
        """Leaves it open."""
        return self

    def get_type(self, key: str) -> type:
        """Any type for a field that is not there yet; the command line asks before it sets one."""
        if key not in self:
            self[key] = config_dict.placeholder(object)
        return super().get_type(key)


class Network(ConfigDict):
    """The section `network`, whose `options` may be set to any dictionary."""

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, Options(value or {}) if key == "options" else value)


def get_config() -> ConfigDict:
    """The defaults that every experiment starts from; it names no data set and no network."""
    return ConfigDict(defaults(FIELDS) | {"network": Network(defaults(network()))})


def run() -> Section:
    """All sections, and the fields that belong to none."""
    return {
        "seed": Field(0, SEED),  # of initialisation, shuffling, augmentation and dropout
        "epochs": Field(30, whole("[1, 100000]")),  # passes over the training set
        "batch_size": Field(128, COUNT),  # samples per update, on all devices together
        # Samples per evaluation step, on all devices together (None: what suits them).
        "eval_batch_size": Field(None, optional(COUNT)),
        # Updates per call of the device; more is faster, the progress bar gets coarser. At most those of an epoch.
        "steps_per_dispatch": Field(8, COUNT),
        # On CPU, without streaming: less time per step, and the process keeps the most memory that it ever needed.
        "keep_freed_memory": Field(True, SWITCH),
        "checkpoint_steps": Field(0, COUNT_OR_0),  # updates between checkpoints within an epoch; 0: only at its end
        # Least time from one checkpoint at the end of an epoch to the next; the first and last epoch always have one.
        "checkpoint_minutes": Field(1.0, number("[0, 100000]")),
        # data: all parameters on each device; fsdp: they and the optimiser state spread out
        "sharding": Field("data", one_of("data", "fsdp")),
        # Of float32 products on accelerators, while training; highest: full float32, 8 times as slow on an H200 (None:
        # JAX's default, TF32 on NVIDIA GPUs that have it, bfloat16 on TPUs). The head always uses full float32.
        "matmul_precision": Field(None, optional(one_of("highest"))),
        # Weights to start from: .npz (Google's ViT), .safetensors, a run.
        "pretrained": Field(None, optional(TEXT)),
        # Keep their head too: for the same classes in the same order.
        "pretrained_head": Field(False, SWITCH, given("pretrained")),
        "dataset": dataset(),
        "augment": augment(),
        "network": network(),
        "loss": {"label_smoothing": Field(0.0, SHARE)},  # share of the target spread evenly over all classes
        "optimizer": optimizer(),
        "stopping": stopping(),
        # Further values of each training sample to record.
        "record": Field((), several(one_of("loss", "margin", "error_norm"))),
        # Further estimates of the alignments to record; `layers=<pattern>` too (training.estimators).
        "estimators": Field((), several(TEXT)),
        # Test sets measured on every rule's checkpoint when training ends: cifar10_c, imagenet_c and, of streamed
        # runs, imagenet_real and any folder of classes in evaluate_path, such as imagenet_v2.
        "evaluate": Field((), several(TEXT)),
        # Folder of their folders; None: corruptions of the test set.
        "evaluate_path": Field(None, optional(TEXT), given("evaluate")),
        "report": Field(True, SWITCH),  # write the page of the run, report.html, when training ends
        "wandb": wandb(),
    }


def dataset() -> Section:
    """Where images and labels come from, and what is done to the labels."""
    return {
        # digits, arrays (.npz), folder (of classes), a tfds name, my_module:load
        "name": Field(None, optional(TEXT)),
        # arrays: file; folder: it; tfds: its data folder (None: its own default)
        "path": Field(None, optional(TEXT), unless("dataset.name", "digits")),
        # resident: the whole set on the device; stream: decoded from disk while training
        "feed": Field("resident", one_of("resident", "stream")),
        # tfds: the feature trained on; aggre_label, random_label1..3, worse_label in cifar10_n
        "label_key": Field("label", TEXT, TFDS),
        "clean_label_key": Field("label", TEXT, TFDS),  # tfds: the feature that only evaluates
        # tfds, folder: the split to test on (None: test; of tfds, or else validation)
        "test_split": Field(None, optional(TEXT), unless("dataset.name", "digits", "arrays")),
        # Names of the classes to keep, in this order (None: all).
        "classes": Field(None, optional(several(TEXT, least=2))),
        # Pixels; side of the images. A resident folder and a resident tfds set are resized to it, stream crops to it.
        "image_size": Field(None, optional(PIXELS), unless("dataset.name", "digits", "arrays")),
        # Train on a stratified subset of this many; 0 for all.
        "train_examples": Field(0, whole("[0, 1000000000]")),
        "val_fraction": Field(0.0, SHARE),  # stratified share of the training data held out for validation
        # Labels of the held-out data: observed or, as in the paper, clean even where the training labels are noisy.
        # Nobody has those in practice; with them, rules that use validation data read clean labels.
        "val_labels": Field("observed", one_of("observed", "clean")),
        "label_noise": {
            # asymmetric: CIFAR-10's class map; uniform: any class at random
            "kind": Field("none", NOISE, given("dataset.label_noise.rate")),
            "rate": Field(0.0, number("[0, 1]")),  # share of the labels that the noise touches
        },
        # label_issues.csv of a run, to clean the training labels by (None: no)
        "labels": Field(None, optional(TEXT)),
        # What happens to the samples that it flags.
        "clean": Field("drop", one_of("drop", "relabel"), given("dataset.labels")),
        "stream": {
            # Threads that read and decode, of each worker if there are some; 0: one per core, or per worker.
            "threads": Field(0, whole("[0, 1024]"), STREAMED),
            # Processes that do so instead: where a process needs more than 2,500 images a second.
            "workers": Field(0, whole("[0, 1024]"), STREAMED),
            "buffer": Field(2, whole("[1, 1000]"), STREAMED),  # batches ready ahead of the device
            # Pixels; the shorter side of an evaluated image before its central crop.
            "resize": Field(256, PIXELS, STREAMED),
            # What a damaged image of any folder does; those that are skipped are listed in summary.json.
            "damaged": Field("fail", one_of("fail", "skip"), either(STREAMED, where("dataset.name", "folder"))),
        },
        # Of label noise, subset and validation split: runs that differ in `seed` share their data.
        "seed": Field(0, SEED, DRAWS),
    }


def augment() -> Section:
    """What the training images go through on the device, in this order; 0 or False leaves a step out."""
    drawn = given("augment.randaugment_ops")
    return {
        # Smallest share of an image that a random crop shows.
        "crop_area": Field(0.05, number("[0.001, 1]"), STREAMED),
        # Draw the crop's height uniformly, not its area; shrink without antialiasing.
        "crop_like_tensorflow": Field(False, SWITCH, STREAMED),
        # Pixels; side to enlarge images to before a random crop of their original size; 0, or 1 to 8 times that size.
        "upscale": Field(0, whole("[0, 32768]")),
        "randaugment_ops": Field(0, whole("[0, 20]")),  # RandAugment operations per image
        "randaugment_magnitude": Field(0.0, number("[0, 10]"), drawn),  # their strength
        # At magnitude 10, Solarize's threshold 256 becomes 0: it inverts all, not nothing.
        "solarize_wraps": Field(False, SWITCH, both(drawn, where("augment.randaugment_magnitude", 10))),
        # Pixels of black on each side before a random crop of the image's own size; less than that size.
        "pad": Field(0, whole("[0, 4095]")),
        "flip": Field(False, SWITCH),  # mirror each image with probability 1/2
        "mixup": Field(0.0, number("[0, 100]")),  # alpha of the Beta distribution that mixes pairs of images
        "cutmix": Field(0.0, number("[0, 100]")),  # the same for pasted boxes; with both, each batch draws one
    }


def network() -> Section:
    """A name of `NETWORKS`, or `my_module:MyNet`, and departures from what the name stands for."""
    return {
        "name": Field(None, optional(one_of_or_external(*NETWORKS))),
        "compute_dtype": Field("float32", one_of("float32", "bfloat16")),  # of all but parameters, head, loss, scores
        "patch_size": Field(None, optional(whole("[1, 256]"))),  # pixels; of the ViT's patches, of the ConvNeXt's stem
        # ViT: of the kernel that embeds patches.
        "patch_init": Field(None, optional(one_of("xavier_uniform", "lecun_normal"))),
        "activation": Field(None, optional(one_of("gelu", "gelu_tanh"))),  # gelu is exact
        "stochastic_depth": Field(None, optional(SHARE)),  # rate of dropped branches at the last block
        "head_init": Field(None, optional(one_of("normal", "zeros"))),
        "kernel_size": Field(None, optional(whole("[1, 63]"))),  # ConvNeXt: pixels; of the depthwise convolutions
        "stem_bias": Field(None, optional(SWITCH)),  # ConvNeXt
        "depths": Field(None, optional(several(DEPTH, least=1, distinct=False))),  # ConvNeXt: blocks per stage
        "widths": Field(None, optional(several(WIDTH, least=1, distinct=False))),  # ConvNeXt: channels per stage
        "width": Field(None, optional(WIDTH)),  # ViT: features per token
        "depth": Field(None, optional(DEPTH)),  # ViT: blocks
        "mlp_dim": Field(None, optional(WIDTH)),  # ViT: hidden features
        "num_heads": Field(None, optional(whole("[1, 1024]"))),  # ViT; a divisor of the width
        "position": Field(None, optional(one_of("learned", "sincos2d"))),  # ViT
        "pooling": Field(None, optional(one_of("token", "mean", "attention"))),  # ViT
        "dropout": Field(None, optional(SHARE)),  # ViT: rate
        "options": {},  # fields of a network from outside, such as network.options.width
    }


def optimizer() -> Section:
    """The optax chain: clip, rule, weight decay, schedule."""
    return {
        "name": Field("adamw", one_of("adam", "adamw", "sgd")),
        "learning_rate": Field(1e-3, number("(0, 1000]")),  # at its peak
        "schedule": Field("cosine", one_of("cosine", "constant")),  # after the warm-up; the cosine ends at 0
        # Updates, warm-up included, after which the cosine has reached 0; 0: those of the run.
        "cosine_steps": Field(0, STEPS, where("optimizer.schedule", "cosine")),
        "warmup_steps": Field(0, STEPS),  # updates of linear warm-up from 0; fewer than those of the run
        "weight_decay": Field(0.0, number("[0, 1000]")),  # multiplied by the learning rate; not for adam
        # What decays: kernels, or all parameters as in the paper's repository.
        "decay": Field("kernels", one_of("kernels", "all"), given("optimizer.weight_decay")),
        "momentum": Field(0.9, SHARE, where("optimizer.name", "sgd")),
        "clip_norm": Field(None, optional(number("(0, 1000000]"))),  # largest global norm of a gradient (None: any)
        # Time constant, in epochs, of the exponential moving average (EMA) of the parameters; 0: no EMA.
        "ema": Field(0.0, number("[0, 100000]")),
        # Parts a batch is computed in, to save memory; the update is that of the whole batch.
        "accumulation_steps": Field(1, COUNT),
    }


def stopping() -> Section:
    """Which epochs to keep checkpoints of, and whether to stop before the last."""
    disparity = named("stopping.rules", "gradient_disparity", "gradient_disparity_consecutive")
    wave, churn = named("stopping.rules", "label_wave"), named("stopping.rules", "churn_per_misfit")
    sharpness, dissent = named("stopping.rules", "lowest_sharpness"), named("stopping.rules", "dissent", "hard_dissent")
    fine_tuning, bounded = named("stopping.rules", "min_then_max_gwa"), named("stopping.rules", "max_bounded_gwa")
    return {
        # Of RULES, or my_module:MyRule; the first one chooses, and may stop training.
        "rules": Field(("max_gwa",), several(one_of_or_external(*RULES), least=1)),
        # Epochs the first rule waits for a better one before training stops; 0 trains to the end.
        "patience": Field(0, whole("[0, 100000]"), PATIENT),
        # Share of training whose epochs are not eligible, for rules on training signals.
        "warmup": Field(0.1, SHARE),
        # Parameters of single rules; those that halt by themselves end training where they are the first.
        "label_wave": {
            "window": Field(3, EPOCHS, wave),  # epochs averaged
            "patience": Field(5, EPOCHS, wave),  # epochs without a lower average until it halts
        },
        "gradient_disparity": {
            "batches": Field(5, whole("[2, 1000]"), disparity),
            "increases": Field(5, EPOCHS, disparity),  # until it halts
        },
        "min_then_max_gwa": {"confirm": Field(3, EPOCHS, fine_tuning)},  # epochs that must stay above the minimum
        "max_bounded_gwa": {"floor": Field(0.6, number("(0, 100]"), bounded)},  # least denominator of the score
        "dissent": {  # and of hard_dissent
            "least": Field(5, EPOCHS, dissent),  # epochs averaged, at least
            "share": Field(1 / 3, number("[0, 1]"), dissent),  # of the epochs so far, averaged
            "longest_warmup": Field(5, whole("[0, 100000]"), dissent),  # epochs, whatever stopping.warmup says
        },
        # Relative rise above the minimum at which the rule halts.
        "churn_per_misfit": {"excess": Field(0.2, number("[0, 1000]"), churn)},
        "lowest_sharpness": {
            "batches": Field(5, whole("[1, 1000]"), sharpness),
            "radius": Field(0.05, number("[0.000001, 1000]"), sharpness),  # the step up the gradient, as a distance
        },
    }


def wandb() -> Section:
    """Weights & Biases."""
    return {
        # offline: upload later with `wandb sync`
        "mode": Field("disabled", one_of("disabled", "offline", "online")),
        "project": Field("gwa", TEXT, TRACKED),
        "entity": Field(None, optional(TEXT), TRACKED),
        "name": Field(None, optional(TEXT), TRACKED),  # None: the work directory's name
    }


#: Every field by its name, sections nested.
FIELDS = run()
