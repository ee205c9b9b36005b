"""The documentation holds every page and every public name, and its first page runs; .ci/run builds it."""

import ast
import pathlib
import re

import jax.numpy as jnp
import pytest

import gwa
import gwa.rules

DOCS = pathlib.Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "index.md").read_text()
API = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
TORCH = (DOCS.parent / "src" / "gwa" / "torch" / "__init__.py").read_text()


def test_every_page_is_in_the_table_of_contents():
    contents = re.findall(r"```\{toctree\}\n(.*?)```", INDEX, re.DOTALL)
    listed = [line for block in contents for line in block.splitlines() if line and not line.startswith(":")]
    pages = [str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")]
    assert sorted([*listed, "index"]) == sorted(page for page in pages if not page.startswith("_build"))


def test_every_public_name_has_its_entry():
    documented = set(re.findall(r"^\.\. auto(?:function|class|data):: ([\w.]+)", API, re.MULTILINE))
    library = {name.rpartition(".")[2] for name in documented if re.fullmatch(r"gwa\.(rules\.)?\w+", name)}
    assert library == {*gwa.__all__, *gwa.rules.__all__} - {"Record"}  # a type alias: the glossary explains records
    (exported,) = re.findall(r"^__all__ = (\[.*?\])$", TORCH, re.MULTILINE | re.DOTALL)
    assert {f"gwa.torch.{name}" for name in ast.literal_eval(exported)} <= documented


def test_the_first_page_scores_a_batch():
    (block,) = re.findall(r"```python\n(.*?)```", INDEX, re.DOTALL)
    kernel, embeddings = jnp.eye(2), jnp.array([[2.0, 0.0], [0.5, 0.0], [1.0, 2.0]])
    labels, bias = jnp.array([0, 1, 1]), jnp.zeros(2)
    names = {"labels": labels, "embeddings": embeddings, "kernel": kernel, "bias": bias, "logits": embeddings @ kernel}
    names["moments"] = gwa.Moments.of([])
    exec(block, names)
    assert names["alignment"].shape == (3,)
    assert float(names["moments"].mean) == pytest.approx(float(names["alignment"].mean()))
