"""From facts and charts to one HTML file: the template, its style and script, and the policy that keeps it closed.

Names of classes and files are text from users. Jinja escapes all of them, `tojson` also within the data of the charts,
and the page's own policy lets the browser run only the two scripts whose hashes it names, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

import jinja2
from markupsafe import Markup

from reports import palette
from reports.run_page.charts import Chart
from reports.run_page.vega import read_javascript
from training.run.durable import write_text

_FOLDER = pathlib.Path(__file__).with_name("templates")


def write_html(path: pathlib.Path, template: str, charts: Iterable[Chart], **facts: Any) -> None:
    """Writes a page; `facts` are the variables of its template.

    Raises:
      OSError: when the file cannot be written.
    """
    loader = jinja2.FileSystemLoader(_FOLDER)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": _number}
    scripts = [read_javascript(), (_FOLDER / "page.js").read_text()]
    charts = list(charts)
    text = environment.get_template(template).render(
        charts={chart.name: chart for chart in charts},
        specs={chart.name: chart.spec for chart in charts},
        style=Markup((_FOLDER / "page.css").read_text()),
        palette=palette,
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_hash(script) for script in scripts],
        **facts,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}".replace("-", "−")
