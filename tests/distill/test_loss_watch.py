"""A loss that is no number is found within three steps, and its own step is named."""

import math

import pytest
import torch

from kd_deploy.distill.loss_watch import LOOK_EVERY, LossWatch
from kd_deploy.errors import TrainingError


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(1, 8))
def test_a_loss_that_is_no_number_is_found_within_three_steps(bad: float, place: int) -> None:
    watch, made = LossWatch(), list[int]()

    def walk() -> None:
        for step in range(1, 20):
            made.append(step)
            watch.see(torch.tensor(bad if step >= place else 0.5), step=step)

    with pytest.raises(TrainingError, match=rf"the loss is {bad} at step {place}$"):
        walk()
    assert place <= len(made) < place + LOOK_EVERY


def test_a_look_finds_what_was_not_yet_looked_at() -> None:
    watch = LossWatch()
    watch.look()
    watch.see(torch.tensor(math.nan), step=7)

    with pytest.raises(TrainingError, match="step 7"):
        watch.look()
    watch.look()


@pytest.mark.parametrize(
    ("hidden", "soft", "where"),
    [(math.inf, 0.3, ", in hidden"), (math.nan, math.nan, ", in every term"), (0.1, 0.2, "")],
)
def test_the_terms_that_are_no_numbers_are_named(hidden: float, soft: float, where: str) -> None:
    watch = LossWatch()
    watch.see(torch.tensor(0.5), step=1, parts=[("hidden", torch.tensor(0.5))])
    watch.see(torch.tensor(math.nan), step=2, parts=[("hidden", torch.tensor(hidden)), ("soft", torch.tensor(soft))])

    with pytest.raises(TrainingError, match=rf"the loss is nan at step 2{where}$"):
        watch.look()


def test_a_held_loss_keeps_no_graph() -> None:
    watch, weight = LossWatch(), torch.ones(1, requires_grad=True)

    watch.see((2 * weight).sum(), step=1)

    assert not watch._losses[0].requires_grad
