"""A masked language model that teaches a model to write: what it is asked, what it says, what it cannot do."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.distill.check import check_recipe
from kd_deploy.distill.conditional_mlm import PARTS, ConditionalMaskedLM
from kd_deploy.distill.opening import open_predictor
from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.errors import RecipeError
from kd_deploy.pipeline.notes import WORDLESS
from kd_deploy.pipeline.run import run
from kd_deploy.recipe import Recipe, ScratchModel
from kd_deploy.report.document import report_schema
from kd_deploy.tasks.task import LabelSpace
from tests import tiny_writers

PAD, CLS, SEP, MASK, VOCABULARY = 0, 2, 3, 4, 40
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
FAMILIES: dict[str, Any] = {
    "bert": (BertForMaskedLM, BertConfig),
    "roberta": (RobertaForMaskedLM, RobertaConfig),
}
SOURCES = ([CLS, 11, 12, 13, 14, SEP], [CLS, 15, SEP])
TARGETS = ([21, 22, 23, SEP], [24, 25, 26, 27, 28, 29, SEP])
FILLS = LabelSpace(task="fill-mask", names=(), problem_type="single_label_classification")


@pytest.fixture(params=FAMILIES)
def inner(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    model, config = FAMILIES[request.param]
    made: nn.Module = model(config(vocab_size=VOCABULARY, pad_token_id=PAD, max_position_embeddings=64, **SIZES))
    return made.eval()


def teacher_over(inner: nn.Module) -> ConditionalMaskedLM:
    return ConditionalMaskedLM(inner, mask_id=MASK, end_id=SEP, pad_id=PAD).eval()


def asked(*, padding: str = "right", longer: int = 0) -> dict[str, Tensor]:
    """Both pairs as a batch for an encoder-decoder, with as much more padding as is asked for."""
    wide = max(map(len, SOURCES)) + longer
    ids, mask = torch.full((2, wide), PAD), torch.zeros(2, wide, dtype=torch.long)
    for row, one in enumerate(SOURCES):
        place = slice(None, len(one)) if padding == "right" else slice(wide - len(one), None)
        ids[row, place], mask[row, place] = torch.tensor(one), 1
    given = torch.full((2, max(map(len, TARGETS)) + longer), PAD)
    for row, one in enumerate(TARGETS):
        given[row, : len(one)] = torch.tensor([CLS, *one[:-1]])
    return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": given}


@torch.no_grad()
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("longer", [0, 3])
def test_it_says_of_each_token_what_the_model_fills_in_beside_the_source(
    inner: nn.Module, padding: str, longer: int
) -> None:
    said = teacher_over(inner)(**asked(padding=padding, longer=longer)).logits

    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        for part in range(PARTS):
            hidden = [MASK if place % PARTS == part else one for place, one in enumerate(target)]
            arrays = {"input_ids": torch.tensor([[*source, *hidden]])}
            if inner.config.type_vocab_size > 1:
                arrays["token_type_ids"] = torch.tensor([[0] * len(source) + [1] * len(target)])
            alone = inner(**arrays).logits[0, len(source) :]
            for place in range(part, len(target), PARTS):
                torch.testing.assert_close(said[row, place], alone[place], atol=1e-5, rtol=1e-4)


def test_in_training_chance_says_which_tokens_are_hidden_together_and_each_is_once(
    inner: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    forward = inner.forward

    def spy(**arrays: Tensor) -> Any:
        seen.append(arrays["input_ids"])
        return forward(**arrays)

    monkeypatch.setattr(inner, "forward", spy)
    teacher = teacher_over(inner).train()
    for _ in range(2):
        teacher(**asked()).logits.sum().backward()

    first, second = ((one == MASK) for one in seen)
    assert not torch.equal(first, second)
    for masked in (first, second):
        assert int(masked.sum()) == sum(map(len, TARGETS))
        for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            of_row = masked[row :: len(SOURCES)]  # [P, S + T]
            assert of_row.sum(dim=0).tolist()[: len(source) + len(target)] == [0] * len(source) + [1] * len(target)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("masked")
    texts = [str(row[name]) for row in tiny_writers.rows("text2text", 60, seed=1) for name in ("source", "target")]
    sizes = ScratchModel(layers=2, hidden_size=32, attention_heads=2, vocabulary=300)
    write_scratch_model(folder, sizes, inputs=texts, labels=FILLS, max_length=80, seed=0)
    return folder


def recipe(masked: Path, folder: Path, **sections: Any) -> dict[str, Any]:
    finetune = {"epochs": 15, "batch_size": 8, "learning_rate": 5e-3}
    teacher = {"model": str(masked), "finetune": finetune}
    distill = {"epochs": 12, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0.1, "control": False}
    return tiny_writers.document("lstm", folder, **{"teacher": teacher, "distill": distill, **sections})


@pytest.fixture(scope="module")
def made(masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    folder = tmp_path_factory.mktemp("made")
    document = recipe(masked, folder, export={"precisions": ["fp32", "int8"], "max_accuracy_drop": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd_deploy.benchmark.run.benchmark", tiny_writers.unmeasured)
        run(Recipe.of(document), folder / "out")
    return folder / "out"


def test_the_teacher_is_a_model_that_fills_masks(made: Path) -> None:
    bundle = Bundle.open(made / "teacher")

    assert bundle.manifest.task == "fill-mask"
    assert set(bundle.manifest.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    assert bundle.manifest.metrics["masked_accuracy"] > 0.5
    with open_predictor(made / "teacher", max_length=40) as predictor:
        answer: Any = predictor.predict(["der [MASK] mag Wasser"])[0]
    assert len(answer.places) == 1


def test_the_student_of_a_model_that_fills_masks_writes(made: Path) -> None:
    rows = tiny_writers.rows("text2text", 20, seed=99)

    with runtime.load(made / "student", precision="fp32") as student:
        written = [one.text for one in student.predict([str(row["source"]) for row in rows])]

    assert Bundle.open(made / "student").manifest.metrics["rouge_l"] > 0.25  # one that has learned nothing has 0
    assert all(written)


def test_the_report_has_no_figures_of_a_teacher_that_does_not_write(made: Path) -> None:
    report = json.loads((made / "report.json").read_text(encoding="utf-8"))

    jsonschema.validate(report, report_schema())
    assert [one["name"] for one in report["targets"]] == ["student", "student-fp32", "student-int8"]
    assert WORDLESS in report["notes"]


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "family": ({"student": {"architecture": "transformer", "layers": 1}}, "student.architecture: transformer starts"),
    "sequences": ({"distill": {"sequences": {"beams": 2}}}, "cannot write targets"),
    "room": ({"data": {"train": "x", "max_length": 64}}, "has 80 positions for both"),
    "layers": ({"distill": {"objective": [{"term": "hidden"}]}}, "this one shows its answers alone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_such_a_teacher_cannot_do_is_refused_before_anything_is_trained(
    fault: str, masked: Path, tmp_path: Path
) -> None:
    sections, message = FAULTS[fault]

    with pytest.raises(RecipeError, match=message):
        check_recipe(Recipe.of(recipe(masked, tmp_path, **sections)))
