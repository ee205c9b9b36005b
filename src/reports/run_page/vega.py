"""The JavaScript that draws the charts of a page: Vega-Lite with all it needs, from vl-convert, kept in the cache."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging

from repository import cache_root

from training.run.durable import write_text


def read_javascript() -> str:
    """The text of a module that sets `window.vegaEmbed`; bundling it takes a second, so it is done once per version."""
    path = cache_root() / "vega" / f"{importlib.metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):  # not there yet, or another user's
        return path.read_text()
    import vl_convert

    javascript = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, javascript)
    except OSError as error:
        logging.warning("%s is not cached: %s", path, error)
    return javascript
