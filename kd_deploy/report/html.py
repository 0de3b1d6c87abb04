"""report.html: one file that opens offline, runs nothing and fetches nothing."""

import json
from importlib.util import find_spec
from pathlib import Path

from kd_deploy.errors import MissingExtraError
from kd_deploy.report.charts import charts
from kd_deploy.report.headline import headline
from kd_deploy.report.model import Report
from kd_deploy.report.prose import reading, records
from kd_deploy.report.tables import gates_table, summary_table, tables

TEMPLATE = "report.html.jinja"


def require_packages() -> None:
    """Refuse a page that could not be made, before what it is about.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    if not all(find_spec(package) for package in ("jinja2", "matplotlib")):
        raise MissingExtraError("report.html", extra="report")


def to_html(report: Report) -> str:
    """The text of report.html. Names and notes come from files of others: all of them are escaped.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    require_packages()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    jinja.filters["number"] = json.dumps  # as report.json writes it
    return jinja.get_template(TEMPLATE).render(
        report=report,
        headline=headline(report),
        gates=gates_table(report),
        summary=summary_table(report),
        tables=tables(report),
        charts=charts(report),
        records=records(report),
        reading=reading(report),
    )
