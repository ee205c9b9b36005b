"""Accelerators: what they do in a second, and what XLA must know to compile for them."""

from typing import NamedTuple


class Accelerator(NamedTuple):
    """Peak rates of dense products in TFLOP/s, a multiply-add being 2 FLOPs; memory in GB (10^9 bytes) and TB/s."""

    bfloat16: float
    float32: float
    memory: float
    bandwidth: float


ACCELERATORS = {
    # NVIDIA's data sheets, without sparsity; float32 is TF32, JAX's default there. RTX A6000, A100 SXM, H100 SXM, H200.
    "a6000": Accelerator(154.8, 77.4, 48, 0.768),
    "a100": Accelerator(312, 156, 80, 2.039),
    "h100": Accelerator(989, 495, 80, 3.35),
    "h200": Accelerator(989, 495, 141, 4.8),
    # Google Cloud's documentation, per chip; JAX's default multiplies float32 in bfloat16 there.
    "tpu_v4": Accelerator(275, 275, 32, 1.2),
    "tpu_v5e": Accelerator(197, 197, 16, 0.819),
    "tpu_v5p": Accelerator(459, 459, 95, 2.765),
}


class Gpu(NamedTuple):
    """What XLA must know about a GPU; sizes in bytes.

    From NVIDIA's data sheets and the tables of compute capabilities in its CUDA programming guide.
    """

    capability: tuple[int, int]
    cores: int  # streaming multiprocessors
    units: int  # for float32 in each
    threads: int  # at most on each
    shared: int  # memory of each
    shared_per_block: int  # of that, at most
    cache: int  # L2
    clock: float  # GHz


GPUS = {
    "a6000": Gpu((8, 6), 84, 128, 1536, 102_400, 101_376, 6 << 20, 1.80),
    "a100": Gpu((8, 0), 108, 64, 2048, 167_936, 166_912, 40 << 20, 1.41),
    "h100": Gpu((9, 0), 132, 128, 2048, 233_472, 232_448, 50 << 20, 1.98),
    "h200": Gpu((9, 0), 132, 128, 2048, 233_472, 232_448, 50 << 20, 1.98),
}
TPUS = {"tpu_v5e": ("v5e", 2), "tpu_v5p": ("v5p", 3)}
"""The name in libtpu, and in how many dimensions the chips are connected."""
