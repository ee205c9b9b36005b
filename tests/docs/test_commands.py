"""What the README and the docs name exists: commands parse, with their flags and fields, and so do paths and links."""

import contextlib
import functools
import io
import itertools
import re
import runpy
import shlex
import sys

import pytest
from pages import PAGES, code_spans, command_lines

from repository import ROOT

from configs import base
from gwa import RULES
from planning.accelerators import ACCELERATORS
from sweeps.definition import Run, Sweep, load, select

PLACEHOLDER = "placeholder"
NEED_TORCH = ("scripts/gwa_torch.py",)


def commands(page):
    """The script and the arguments of each command of a page; `<...>` and `...` stand for what the reader fills in."""
    found = []
    for line in command_lines(page):
        for match in re.finditer(r"(?:uv run|mpirun|srun)\b.*?\s(src/train\.py|scripts/[\w/]+\.py)(.*)", line):
            rest = re.sub(r"<[^>]*>", PLACEHOLDER, match[2]).replace("...", PLACEHOLDER)
            if rest.count('"') % 2:  # the command is itself quoted
                rest = rest.rpartition('"')[0]
            found.append((match[1], shlex.split(rest, comments=True)))
    return found


COMMANDS = sorted({(script, tuple(arguments)) for page in PAGES for script, arguments in commands(page)})


def flags_of(script):
    """The long options of a script: those of its --help, or those that train.py defines."""
    if script == "src/train.py":
        return {"--config"} | {f"--{name}" for name in re.findall(r'DEFINE_\w+\("(\w+)"', (ROOT / script).read_text())}
    return set(re.findall(r"--[\w-]+", help_of(script)))  # --help among them


@functools.cache
def help_of(script):
    return output_of(script, "--help")


def output_of(script, *arguments):
    """What a script prints, in this process."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as page:
        patch.setattr(sys, "argv", [script, *arguments])
        with contextlib.suppress(SystemExit):
            runpy.run_path(script, run_name="__main__")
    return page.getvalue()


def check(script, arguments):
    options = [argument for argument in arguments if argument.startswith("--")]
    names = {option.partition("=")[0] for option in options if not option.startswith("--config.")}
    assert names <= flags_of(script), f"{script} has no option {names - flags_of(script)}"
    given = dict(option.partition("=")[::2] for option in options)
    overrides = [option for option in options if option.startswith("--config.")]
    if script == "src/train.py" and given.get("--config") != PLACEHOLDER and arguments != (PLACEHOLDER,):
        check_config(given["--config"], overrides)
    elif script == "scripts/plan.py" and arguments[0] != PLACEHOLDER:
        assert given["--accelerator"] in ACCELERATORS
        check_config(arguments[0], overrides)
    elif script == "scripts/sweep.py" and arguments:
        select(load(arguments[0]), given.get("--only", "*"), overrides)
    elif script == "scripts/tables.py" and "--table" in given:
        assert given["--table"] in help_of(script)


def check_config(file, overrides):
    """The config exists and takes the fields."""
    assert (ROOT / file.partition(":")[0]).is_file(), file
    select(Sweep("docs", (Run(file, {"config": file}),)), "*", overrides)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections reads config files so
@pytest.mark.parametrize("command", [command for command in COMMANDS if command[0] not in NEED_TORCH], ids=str)
def test_command(command):
    check(*command)


@pytest.mark.torch
@pytest.mark.parametrize("command", [command for command in COMMANDS if command[0] in NEED_TORCH], ids=str)
def test_command_in_pytorch(command):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    check(*command)


@pytest.mark.parametrize("page", PAGES)
def test_fields_exist(page):
    """Of options that stand alone, and of fields named in the text."""
    config = base.get_config()
    text = " ".join(command_lines(page))
    named = set(re.findall(r"--config\.([\w.]+)=", text))
    sections = "|".join(name for name, value in config.items() if hasattr(value, "items"))
    named |= {match[1] for span in code_spans(page) if (match := re.match(rf"((?:{sections})(?:\.\w+)+)(?:=|$)", span))}
    named = {name for name in named if not name.startswith("network.options.")}  # a network of one's own has others
    named = {name for name in named if name != "field" and not name.endswith(".py")}  # `--config.field=value` is any
    fields = {".".join(path) for path in _paths(config)}
    assert named <= fields, named - fields


def _paths(config, prefix=()):
    for name, value in config.items():
        yield (*prefix, name)
        if hasattr(value, "items"):
            yield from _paths(value, (*prefix, name))


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    """Files and folders of the repository that the text or a command names."""
    words = [word for line in command_lines(page) for word in re.split(r"[\s=]+", line)]
    for word in words:
        if re.match(r"(src|scripts|configs|tests|results|docs)/[\w./-]+", word):
            path = word.partition(":")[0].rstrip(".,;")
            assert (ROOT / path).exists() or path.startswith("docs/_build"), path


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_one_title_and_no_skipped_level(page):
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_every_page_is_reached_in_two_hops_from_the_readme():
    first = set(re.findall(r"\]\(docs/([\w/]+\.md)\)", PAGES["README.md"]))
    second = {target for page in first for target in re.findall(r"\]\((\w+\.md)", PAGES.get(f"docs/{page}", ""))}
    assert {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} - {"index.md"} <= first | second


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_in_the_table(name):
    lines = PAGES["docs/rules.md"].splitlines()
    assert any(f"`{name}`" in line.split("|")[1] for line in lines if line.startswith("| `"))


def test_results_are_those_of_the_records():
    page = output_of("scripts/tables.py", "results")
    assert page == (ROOT / "results" / "README.md").read_text()
