"""The test session is stricter than a user's: no silent broadcasting, and no promised check that is skipped."""

import os
import tempfile

import jax
import pytest

from repository import ROOT, cache_root

from parallel.devices import enable_compilation_cache

# Set before anything compiles. Tests neither read nor fill the user's caches; what they compile is shared by all
# processes and kept for the next session.
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # in subprocesses
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="gwa-tests-")
(ROOT / ".pytest_cache" / "xla").mkdir(parents=True, exist_ok=True)
cache_root().mkdir()
(cache_root() / "xla").symlink_to(ROOT / ".pytest_cache" / "xla")
enable_compilation_cache()
# Otherwise the path of the cache, here a new one for every process, is part of each key, and nothing is ever found.
jax.config.update("jax_persistent_cache_enable_xla_caches", os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"])
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    _promise(outcome.get_result(), item.config)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    outcome = yield
    _promise(outcome.get_result(), collector.config)


def _promise(report, config):
    if report.skipped and config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though this session promises it: {report.longrepr}"
