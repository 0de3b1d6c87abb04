"""The charts of the page as inline SVG: the same report gives the same bytes."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kd_deploy.report import cells
from kd_deploy.report.model import Report, Target
from kd_deploy.report.roles import main_quality, p50_ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers, and dark enough on white.
COLOURS = {"teacher": "#0072B2", "student": "#D55E00", "control": "#7A7A7A"}
INK = "#222222"
PALE = "#dddddd"
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
COMMENTS = re.compile("<!--.*?-->", re.DOTALL)
IDS = re.compile(r'\bid="|href="#|url\(#')
WIDTH_INCHES = 9.0
LABEL_POINTS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A titled picture; `svg` is safe to put into a page as it is."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One target's figure: its length, and the text at its end."""

    target: Target
    length: float
    text: str


def charts(report: Report) -> tuple[Chart, ...]:
    """Quality against time, then bars of time, size and memory; a chart without figures is left out."""
    import matplotlib as mpl

    # Text as paths: the page needs no font, and no axis tick is mistaken for a figure of the report.
    with mpl.rc_context(
        {"svg.hashsalt": "kd-deploy", "svg.fonttype": "path", "font.size": 9.0, "text.parse_math": False}
    ):
        drawn = {
            f"{report.main_metric} against time from text to answer": _scatter(report),
            "Time from text to answer, p50 ms": _bar_chart(report, _time_bars(report)),
            "Size on disk, MB": _bar_chart(report, _size_bars(report)),
            "Peak memory, MiB": _bar_chart(report, _memory_bars(report)),
        }
        shown = [(title, figure) for title, figure in drawn.items() if figure is not None]
        return tuple(
            Chart(title=title, svg=_svg(figure, prefix=f"chart{place}-")) for place, (title, figure) in enumerate(shown)
        )


def _time_bars(report: Report) -> list[Bar]:
    return [
        Bar(target=one, length=one.end_to_end.p50_ms, text=cells.milliseconds(one.end_to_end.p50_ms).text)
        for one in report.targets
        if one.end_to_end
    ]


def _size_bars(report: Report) -> list[Bar]:
    return [
        Bar(target=one, length=one.size_bytes, text=cells.megabytes(one.size_bytes).text)
        for one in report.targets
        if one.size_bytes is not None
    ]


def _memory_bars(report: Report) -> list[Bar]:
    return [
        Bar(target=one, length=one.memory.peak_rss_bytes, text=cells.mebibytes(one.memory.peak_rss_bytes).text)
        for one in report.targets
        if one.memory
    ]


def _bar_chart(report: Report, bars: Sequence[Bar]) -> "Figure | None":
    from matplotlib.figure import Figure

    if not bars:
        return None
    figure = Figure(figsize=(WIDTH_INCHES, 0.35 + 0.3 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(bars))
    drawn = axes.barh(
        places, [one.length for one in bars], color=[COLOURS[one.target.role] for one in bars], height=0.62
    )
    axes.bar_label(drawn, labels=[one.text for one in bars], padding=4, color=INK)
    axes.set_yticks(places, [_label(one.target, report) for one in bars])
    axes.set_xlim(0, 1.12 * max(one.length for one in bars) or 1)
    axes.set_xticks([])
    axes.invert_yaxis()
    _quieten(axes)
    return figure


def _scatter(report: Report) -> "Figure | None":
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    found = [(one, p50_ms(one), main_quality(one, report.main_metric)) for one in report.targets]
    dots = [(one, x, y) for one, x, y in found if x is not None and y is not None and x > 0]
    if not dots:
        return None
    figure = Figure(figsize=(WIDTH_INCHES, 3.6), layout="constrained")
    axes = figure.add_subplot()
    areas = _areas([one.size_bytes for one, _, _ in dots])
    for (one, x, y), area in zip(dots, areas, strict=True):
        axes.scatter(x, y, s=area, color=COLOURS[one.role], alpha=0.75, edgecolors="white", zorder=2)
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.22)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=PALE, linewidth=0.6, zorder=0)
    axes.set_xlabel("p50 ms from text to answer, one text at a time (logarithmic)", color=INK)
    axes.set_ylabel(report.main_metric, color=INK)
    _quieten(axes)
    _name_dots(axes, [(_label(one, report), x, y) for one, x, y in dots], areas=areas)
    return figure


def _name_dots(axes: "Axes", dots: Sequence[tuple[str, float, float]], *, areas: Sequence[float]) -> None:
    # From the top down; a label that would lie on one already placed moves below it.
    taken: list[tuple[float, float, float]] = []
    points_per_pixel = 72 / axes.figure.dpi
    for (name, x, y), area in sorted(zip(dots, areas, strict=True), key=lambda both: (-both[0][2], both[0][1])):
        left, height = points_per_pixel * axes.transData.transform((x, y))
        width, wanted = 5.5 * len(name), height
        for other_left, other_right, other_height in taken:
            if left < other_right and other_left < left + width and abs(wanted - other_height) < LABEL_POINTS:
                wanted = other_height - LABEL_POINTS
        taken.append((left, left + width, wanted))
        axes.annotate(
            name,
            (x, y),
            xytext=(4 + area**0.5 / 2, wanted - height),
            textcoords="offset points",
            va="center",
            color=INK,
            zorder=3,
        )


def _areas(sizes: Sequence[int | None]) -> list[float]:
    # The area of a dot is the size of the file; the smallest can still be seen.
    largest = max((size for size in sizes if size), default=1)
    return [max(30.0, 600.0 * (size or 0) / largest) for size in sizes]


def _quieten(axes: "Axes") -> None:
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.tick_params(which="both", length=0, colors=INK)


def _label(target: Target, report: Report) -> str:
    name = target.name.encode("utf-8", "replace").decode()  # a folder's name may be no UTF-8
    if len({(one.provider, one.threads) for one in report.targets}) == 1:
        return name
    return f"{name} ({target.provider}, threads {target.threads})"


def _svg(figure: "Figure", *, prefix: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=NO_METADATA)
    svg = COMMENTS.sub("", text.getvalue())
    svg = svg[svg.index("<svg") :]
    # Several pictures share one page: their ids must not.
    return IDS.sub(lambda found: found[0] + prefix, svg).strip()
