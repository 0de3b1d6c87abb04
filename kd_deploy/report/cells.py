"""A figure as a person reads it, beside the number in report.json that it was made from."""

from dataclasses import dataclass

MEGA = 1e6
MEBI = 2**20
GIBI = 2**30
NOT_MEASURED = "–"  # noqa: RUF001  # an en dash, as in any printed table


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text to show. `value` is the number behind it; a missing figure has a `reason` instead."""

    text: str
    value: float | None = None
    reason: str | None = None
    state: str = ""

    @property
    def is_number(self) -> bool:
        """Whether the text belongs at the right edge of its column."""
        return self.value is not None or self.reason is not None


def words(text: str, *, state: str = "") -> Cell:
    """A name, or any text without a figure in it."""
    return Cell(text=text, state=state)


def whole(value: int | None, reason: str | None = None) -> Cell:
    """A count."""
    return _cell(value, reason, text=f"{value or 0:,}".replace(",", "\u202f"))


def plain(value: float | None, reason: str | None = None) -> Cell:
    """A number as it is, to four significant digits."""
    return _cell(value, reason, text=f"{value or 0:.4g}")


def percent(value: float | None, reason: str | None = None) -> Cell:
    """A share of 1 as a percentage."""
    return _cell(value, reason, text=f"{100 * (value or 0):.1f} %")


def points(value: float | None, reason: str | None = None) -> Cell:
    """A difference of percentages, with its sign."""
    return _cell(value, reason, text=f"{value or 0:+.2f}")


def milliseconds(value: float | None, reason: str | None = None) -> Cell:
    """A duration, to three significant digits."""
    return _cell(value, reason, text=_three_digits(value or 0))


def times(value: float | None, reason: str | None = None) -> Cell:
    """A ratio: `11.2 ×`."""
    return _cell(value, reason, text=f"{ratio_text(value or 0)} ×")


def megabytes(value: int | None, reason: str | None = None) -> Cell:
    """Bytes as MB, a million each."""
    return _cell(value, reason, text=_three_digits((value or 0) / MEGA))


def mebibytes(value: int | None, reason: str | None = None) -> Cell:
    """Bytes as MiB."""
    return _cell(value, reason, text=f"{(value or 0) / MEBI:.0f}")


def per_second(value: float | None, reason: str | None = None) -> Cell:
    """A rate, to three significant digits."""
    return _cell(value, reason, text=_three_digits(value or 0))


def ratio_text(value: float) -> str:
    """A ratio without its sign: fewer decimals the larger it is."""
    if value >= 100:  # noqa: PLR2004
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 2 else f"{value:.2f}"  # noqa: PLR2004


def _cell(value: float | None, reason: str | None, *, text: str) -> Cell:
    if value is None:
        return Cell(text=NOT_MEASURED, reason=reason or "was not measured")
    return Cell(text=text, value=value)


def _three_digits(value: float) -> str:
    for limit, decimals in ((100, 0), (10, 1), (1, 2)):
        if value >= limit:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"
