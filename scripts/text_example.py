"""Gradient-Weight Alignment of a small causal language model whose samples are characters; docs/text.md has results.

uv run scripts/text_example.py               writes history.jsonl, text.png and text.svg into runs/text
uv run scripts/text_example.py --untied      gives the head its own kernel instead of the transposed embedding

The text is the language reference that comes with Python. Every fourth paragraph is held out to judge the choice.
"""

import argparse
import json
import pathlib
import pydoc_data.topics
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from gwa import RULES, MaxGWA, Moments, gwa_score, head_alignment
from reports.style import BLUE, GREY, RED, save_all
from training.run.durable import write_text
from training.run.records import nan_to_null

SENTENCE_LINE = 64  # characters in a line of the coloured text


class Windows(NamedTuple):
    """Tokens and the tokens that follow them, int32 `[N, context]`; `mask` is false for padding."""

    tokens: np.ndarray
    targets: np.ndarray
    mask: np.ndarray


class LanguageModel(nn.Module):
    """A pre-norm transformer over characters. If tied, the kernel of the head is the transposed embedding."""

    vocabulary: int
    width: int = 128
    layers: int = 2
    tied: bool = True

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array, Array]:
        """Returns logits `[batch, time, vocabulary]`, embeddings `[batch, time, width]`, and the kernel of the head."""
        table = nn.Embed(self.vocabulary, self.width, name="embedding")
        positions = self.param("positions", nn.initializers.normal(0.02), (tokens.shape[1], self.width))
        x = table(tokens) + positions[None]
        causal = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x += nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x), mask=causal)
            x += nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        embeddings = nn.LayerNorm()(x)
        if self.tied:
            kernel = table.embedding.T
        else:
            kernel = self.param("head", nn.initializers.lecun_normal(), (self.width, self.vocabulary))
        return embeddings @ kernel, embeddings, kernel


def score(model: LanguageModel, params, batch: Windows) -> tuple[Array, Array]:
    """Returns the mean loss of the characters that are not masked, and the alignment of each, `[batch, time]`."""
    logits, embeddings, kernel = model.apply({"params": params}, batch.tokens)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    return jnp.mean(losses, where=batch.mask), head_alignment(logits, batch.targets, embeddings, kernel)


def train(model: LanguageModel, text: Windows, held_out: Windows, arguments: argparse.Namespace):
    """Trains and prints a record per epoch; returns the records and the parameters that MaxGWA chooses."""
    rng = np.random.default_rng(arguments.seed)
    params = jax.jit(model.init)(jax.random.key(arguments.seed), text.tokens[:1])["params"]
    optimizer = optax.adamw(arguments.learning_rate)
    optimizer_state = optimizer.init(params)

    @jax.jit
    def train_step(params, optimizer_state, moments, batch):
        (loss, alignment), gradient = jax.value_and_grad(lambda p: score(model, p, batch), has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        moments += Moments.of(alignment, where=batch.mask)
        return optax.apply_updates(params, updates), optimizer_state, moments, (loss, batch.mask.sum())

    held_out_loss = jax.jit(lambda params: score(model, params, held_out)[0])
    rule = MaxGWA()
    state, history, chosen = rule.init(), [], params
    for epoch in range(1, arguments.epochs + 1):
        moments, losses = Moments.of([]), []
        for batch in draw_batches(text, arguments.batch_size, rng):
            params, optimizer_state, moments, loss = train_step(params, optimizer_state, moments, batch)
            losses.append(loss)
        loss, weight = np.array(jax.device_get(losses)).T
        record = {
            "epoch": epoch,
            "progress": epoch / arguments.epochs,
            "train_loss": float(np.average(loss, weights=weight)),
            "val_loss": float(held_out_loss(params)),
            "gwa": float(gwa_score(moments)),
            "alignment_mean": float(moments.mean),
            "excess_kurtosis": float(moments.excess_kurtosis),
        }
        state, verdict = rule.update(state, record)
        chosen = params if verdict.best_epoch == epoch else chosen
        history.append(nan_to_null(record))
        print(json.dumps(history[-1]), flush=True)
    return history, chosen


def draw_batches(text: Windows, size: int, rng: np.random.Generator) -> Iterator[Windows]:
    """Yields every window once, in random order; the last batch is filled with windows that are masked completely."""
    count = len(text.tokens)
    order = np.append(rng.permutation(count), np.zeros(-count % size, int))
    mask = text.mask[order]
    mask[count:] = False
    shuffled = Windows(text.tokens[order], text.targets[order], mask)
    for start in range(0, len(order), size):
        yield Windows(*(array[start : start + size] for array in shuffled))


def read_paragraphs() -> list[str]:
    """Returns the paragraphs of the language reference, without layout and without repetitions."""
    pages = (page for _, page in sorted(pydoc_data.topics.topics.items()))
    blocks = (" ".join(block.split()) for page in pages for block in page.split("\n\n"))
    return list(dict.fromkeys(block for block in blocks if len(block) >= SENTENCE_LINE))


def cut_windows(texts: list[str], alphabet: str, context: int) -> Windows:
    """Cuts paragraphs into windows and pads the last one; every character except a paragraph's first is a target."""
    index = {character: i for i, character in enumerate(alphabet)}
    cut = [text[start : start + context + 1] for text in texts for start in range(0, len(text) - 1, context)]
    tokens = np.zeros((len(cut), context + 1), np.int32)
    mask = np.zeros((len(cut), context + 1), bool)
    for row, piece in enumerate(cut):
        tokens[row, : len(piece)] = [index[character] for character in piece]
        mask[row, : len(piece)] = True
    return Windows(tokens[:, :-1], tokens[:, 1:], mask[:, 1:])


def draw(history: list[dict], sentence: str, alignment: np.ndarray) -> Figure:
    """Draws GWA and losses by epoch, and the characters of a held-out paragraph, coloured by alignment."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    panels = figure.subplot_mosaic([["gwa", "loss"], ["text", "text"]], height_ratios=(2.6, 1.2))
    left, right = panels["gwa"], panels["loss"]
    chosen, lowest = (RULES[name]().select(history) for name in ("max_gwa", "lowest_validation_loss"))
    epochs = [record["epoch"] for record in history]
    values = {field: np.array([record[field] for record in history], float) for field in history[0]}
    left.plot(epochs, values["gwa"], color=BLUE)
    left.set(xlabel="epoch", title="GWA of the training characters")
    right.plot(epochs, values["val_loss"], color=RED, label="held-out text")
    right.plot(epochs, values["train_loss"], color=GREY, linestyle="--", label="training text")
    right.set(xlabel="epoch", title="loss in nats per character")
    for panel in (left, right):
        panel.axvline(chosen, color=BLUE, linewidth=0.8, label=f"chosen by MaxGWA: {chosen}")
        panel.axvline(lowest, color=RED, linewidth=0.8, linestyle=":", label=f"lowest held-out loss: {lowest}")
    right.legend(frameon=False)
    draw_sentence(panels["text"], sentence, alignment)
    return figure


def draw_sentence(axes: Axes, sentence: str, alignment: np.ndarray) -> None:
    """Draws one coloured cell per character; the first character is not predicted and has no colour."""
    lines = -(-len(sentence) // SENTENCE_LINE)
    cells = np.full(lines * SENTENCE_LINE, np.nan)
    cells[1 : len(sentence)] = alignment
    reach = np.abs(alignment).max()
    image = axes.imshow(cells.reshape(lines, -1), cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto", alpha=0.7)
    for i, character in enumerate(sentence):
        axes.text(i % SENTENCE_LINE, i // SENTENCE_LINE, character, ha="center", va="center", family="monospace")
    axes.set(xticks=[], yticks=[], title="alignment of the characters of a held-out paragraph, in the chosen epoch")
    axes.figure.colorbar(image, ax=axes, pad=0.01)


def run(arguments: argparse.Namespace) -> None:
    """Trains, and writes the records and the figure.

    Raises:
      UserError: if no paragraph would be held out.
    """
    texts = read_paragraphs()[: arguments.paragraphs]
    training, held_out = [text for i, text in enumerate(texts) if i % 4 != 3], texts[3::4]
    if not held_out:
        raise UserError(f"--paragraphs={arguments.paragraphs} leaves no paragraph to hold out; it must be at least 4")
    alphabet = "".join(sorted(set("".join(texts))))
    text, held_out_text = (cut_windows(part, alphabet, arguments.context) for part in (training, held_out))
    print(f"{text.mask.sum()} characters to train on, {held_out_text.mask.sum()} held out, {len(alphabet)} different")
    model = LanguageModel(len(alphabet), arguments.width, arguments.layers, not arguments.untied)
    history, params = train(model, text, held_out_text, arguments)

    arguments.workdir.mkdir(parents=True, exist_ok=True)
    write_text(arguments.workdir / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history))
    sentence = held_out[0][: 2 * SENTENCE_LINE]
    shown = cut_windows([sentence], alphabet, arguments.context)
    _, alignment = jax.jit(score, static_argnums=0)(model, params, shown)
    figure = draw(history, sentence, np.asarray(alignment)[shown.mask])
    save_all({"text": figure}, arguments.workdir)


def main() -> None:
    """Reads the command line; a user's mistake gives one line and exit code 2."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/text"), help="runs/text by default")
    parser.add_argument("--untied", action="store_true", help="give the head its own kernel instead of the embedding")
    sizes = {"epochs": 20, "paragraphs": 100, "context": 64, "batch_size": 8, "width": 128, "layers": 2, "seed": 0}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} by default")
    parser.add_argument("--learning_rate", type=float, default=2e-3, help="0.002 by default")
    run(parser.parse_args())


if __name__ == "__main__":
    command_line.run(main)
