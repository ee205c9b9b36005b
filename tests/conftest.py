"""The test session is stricter than a user's: no silent broadcasting, and no promised check that is skipped."""

import os
import tempfile

from repository import ROOT, cache_root

# Set before JAX is imported. Tests neither read nor fill the user's caches; what they compile is shared by all of their
# processes and kept for the next session.
cache = tempfile.TemporaryDirectory(prefix="gwa-tests-")
os.environ["XDG_CACHE_HOME"] = cache.name
os.environ["MPLCONFIGDIR"] = str(ROOT / ".pytest_cache" / "matplotlib")  # its list of fonts takes seconds to make
programs = ROOT / ".pytest_cache" / "xla"
programs.mkdir(parents=True, exist_ok=True)
cache_root().mkdir()
(cache_root() / "xla").symlink_to(programs)
# Otherwise the path of the cache, a new one for every process, is part of each key, and nothing is ever found.
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# References are exact to rounding, products in TF32, the default on NVIDIA GPUs, are not.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "float32")

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    _promise(outcome.get_result(), item.config)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """A file that is skipped as a whole for want of PyTorch holds tests of the mark `torch` alone."""
    outcome = yield
    report = outcome.get_result()
    if "could not import 'torch'" not in str(report.longrepr) or _selects(collector.config, "torch"):
        _promise(report, collector.config)


class _Marks(dict):
    def __missing__(self, mark):
        return False


def _selects(config, mark):
    """Whether this session runs a test that has this mark and no other."""
    expression = config.getoption("markexpr")
    return not expression or eval(expression, {}, _Marks({mark: True}))


def _promise(report, config):
    if report.skipped and config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though this session promises it: {report.longrepr}"
