"""The accuracy gate: the first plan that is good enough, or none."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pytest

from kd_deploy.errors import ExportError, GateError
from kd_deploy.export import gate
from kd_deploy.export.gate import Limit, batch_sensitivity, quantize_within
from kd_deploy.export.quantize import PLANS, Plan, Quantized
from kd_deploy.tasks.task import Examples
from kd_deploy.tasks.text_classification import references
from tests import tiny

ROWS = tiny.single_label(10, seed=0)


class Fake:
    """A predictor that is right on a share of the rows; alone it may answer otherwise than among others."""

    def __init__(self, share: float, *, moved_alone: bool = False) -> None:
        self.share, self.moved_alone = share, moved_alone

    def predictions(self, examples: Examples) -> tuple[tuple[int, ...], ...]:
        out = []
        for one, (target,) in zip(examples.inputs, references(examples), strict=True):
            place = ROWS.inputs.index(one)
            right = (place < self.share * len(ROWS)) != (self.moved_alone and len(examples) == 1)
            out.append((target if right else 1 - target,))
        return tuple(out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was quantised, in order; the file holds the source and the number of the plan."""
    names: list[str] = []

    def quantize(source: Path, target: Path, *, plan: Plan, reduce_range: bool) -> Quantized:
        names.append(f"{source.name} {PLANS.index(plan)}")
        if source.name == "broken":
            raise ExportError("cannot be quantised")
        target.write_text(names[-1])
        return Quantized(operators={}, kept=())

    monkeypatch.setattr(gate, "quantize", quantize)
    return names


def within(
    target: Path,
    scores: Callable[[str], float],
    *,
    sources: Sequence[str] = ("fused", "plain"),
    max_drop: float | None = 0.1,
    limited: bool = True,
) -> gate.Accepted:
    return quantize_within(
        [(name, Path(name)) for name in sources],
        target,
        limits=[Limit(examples=ROWS, reference=1.0, max_drop=max_drop)] if limited else [],
        reduce_range=False,
        open_predictor=lambda graph: Fake(scores(graph.read_text())),  # type: ignore[arg-type, return-value]
    )


def test_the_first_plan_is_taken_where_it_is_good_enough(tmp_path: Path, tried: list[str]) -> None:
    found = within(tmp_path / "int8", lambda _: 0.9)

    assert tried == ["fused 0"]
    assert (found.metric, found.drop) == (pytest.approx(0.9), pytest.approx(0.1))


@pytest.mark.parametrize(("reference", "found"), [(0.95, 0.94), (0.83, 0.82), (0.5, 0.49)])
def test_a_loss_of_exactly_the_limit_is_allowed(reference: float, found: float) -> None:
    limit = Limit(examples=ROWS, reference=reference, max_drop=0.01)

    assert limit.allows(limit.drop(found))
    assert not limit.allows(limit.drop(found - 0.001))


def test_a_plan_that_loses_too_much_is_followed_by_a_more_careful_one(tmp_path: Path, tried: list[str]) -> None:
    found = within(tmp_path / "int8", lambda what: {"fused 0": 0.2, "fused 1": 0.6}.get(what, 1.0))

    assert tried == ["fused 0", "fused 1", "fused 2"]
    assert (tmp_path / "int8").read_text() == "fused 2"
    assert len(found.steps) == 3
    assert "drop +0.8000" in found.steps[0]
    assert found.drop == 0


def test_the_plain_graph_is_tried_when_the_fused_one_is_not_enough(tmp_path: Path, tried: list[str]) -> None:
    within(tmp_path / "int8", lambda what: 1.0 if what == "plain 1" else 0.0)

    assert tried == ["fused 0", "fused 1", "fused 2", "plain 0", "plain 1"]


def test_a_better_model_than_the_reference_passes(tmp_path: Path, tried: list[str]) -> None:
    limit = Limit(examples=ROWS, reference=0.5, max_drop=0.0)

    found = quantize_within(
        [("plain", Path("plain"))],
        tmp_path / "int8",
        limits=[limit],
        reduce_range=False,
        open_predictor=lambda _: Fake(1.0),  # type: ignore[arg-type, return-value]
    )

    assert found.drop == -0.5


def test_no_plan_that_is_good_enough_leaves_nothing(tmp_path: Path, tried: list[str]) -> None:
    with pytest.raises(GateError, match=r"more than 0\.1 on tiny\.jsonl.*plain graph") as caught:
        within(tmp_path / "int8", lambda _: 0.5)

    assert caught.value.exit_code == 10
    assert "--max-accuracy-drop" in caught.value.hint
    assert len(tried) == 2 * len(PLANS)
    assert not (tmp_path / "int8").exists()


def test_a_source_that_cannot_be_quantised_is_passed_over(tmp_path: Path, tried: list[str]) -> None:
    found = within(tmp_path / "int8", lambda _: 1.0, sources=("broken", "plain"))

    assert tried == ["broken 0", "plain 0"]
    assert "cannot be quantised" in found.steps[0]


@pytest.mark.parametrize(("limited", "max_drop"), [(False, None), (True, None), (True, 0.1)])
def test_no_source_that_can_be_quantised_is_no_fault_of_the_gate(
    tmp_path: Path, tried: list[str], limited: bool, max_drop: float | None
) -> None:
    with pytest.raises(ExportError, match="no graph could be quantised"):
        within(tmp_path / "int8", lambda _: 1.0, sources=("broken",), limited=limited, max_drop=max_drop)


def test_without_rows_the_first_plan_is_taken_and_the_fact_recorded(tmp_path: Path, tried: list[str]) -> None:
    found = within(tmp_path / "int8", lambda _: 0.0, limited=False)

    assert tried == ["fused 0"]
    assert (found.metric, found.drop, found.batch_sensitivity) == (None, None, None)
    assert "no data given" in found.steps[0]


def test_without_a_limit_the_drop_is_measured_all_the_same(tmp_path: Path, tried: list[str]) -> None:
    assert within(tmp_path / "int8", lambda _: 0.3, max_drop=None).drop == pytest.approx(0.7)


@pytest.mark.parametrize(("moved", "share"), [(False, 0.0), (True, 1.0)])
def test_batch_sensitivity_is_the_share_of_answers_that_mates_move(moved: bool, share: float) -> None:
    assert batch_sensitivity(Fake(1.0, moved_alone=moved), ROWS) == share  # type: ignore[arg-type]
