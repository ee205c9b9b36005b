"""Files of weights, and the networks and runs that begin with them."""

import jax
import numpy as np
from google_vit import google_file

import networks
from configs import base
from training import optimizer
from training.pretrained import load_pretrained_params
from training.state import create_state

SMALL = {"width": 24, "depth": 2, "mlp_dim": 40, "num_heads": 3}
POSITION = "Transformer/posembed_input/pos_embedding"
ONE_BLOCK = {"width": 8, "depth": 1, "mlp_dim": 16, "num_heads": 2, "patch_size": 112}


def network_and_shapes(name, num_classes=1000, size=224, **fields):
    network = networks.build({"name": name, **fields}, num_classes)
    return network, jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]


def started_by_config(num_classes, size, **fields):
    """The network and the parameters that a run with this config would begin with, and those it would without it."""
    config = base.get_config()
    config.update(fields)
    network = networks.build(config.network, num_classes)
    chain = optimizer.build_optimizer(config.optimizer, 10)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = create_state(network, chain, (size, size, 3), 0, device)
    return network, load_pretrained_params(state, config, network).params, state.params


def small_google_file():
    return google_file(**SMALL, patch=8, grid=4, num_classes=7)


def small_network(num_classes=7, size=32, **fields):
    return network_and_shapes("vit", num_classes, size, patch_size=8, activation="gelu_tanh", **(SMALL | fields))


def written(tmp_path, tensors):
    path = tmp_path / "weights.npz"
    np.savez(path, **tensors)
    return path


def some_images():
    return np.random.default_rng(1).standard_normal((3, 32, 32, 3)).astype(np.float32)


def one_block_file():
    """What save_pretrained of transformers 5.23 writes for a ViT of one block, width 8, patch 112 and 3 classes."""
    shapes = {
        "classifier": (3, 8),
        "vit.embeddings.patch_embeddings.projection": (8, 3, 112, 112),
        "vit.encoder.layer.0.attention.attention.key": (8, 8),
        "vit.encoder.layer.0.attention.attention.query": (8, 8),
        "vit.encoder.layer.0.attention.attention.value": (8, 8),
        "vit.encoder.layer.0.attention.output.dense": (8, 8),
        "vit.encoder.layer.0.intermediate.dense": (16, 8),
        "vit.encoder.layer.0.layernorm_after": (8,),
        "vit.encoder.layer.0.layernorm_before": (8,),
        "vit.encoder.layer.0.output.dense": (8, 16),
        "vit.layernorm": (8,),
    }
    random = np.random.default_rng(0)
    tensors = {f"{name}.weight": random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": random.standard_normal(shape[:1], np.float32) for name, shape in shapes.items()}
    tensors["vit.embeddings.cls_token"] = random.standard_normal((1, 1, 8), np.float32)
    tensors["vit.embeddings.position_embeddings"] = random.standard_normal((1, 5, 8), np.float32)
    return tensors
