"""The corruptions of CIFAR-10-C and ImageNet-C by name. `corrupt` applies them, and only that needs SciPy."""

from errors import UserError

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The fifteen that the benchmark's mean is taken over."""

BENCHMARK = tuple(name for names in GROUPS.values() for name in names)

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four that the benchmark holds out for validation."""

CORRUPTIONS = {name: group for group, names in (GROUPS | {"extra": EXTRA}).items() for name in names}
"""The group of each corruption; ImageNet-C has a folder per group."""

SEVERITIES = (1, 2, 3, 4, 5)


def check_corruption(name: str, severity: int) -> None:
    """Refuses a name or a severity that the benchmark does not have.

    Raises:
      UserError: in either case.
    """
    if name not in CORRUPTIONS:
        raise UserError(f"there is no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UserError(f"there is no severity {severity}; it must be a whole number from 1 to 5")
