"""`network.options` takes any field, from a config file and from the command line; no other section does."""

import copy
import json
import pickle

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections reads files so

CONFIG = """
from configs import base

def get_config():
    config = base.get_config()
    config.network.options = {"width": 8, "name": "x"}
    return config
"""


def parse(tmp_path, *arguments):
    """The config of a command line, read as src/train.py reads it."""
    (tmp_path / "mine.py").write_text(CONFIG)
    command = ["train.py", f"--config={tmp_path / 'mine.py'}", *arguments]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=command)
    values(command)
    return values.config


def test_options_from_the_command_line(tmp_path):
    config = parse(
        tmp_path,
        "--config.network.options.width=16",
        "--config.network.options.rate=0.5",
        "--config.network.options.sizes=(1,2)",
        "--config.network.options.kind=deep",
        "--config.network.options.bias=False",
    )
    options = {"width": 16, "name": "x", "rate": 0.5, "sizes": (1, 2), "kind": "deep", "bias": False}
    assert dict(config.network.options) == options
    assert config.is_locked
    for same in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), ConfigDict(config)):
        assert dict(same.network.options) == options
    assert json.loads(config.to_json())["network"]["options"] == options | {"sizes": [1, 2]}


def test_all_options_at_once(tmp_path):
    config = parse(tmp_path, "--config.network.options={'depth': 3}")
    assert dict(config.network.options) == {"depth": 3}
    config.network.options.width = 4


def test_an_option_keeps_the_type_it_has(tmp_path):
    with pytest.raises(flags.IllegalFlagValueError, match="width=many"):
        parse(tmp_path, "--config.network.options.width=many")


@pytest.mark.parametrize("field", ["network.widht", "dataset.options", "epoch"])
def test_everywhere_else_a_new_field_is_refused(tmp_path, field):
    with pytest.raises((AttributeError, KeyError), match=field.split(".")[-1]):
        parse(tmp_path, f"--config.{field}=3")
