import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kd_deploy.errors import MissingExtraError
from kd_deploy.report.baseline import against_baseline
from kd_deploy.report.charts import charts
from kd_deploy.report.document import to_document
from kd_deploy.report.html import to_html
from kd_deploy.report.markdown import to_markdown
from kd_deploy.report.model import Report
from kd_deploy.report.prose import reading
from kd_deploy.report.render import write_report
from kd_deploy.report.tables import summary_table
from kd_deploy.tasks.registry import TASKS
from tests.report import test_lower_is_better as of_perplexity
from tests.report.samples import (
    CONTROL,
    INT8,
    TEACHER,
    TORCH,
    benchmarked,
    evaluated,
    evaluation,
    measured,
    not_measured,
    renamed,
    report,
    writing,
)

NUMBER = re.compile(r"(?<![\w.-])-?\d[\d\u202f]*(?:\.\d+)?(?![\w.-])")
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x_{ ]]> --!> | `x` [a](b)"
FULL = against_baseline(
    report(timed=benchmarked(measured(TEACHER), not_measured(INT8, "no GPU")), notes=["Made-up texts."]), report()
)
LARGER = report(timed=benchmarked(measured(TEACHER), replace(measured(INT8), size_bytes=225_000_000)))
HARMED = report(evaluation(*map(evaluated, (TEACHER, TORCH)), evaluated(CONTROL, right=190), evaluated(INT8)))
WRITING = report(timed=benchmarked(writing(TEACHER, tokens=1000), writing(INT8, tokens=500)))


class Page(HTMLParser):
    """The text of a page, the figures in it, and its tags; pictures are kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[tuple[float, str]] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[str] = []
        self._value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "path", "use", "rect"):
            self._open.append(tag)
        self._value = dict(attrs)["value"] if tag == "data" else None

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        self._value = None

    def handle_data(self, data: str) -> None:
        if self._value is not None:
            self.figures.append((float(self._value), data))
        elif data.strip() and not {"svg", "style"} & set(self._open):
            self.texts.append(data)


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


@pytest.mark.parametrize("made", [report(), FULL, LARGER, HARMED, WRITING, of_perplexity.made()])
def test_every_number_in_the_page_is_a_number_in_the_json(made: Report) -> None:
    known = list(leaves(to_document(made)))
    numbers = {float(one) for one in known if isinstance(one, int | float)}
    strings = " ".join(one for one in known if isinstance(one, str))
    page = read(to_html(made))

    assert page.figures
    assert {value for value, _ in page.figures} <= numbers
    for value, shown in page.figures:
        number = float(NUMBER.search(shown.replace("+", ""))[0].replace("\u202f", ""))
        ratios = [number * unit / value if value else 1.0 for unit in (1, 0.01, 1e6, 2**20, 2**30)]
        assert any(0.97 < ratio < 1.03 for ratio in ratios), (value, shown)
    stray = [found for text in page.texts for found in NUMBER.findall(text) if found not in strings]
    assert stray == []


def test_the_page_opens_offline_runs_nothing_and_is_small() -> None:
    html = to_html(FULL)
    page = read(html)

    assert len(html.encode()) < 300_000
    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert not re.search(r"(?:src|href)=\"(?!#)", html)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html


def test_names_and_notes_of_others_are_inert() -> None:
    target = renamed(INT8, EVIL)
    seen = evaluation(evaluated(TEACHER), replace(evaluated(INT8), target=target))
    seen = replace(seen, data=replace(seen.data, name=EVIL))
    timed = benchmarked(
        measured(TEACHER), replace(measured(INT8), target=target), replace(not_measured(INT8, EVIL), target=target)
    )
    made = report(seen, timed, notes=[EVIL])

    page, markdown = read(to_html(made)), to_markdown(made)

    assert not {"script", "img"} & page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert any(EVIL in text for text in page.texts)
    assert not re.search(r"(?<!\\)<(?:script|img)", markdown)
    assert not re.search(r"(?<!\\)\[a", markdown)


def test_the_same_report_gives_the_same_bytes() -> None:
    assert to_html(report()) == to_html(report())


def test_a_chart_without_figures_is_left_out() -> None:
    nothing = report(evaluation(evaluated(TEACHER)), benchmarked(not_measured(TEACHER, "no GPU")))

    assert [one.title for one in charts(nothing)] == ["Size on disk, MB"]


def test_all_three_files_are_written(tmp_path: Path) -> None:
    paths = write_report(report(), tmp_path / "run", formats=("html", "md", "json"))

    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    text = paths[2].read_text(encoding="utf-8")
    assert text.startswith('{\n  "schema_version": 1')
    assert json.loads(text) == to_document(report())


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    write_report(report(), tmp_path, formats=("md",))

    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra_and_writes_nothing(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(MissingExtraError) as caught:
        write_report(report(), tmp_path, formats=("json", "html"))

    assert caught.value.hint == "pip install 'kd-deploy[report]'"
    assert list(tmp_path.iterdir()) == []


def test_the_markdown_has_the_verdict_and_whole_tables() -> None:
    text = to_markdown(FULL)

    assert "student-int8 keeps 95.7 % of the teacher's accuracy" in text
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_summary_has_the_columns_of_the_terminal() -> None:
    table = summary_table(report())

    assert table.columns == (
        *("target", "precision", "runtime", "accuracy", "retained", "agreement", "p50 ms", "speedup"),
        *("texts/s", "size MB", "peak MiB"),
    )
    assert [cell.text for cell in table.rows[2]] == [
        *("student-int8", "int8", "onnxruntime", "88.0 %", "95.7 %", "88.0 %", "0.500", "16.0 ×"),
        *("2000", "7.50", "90"),
    ]


def test_provider_and_threads_are_shown_where_they_differ() -> None:
    assert summary_table(FULL).columns[3:5] == ("provider", "threads")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_says_how_its_answers_are_compared(task: str) -> None:
    assert any(line.startswith("agreement is ") for line in reading(replace(report(), task=task)))


def test_less_of_a_perplexity_is_kept_by_more() -> None:
    assert reading(replace(report(), main_metric="perplexity"))[0].startswith(
        "retained is the teacher's perplexity divided by the target's"
    )
