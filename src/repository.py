"""Where this repository lies, on Python's path and on disk. Whatever imports its packages imports this first.

The packages have plain names: `networks`, `datasets`, `training`. An environment may hold others of these names, above
all Hugging Face's `datasets`, and `uv run` puts `src` behind them on Python's path. So `src` comes first here, once for
all, and the repository's root last, as config files say `from configs import base`.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]


def cache_root() -> pathlib.Path:
    """The user's cache directory for this project, `$XDG_CACHE_HOME/gwa` or `~/.cache/gwa`."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "gwa"


def add_to_path(folder: str) -> None:
    """Lets modules be imported from a folder, after everything that is found without it."""
    if folder not in sys.path:
        sys.path.append(folder)


def _put_on_path() -> None:
    source = str(ROOT / "src")
    loaded = getattr(sys.modules.get("datasets"), "__file__", None)
    if loaded and not loaded.startswith(source):
        raise ImportError(f"another package `datasets` was imported before ours ({loaded}); import `training` first")
    sys.path[:] = [source, *(entry for entry in sys.path if entry not in (source, str(ROOT))), str(ROOT)]


def _check_script() -> None:
    """Refuses a script of another copy of this repository, which would run with the packages of this one."""
    script = pathlib.Path(sys.argv[0]).resolve()
    for folder in script.parents[1:3] if script.is_file() else ():
        if (folder / "src" / "repository.py").is_file() and folder != ROOT.resolve():
            print(f"{script.name} lies in {folder}, but the environment has installed {ROOT}", file=sys.stderr)
            sys.exit(2)


_check_script()
_put_on_path()
