"""Every field of a run, once, with its unit, its allowed values and its default. The other configs change a handful.

A field whose default is None takes the value that its reader names: an optional field that is "not set".
"""

from ml_collections import ConfigDict, config_dict


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
    return ConfigDict(
        {
            "seed": 0,  # of initialisation, shuffling, augmentation and dropout
            "epochs": 30,  # passes over the training set
            "batch_size": 128,  # samples per update, on all devices together
            "eval_batch_size": config_dict.placeholder(
                int
            ),  # samples per evaluation step, on all devices (None: it suits them)
            "steps_per_dispatch": 8,  # updates per call of the device; more is faster, the progress bar gets coarser
            "keep_freed_memory": True,  # on CPU, without streaming: less time per step, and memory stays at its peak
            "checkpoint_steps": 0,  # updates between checkpoints within an epoch; 0: only at its end
            "sharding": "data",  # data: all parameters on each device; fsdp: they and the optimiser state spread out
            "pretrained": config_dict.placeholder(str),  # weights to start from: .npz (Google's ViT), .safetensors, run
            "pretrained_head": False,  # keep their head too: for the same classes in the same order
            "dataset": dataset(),
            "augment": augment(),
            "network": Network(network()),
            "loss": {"label_smoothing": 0.0},  # share of the target spread evenly over all classes, [0, 1)
            "optimizer": optimizer(),
            "stopping": stopping(),
            "record": (),  # further values of each training sample to record: loss, margin, error_norm
            "estimators": (),  # further estimates of the alignments to record: names of training.estimators
            # Test sets measured on every rule's checkpoint when training ends: cifar10_c, imagenet_c and, of streamed
            # runs, imagenet_real and any folder of classes in evaluate_path, such as imagenet_v2.
            "evaluate": (),
            "evaluate_path": config_dict.placeholder(str),  # folder of their folders; None: corruptions of the test set
            "report": True,  # write the page of the run, report.html, when training ends
            "wandb": wandb(),
        }
    )


def dataset() -> dict:
    """Where images and labels come from, and what is done to the labels."""
    return {
        "name": config_dict.placeholder(str),  # digits, arrays (.npz), folder (of classes), a tfds name, my_module:load
        "path": config_dict.placeholder(str),  # arrays: file; folder: it; tfds: its data folder (None: its own default)
        "feed": "resident",  # resident: the whole set on the device; stream: decoded from disk while training
        "label_key": "label",  # tfds: the feature trained on; aggre_label, random_label1..3, worse_label in cifar10_n
        "clean_label_key": "label",  # tfds: the feature that only evaluates
        "test_split": config_dict.placeholder(str),  # tfds, folder: to test on (None: test; tfds: or else validation)
        "classes": config_dict.placeholder(tuple),  # names of the classes to keep, in this order (None: all)
        "image_size": config_dict.placeholder(int),  # pixels; side of the images: resident resizes, stream crops to it
        "train_examples": 0,  # train on a stratified subset of this many; 0 for all
        "val_fraction": 0.0,  # stratified share of the training data held out for validation, [0, 1)
        # Labels of the held-out data: observed or, as in the paper, clean even where the training labels are noisy.
        # Nobody has those in practice; with them, the rules that validate read clean labels.
        "val_labels": "observed",
        "label_noise": {
            "kind": "none",  # none, symmetric, asymmetric (CIFAR-10's class map), uniform (any class at random)
            "rate": 0.0,  # share of the labels that the noise touches, [0, 1]
        },
        "labels": config_dict.placeholder(str),  # label_issues.csv of a run, to clean the training labels by (None: no)
        "clean": "drop",  # what happens to the samples that it flags: drop, or relabel
        "stream": {
            "threads": 0,  # that read and decode, of each worker if there are some; 0: one per core, or per worker
            "workers": 0,  # processes that do so instead: where a process needs more than 2,500 images a second
            "buffer": 2,  # batches ready ahead of the device
            "resize": 256,  # pixels; the shorter side of an evaluated image before its central crop
            "damaged": "fail",  # what a damaged image of any folder does: fail, or skip (listed in summary.json)
        },
        "seed": 0,  # of label noise, subset and validation split: runs that differ in `seed` share their data
    }


def augment() -> dict:
    """What the training images go through on the device, in this order; 0 or False leaves a step out."""
    return {
        "crop_area": 0.05,  # stream: smallest share of an image that a random crop shows, (0, 1]
        "crop_like_tensorflow": False,  # stream: draw its height uniformly, not its area; shrink without antialiasing
        "upscale": 0,  # pixels; side to enlarge images to before a random crop of their original size
        "randaugment_ops": 0,  # RandAugment operations per image
        "randaugment_magnitude": 0.0,  # their strength, [0, 10]
        "solarize_wraps": False,  # at magnitude 10, Solarize's threshold 256 becomes 0: it inverts all, not nothing
        "pad": 0,  # pixels of black on each side before a random crop of the image's own size
        "flip": False,  # mirror every second image
        "mixup": 0.0,  # alpha of the Beta distribution that mixes pairs of images
        "cutmix": 0.0,  # the same for pasted boxes; with both, a coin decides per batch
    }


def network() -> dict:
    """A name of `networks.NAMES`, or `my_module:MyNet`, and departures from what the name stands for."""
    return {
        "name": config_dict.placeholder(str),
        "compute_dtype": "float32",  # or bfloat16; parameters, head, loss and scores stay float32
        "patch_size": config_dict.placeholder(int),  # pixels; of the ViT's patches, of the ConvNeXt's stem
        "patch_init": config_dict.placeholder(
            str
        ),  # ViT: of the kernel that embeds patches, xavier_uniform or lecun_normal
        "activation": config_dict.placeholder(str),  # gelu (exact) or gelu_tanh
        "stochastic_depth": config_dict.placeholder(float),  # rate of dropped branches at the last block, [0, 1)
        "head_init": config_dict.placeholder(str),  # normal or zeros
        "kernel_size": config_dict.placeholder(int),  # ConvNeXt: pixels; of the depthwise convolutions
        "stem_bias": config_dict.placeholder(bool),  # ConvNeXt
        "depths": config_dict.placeholder(tuple),  # ConvNeXt: blocks per stage
        "widths": config_dict.placeholder(tuple),  # ConvNeXt: channels per stage
        "width": config_dict.placeholder(int),  # ViT: features per token
        "depth": config_dict.placeholder(int),  # ViT: blocks
        "mlp_dim": config_dict.placeholder(int),  # ViT: hidden features
        "num_heads": config_dict.placeholder(int),  # ViT
        "position": config_dict.placeholder(str),  # ViT: learned or sincos2d
        "pooling": config_dict.placeholder(str),  # ViT: token, mean or attention
        "dropout": config_dict.placeholder(float),  # ViT: rate, [0, 1)
        "options": {},  # fields of a network from outside, such as network.options.width
    }


def optimizer() -> dict:
    """The optax chain: clip, rule, weight decay, schedule."""
    return {
        "name": "adamw",  # adam, adamw, sgd
        "learning_rate": 1e-3,  # at its peak
        "schedule": "cosine",  # cosine (to 0) or constant, after the warm-up
        "cosine_steps": 0,  # updates, warm-up included, after which the cosine has reached 0; 0: those of the run
        "warmup_steps": 0,  # updates of linear warm-up from 0
        "weight_decay": 0.0,  # multiplied by the learning rate, as optax.adamw does; not for adam
        "decay": "kernels",  # what decays: kernels, or all parameters as in the paper's repository
        "momentum": 0.9,  # sgd
        "clip_norm": config_dict.placeholder(float),  # largest global norm of a gradient (None: any)
        "ema": 0.0,  # epochs over which the moving average of the parameters forgets 63 %; 0: no average is kept
        "accumulation_steps": 1,  # parts a batch is computed in, to save memory; the update is that of the whole batch
    }


def stopping() -> dict:
    """Which epochs to keep checkpoints of, and whether to stop before the last."""
    return {
        "rules": ("max_gwa",),  # of gwa.RULES, or my_module:MyRule; the first one chooses, and may stop training
        "patience": 0,  # epochs the first rule waits for a better one before training stops; 0 trains to the end
        "warmup": 0.1,  # share of training whose epochs are not eligible, for rules on training signals
        # Parameters of single rules; those that halt by themselves end training where they are the first.
        "label_wave": {"window": 3, "patience": 5},  # epochs averaged; epochs without a lower average until it halts
        "gradient_disparity": {"batches": 5, "increases": 5},  # also of gradient_disparity_consecutive
        "churn_per_misfit": {"excess": 0.2},  # rise above the minimum that halts, as a share of it
        "lowest_sharpness": {"batches": 5, "radius": 0.05},  # the step up the gradient, as a distance
    }


def wandb() -> dict:
    """Weights & Biases."""
    return {
        "mode": "disabled",  # disabled, offline (upload later with `wandb sync`) or online
        "project": "gwa",
        "entity": config_dict.placeholder(str),
        "name": config_dict.placeholder(str),  # None: the work directory's name
    }
