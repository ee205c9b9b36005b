"""Every public function and class of `gwa` has one example in its docstring, which runs and shows what it says."""

import doctest
import importlib
import inspect

import pytest

import gwa
import gwa.rules

TORCH = [
    *(f"gwa.torch.{name}" for name in ("AlignmentMonitor", "Moments", "gwa_score", "head_alignment")),
    "gwa.torch.head_gradient_norm",
    "gwa.torch.sample_dissent",
    "gwa.torch.lightning.AlignmentCallback",
    "gwa.torch.lightning.labels_of",
    "gwa.torch.huggingface.AlignmentCallback",
]
LIBRARIES = {"lightning": "lightning", "huggingface": "transformers"}


def public(module):
    return [
        f"{module.__name__}.{name}"
        for name in module.__all__
        if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
    ]


def run(name):
    """Runs the examples of an object; a failure is an exception that shows what was expected and what came."""
    module, _, attribute = name.rpartition(".")
    entry = getattr(importlib.import_module(module), attribute)
    (test,) = doctest.DocTestFinder(recurse=False).find(entry, name, module=False, globs={})
    assert test.examples, f"{name} has no example"
    assert test.docstring.count("Example:") == 1
    doctest.DebugRunner().run(test)


@pytest.mark.parametrize("name", sorted({*public(gwa), *public(gwa.rules), "gwa.alignment.prediction_entropy"}))
def test_example(name):
    run(name)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # what these libraries warn of is theirs
@pytest.mark.parametrize("name", TORCH)
def test_torch_example(name, tmp_path, monkeypatch):
    pytest.importorskip(LIBRARIES.get(name.split(".")[2], "torch"))
    if "huggingface" in name:  # src/datasets is on the path, which transformers would take for Hugging Face's
        monkeypatch.setattr("transformers.trainer.is_datasets_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    run(name)


@pytest.mark.torch
def test_every_torch_name_has_an_example():
    pytest.importorskip("torch")
    assert set(public(importlib.import_module("gwa.torch"))) <= set(TORCH)
