"""The precision of products is what the config says."""

import functools

import jax
import pytest
from small_runs import small

from training.prepare import initialize, prepare

OPTION = "jax_default_matmul_precision"


@pytest.mark.parametrize(
    ("told", "precision", "all_of_them"), [(None, None, False), (None, "highest", True), ("highest", None, True)]
)
def test_products_have_the_precision_of_the_config_or_what_jax_was_told(told, precision, all_of_them, capsys, request):
    request.addfinalizer(functools.partial(jax.config.update, OPTION, getattr(jax.config, OPTION)))
    jax.config.update(OPTION, told)
    with prepare(small(matmul_precision=precision)) as setup:
        batches = next(iter(setup.feeds["test"].read_in_order(50))).batches
        program = setup.evaluate.lower(initialize(setup, fresh=True).params, batches).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 3
    assert all("HIGHEST" in line for line in products) == all_of_them
    assert ("matmul_precision=highest has no effect" in capsys.readouterr().err) == (precision is not None)
    assert getattr(jax.config, OPTION) == told
