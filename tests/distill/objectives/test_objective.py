import pytest
import torch
from torch.testing import assert_close

from kd_deploy.distill.objectives import Objective
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.objectives.logits import logit_mse, soft_target_bernoulli_kl, soft_target_kl
from kd_deploy.distill.objectives.objective import LABELS_ALONE
from kd_deploy.errors import TrainingError
from kd_deploy.recipe import HardLabels, LogitMse, SoftTargets

STUDENT = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
TEACHER = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, -1.0]])
IDS = torch.tensor([2, 1])
INDICATOR = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])

SOFT = SoftTargets(term="soft_targets", weight=0.7, temperature=3.0)
HARD = HardLabels(term="hard_labels", weight=0.2)
MSE = LogitMse(term="logit_mse", weight=0.1)


def test_it_is_the_weighted_sum_of_its_terms() -> None:
    loss = Objective((SOFT, HARD, MSE)).loss(STUDENT, teacher=TEACHER, targets=IDS)

    soft = soft_target_kl(STUDENT, TEACHER, temperature=3.0)
    by_hand = 0.7 * soft + 0.2 * hard_label_loss(STUDENT, IDS) + 0.1 * logit_mse(STUDENT, TEACHER)
    assert_close(loss, by_hand)


def test_several_labels_take_the_bernoulli_form() -> None:
    loss = Objective((SOFT, HARD)).loss(STUDENT, teacher=TEACHER, targets=INDICATOR)

    soft = soft_target_bernoulli_kl(STUDENT, TEACHER, temperature=3.0)
    assert_close(loss, 0.7 * soft + 0.2 * hard_label_loss(STUDENT, INDICATOR))


def test_it_is_float32_over_bfloat16_logits() -> None:
    loss = Objective((SOFT, HARD, MSE)).loss(STUDENT.bfloat16(), teacher=TEACHER.bfloat16(), targets=IDS)

    assert loss.dtype == torch.float32
    assert loss.shape == ()


@pytest.mark.parametrize("term", [SOFT, MSE])
def test_a_missing_teacher_is_named(term: SoftTargets | LogitMse) -> None:
    with pytest.raises(TrainingError, match=term.term):
        Objective((HARD, term)).loss(STUDENT, teacher=None, targets=IDS)


def test_labels_alone_need_no_teacher() -> None:
    alone = Objective(LABELS_ALONE)

    assert not alone.needs_teacher
    assert_close(alone.loss(STUDENT, teacher=None, targets=IDS), hard_label_loss(STUDENT, IDS))
    assert Objective((HARD, MSE)).needs_teacher
