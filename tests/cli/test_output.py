"""What long work says on stderr where no terminal shows a bar."""

import itertools

import pytest

from kd_deploy import progress
from kd_deploy.cli import output
from kd_deploy.cli.output import speaking


def clock_of(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """A clock that is so much further each time it is read."""
    readings = itertools.count(0.0, seconds)
    monkeypatch.setattr(output.time, "monotonic", lambda: next(readings))


def test_long_work_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock_of(monkeypatch, seconds=25)

    with speaking(quiet=False):
        done = list(progress.track("abcdefgh", "training", total=8))

    # Begun at 0, the items are asked for at 25, 50, 75 ...: of two after 75 s, of five after 150.
    assert done == list("abcdefgh")
    assert capsys.readouterr().err.splitlines() == [
        "training: 2 of 8, about 4 min left",
        "training: 5 of 8, about 2 min left",
    ]


@pytest.mark.parametrize(("quiet", "seconds"), [(True, 25), (False, 1)], ids=["asked to be quiet", "soon done"])
def test_no_line_is_said_where_none_is_wanted(
    quiet: bool, seconds: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock_of(monkeypatch, seconds=seconds)

    with speaking(quiet=quiet):
        done = list(progress.track(range(8), "training", total=8))

    assert (done, capsys.readouterr().err) == (list(range(8)), "")


def test_work_that_stops_early_says_nothing_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock_of(monkeypatch, seconds=25)

    with speaking(quiet=False):
        steps = iter(progress.track(range(1000), "training", total=1000))
        assert [next(steps) for _ in range(2)] == [0, 1]
        del steps

    assert capsys.readouterr().err == ""


def test_names_with_brackets_stand_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["name", "in [s]"], [["runs[v2]/student", "[/y]"]])

    shown = capsys.readouterr().out
    assert "runs[v2]/student" in shown
    assert "[/y]" in shown
    assert "in [s]" in shown
