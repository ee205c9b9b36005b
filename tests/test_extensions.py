"""What a config names as `module:Name` is found, and every mistake in it is one line."""

import sys

import pytest

from errors import UserError
from extensions import load_object


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes `mine.py` into the current directory, which is not on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text):
        (tmp_path / "mine.py").write_text(text)

    yield write
    sys.modules.pop("mine", None)


def test_an_object_of_a_module_in_the_current_directory(module):
    module("def load(config):\n    return config + 1\n")
    assert load_object("mine:load", "dataset.name")(1) == 2
    assert load_object("json.decoder:JSONDecoder", "a.field").__name__ == "JSONDecoder"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "mine:", r"a\.field is 'mine:'; it must be module:Name"),
        ("", ":load", r"a\.field is ':load'"),
        ("", "mine/load:load", r"a\.field is 'mine/load:load'"),
        ("", "yours:load", r"a\.field: there is no module 'yours' .* in /"),
        ("", "yours.inner:load", r"there is no module 'yours' "),
        ("", "mine.inner:load", r"cannot import mine\.inner: .*'mine' is not a package|no module 'mine\.inner'"),
        ("import absent", "mine:load", r"cannot import mine: ModuleNotFoundError: .*'absent' .*mine\.py, line 1\)"),
        ("x = 1\nx.y", "mine:load", r"cannot import mine: AttributeError: .*mine\.py, line 2\)"),
        ("def load(:", "mine:load", r"cannot import mine: SyntaxError: .*mine\.py, line 1\)"),
        ("raise ValueError('two\\nlines')", "mine:load", r"cannot import mine: ValueError: lines .*line 1\)"),
        ("def load(): pass", "mine:laod", r"mine\.py has no laod; did you mean load\?"),
        ("load = 3", "mine:load", r"is 'mine:load', which is of type int; it must be a function"),
    ],
)
def test_a_mistake_is_one_line(module, text, name, message):
    module(text)
    with pytest.raises(UserError, match=message) as error:
        load_object(name, "a.field")
    assert "\n" not in str(error.value)


def test_an_object_of_another_kind_is_named(module):
    module("class Net: pass\nnet = Net()")
    with pytest.raises(UserError, match=r"which is the class Net; it must be a subclass of builtins\.dict"):
        load_object("mine:Net", "a.field", dict)
    with pytest.raises(UserError, match=r"which is of type Net; it must be a subclass of builtins\.dict"):
        load_object("mine:net", "a.field", dict)
