"""The precision of products is what the config says."""

import jax
import pytest
from small_runs import small

from training.prepare import initialize, prepare


@pytest.fixture(autouse=True)
def as_before():
    """Later tests have JAX's own precision."""
    yield
    jax.config.update("jax_default_matmul_precision", None)


@pytest.mark.parametrize(("precision", "all_of_them"), [(None, False), ("highest", True)])
def test_products_have_the_precision_of_the_config(precision, all_of_them, capsys):
    with prepare(small(matmul_precision=precision)) as setup:
        batches = next(iter(setup.feeds["test"].read_in_order(50))).batches
        program = setup.evaluate.lower(initialize(setup, fresh=True).params, batches).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 3
    assert all("HIGHEST" in line for line in products) == all_of_them
    assert ("matmul_precision=highest has no effect" in capsys.readouterr().err) == all_of_them
