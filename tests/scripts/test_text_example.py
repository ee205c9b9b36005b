"""scripts/text_example.py: scores of characters are cosines of gradients, padding has no part, the script runs."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from run_scripts import check_refusal, run_script

from repository import ROOT

from gwa import Moments
from scripts.text_example import LanguageModel, Windows, cut_windows, draw_batches, score

ALPHABET = " abcdefgh"
TEXTS = ["abc abd abe heg", "fed", "bad cab fed a beg"]
CONTEXT = 6


def model_and_params(tied):
    model = LanguageModel(len(ALPHABET), width=8, layers=1, tied=tied)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, CONTEXT), int))["params"]


@pytest.mark.parametrize("tied", [True, False])
def test_score_is_the_cosine_of_each_characters_gradient(tied):
    """Tied, the kernel moves as the head's argument alone: the gradient leaves out the input side."""
    model, params = model_and_params(tied)
    text = cut_windows(TEXTS, ALPHABET, CONTEXT)
    _, alignment = jax.jit(lambda params: score(model, params, text))(params)
    assert ("head" in params) is not tied
    kernel = params["embedding"]["embedding"].T if tied else params["head"]

    @jax.jit
    def gradients(kernel):
        _, embeddings, _ = model.apply({"params": params}, text.tokens)

        def loss(kernel, embedding, target):
            return optax.softmax_cross_entropy_with_integer_labels(embedding @ kernel, target)

        return jax.vmap(jax.vmap(jax.grad(loss), (None, 0, 0)), (None, 0, 0))(kernel, embeddings, text.targets)

    gradient = np.asarray(gradients(kernel), np.float64)
    products = -np.einsum("btij,ij->bt", gradient, np.asarray(kernel, np.float64))
    cosines = products / np.linalg.norm(gradient, axis=(2, 3)) / np.linalg.norm(kernel)
    np.testing.assert_allclose(alignment, cosines, atol=1e-6)


def test_masked_characters_have_no_influence():
    model, params = model_and_params(tied=True)
    text = cut_windows(TEXTS, ALPHABET, CONTEXT)
    assert not text.mask.all()

    @jax.jit
    def of(text):
        loss, alignment = score(model, params, text)
        return loss, Moments.of(alignment, where=text.mask)

    rng = np.random.default_rng(0)
    noise = rng.integers(0, len(ALPHABET), text.tokens.shape, dtype=np.int32)
    # A window's padding comes last, so that nothing before it attends to it.
    other = Windows(*(np.where(text.mask, array, noise) for array in text[:2]), text.mask)
    assert (other.targets != text.targets).any()
    padded = Windows(*(np.concatenate([array, np.zeros_like(array)]) for array in text))
    for changed in (other, padded):
        for a, b in zip(jax.tree.leaves(of(text)), jax.tree.leaves(of(changed)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_every_character_but_the_first_is_a_target_once():
    text = cut_windows(TEXTS, ALPHABET, CONTEXT)
    targets = "".join(ALPHABET[i] for i in text.targets[text.mask])
    assert targets == "".join(paragraph[1:] for paragraph in TEXTS)
    inputs = "".join(ALPHABET[i] for i in text.tokens[text.mask])
    assert inputs == "".join(paragraph[:-1] for paragraph in TEXTS)

    parts = list(draw_batches(text, 4, np.random.default_rng(0)))
    assert all(len(part.tokens) == 4 for part in parts)
    targets_of_batches = np.concatenate([part.targets[part.mask] for part in parts])
    np.testing.assert_array_equal(np.sort(targets_of_batches), np.sort(text.targets[text.mask]))


@pytest.mark.slow
def test_script(tmp_path):
    sizes = ("--epochs=2", "--paragraphs=8", "--context=16", "--batch_size=32", "--width=8", "--layers=1")
    command = [sys.executable, "scripts/text_example.py", f"--workdir={tmp_path}", *sizes]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2]
    assert history[1]["train_loss"] < history[0]["train_loss"] < 5
    for record in history:
        expected = record["alignment_mean"] / (record["excess_kurtosis"] + 1.2)
        assert record["gwa"] == pytest.approx(expected, rel=1e-5)
    assert (tmp_path / "text.png").stat().st_size > 10_000
    assert (tmp_path / "text.svg").exists()


def test_nothing_held_out():
    check_refusal(run_script("text_example.py", "--paragraphs=3"), "text_example.py", "--paragraphs=3")
