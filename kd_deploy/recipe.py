"""What to do: the recipe as frozen sections, read from YAML, checked whole, every fault with its path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kd_deploy.errors import RecipeError
from kd_deploy.recipe_faults import describe_faults
from kd_deploy.recipe_text import override_key, parse, read_text

TaskName = Literal["text-classification"]
Precision = Literal["fp32", "int8"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """The rules of every section: frozen, and no key that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where the rows are, and what their columns are called."""

    train: str | None = Field(
        None, description="A .jsonl, .csv, .tsv or .parquet file (or .gz of it), a folder, a hub id."
    )
    validation: str | None = Field(None, description="Left out: a tenth of train is held back.")
    test: str | None = Field(None, description="Read once, at the end. Left out: the report is on validation.")
    columns: dict[str, str] = Field({}, description="Task column: name in the file. Only where they differ.")
    max_length: Annotated[int, Field(ge=4)] = Field(128, description="Tokens; longer inputs are cut.")
    seed: int = Field(0, description="Of the split that is held back.")


class Training(Section):
    """How a model is trained, whatever its objective."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 5e-5
    warmup: Fraction = Field(0.1, description="Share of the steps in which the learning rate rises.")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    gradient_accumulation: PositiveInt = 1
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it.")
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    seed: int = 0


class ScratchModel(Section):
    """A BERT-like encoder with random weights and a WordPiece vocabulary learned from the training texts."""

    layers: PositiveInt = 4
    hidden_size: PositiveInt = 256
    attention_heads: PositiveInt = 4
    vocabulary: Annotated[int, Field(ge=100)] = 8000


class Teacher(Section):
    """The model to learn from."""

    model: str | None = Field(None, description="A checkpoint folder, a bundle, or a hub id.")
    scratch: ScratchModel | None = Field(None, description="Instead of model: train one from nothing.")
    finetune: Training | None = Field(None, description="Left out: the teacher is used as it is.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.scratch is None):
            raise ValueError("give either model or scratch")
        if self.scratch and not self.finetune:
            raise ValueError("a teacher from scratch knows nothing yet: give finetune as well")
        return self


class TransformerStudent(Section):
    """The teacher's family with fewer layers, or with other widths."""

    architecture: Literal["transformer"] = "transformer"
    layers: PositiveInt | None = Field(None, description="Left out: half of the teacher's.")
    hidden_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    intermediate_size: PositiveInt | None = Field(
        None, description="Left out: in the teacher's proportion to hidden_size."
    )
    attention_heads: PositiveInt | None = Field(None, description="Left out: as wide as the teacher's.")
    init: str = Field("teacher", description="teacher, random, or a checkpoint.")
    teacher_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, description="Which teacher layers to copy, from 0. Left out: evenly spread, first and last among them."
    )


class BilstmStudent(Section):
    """Word vectors, a bidirectional LSTM, a small head (Tang et al. 2019)."""

    architecture: Literal["bilstm"]
    hidden_size: PositiveInt = Field(256, description="Of each direction.")
    layers: PositiveInt = 1
    embedding_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    head_size: PositiveInt = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    init: Literal["teacher", "random"] = Field("teacher", description="Where the word vectors start.")


Student = Annotated[TransformerStudent | BilstmStudent, Field(discriminator="architecture")]


class SoftTargets(Section):
    """Hinton et al. 2015: KL to the teacher's softened distribution, times temperature squared."""

    term: Literal["soft_targets"]
    weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: PositiveFloat = 2.0


class HardLabels(Section):
    """Cross-entropy with the labels of the data."""

    term: Literal["hard_labels"]
    weight: Annotated[float, Field(ge=0)] = 1.0


class LogitMse(Section):
    """Ba and Caruana 2014: squared distance of the logits."""

    term: Literal["logit_mse"]
    weight: Annotated[float, Field(ge=0)] = 1.0


Term = Annotated[SoftTargets | HardLabels | LogitMse, Field(discriminator="term")]


class Distill(Training):
    """How the student learns from the teacher."""

    objective: Annotated[tuple[Term, ...], Field(min_length=1)] = (
        SoftTargets(term="soft_targets", weight=0.9),
        HardLabels(term="hard_labels", weight=0.1),
    )
    epochs: PositiveInt = 4
    learning_rate: PositiveFloat = 2e-4
    control: bool = Field(True, description="Also train the same student on labels alone, for the report.")

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if all(term.weight == 0 for term in self.objective):
            raise ValueError("every term of the objective has weight 0")
        return self


class Export(Section):
    """Which ONNX files to write, and what they may cost."""

    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "int8")
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] | None = Field(
        0.01, description="Of the main metric on validation, absolute, against the torch model. null: no gate."
    )
    opset: Annotated[int, Field(ge=14, le=18)] = 17


class Benchmark(Section):
    """What to measure."""

    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("cpu",)
    threads: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1,)
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 8)
    sequence_lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 128)
    rounds: PositiveInt = Field(5, description="Targets take turns, this many times.")
    texts: PositiveInt = Field(200, description="Texts of the data that each round answers one by one.")


class Gates(Section):
    """Limits for the last precision exported; a miss is exit code 10, the report is written all the same."""

    min_retained: Annotated[float, Field(gt=0)] | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    max_size_mb: Annotated[float, Field(gt=0)] | None = None


class ReportOptions(Section):
    """How the report is written, and what it must show."""

    formats: Annotated[tuple[Literal["html", "md", "json"], ...], Field(min_length=1)] = ("html", "md", "json")
    gates: Gates = Gates()


class Recipe(Section):
    """One whole job, from data and teacher to report."""

    version: Literal[1]
    task: TaskName
    data: Data = Data()
    teacher: Teacher | None = None
    student: Student = TransformerStudent()
    distill: Distill = Distill()
    export: Export = Export()
    benchmark: Benchmark = Benchmark()
    report: ReportOptions = ReportOptions()

    @classmethod
    def load(cls, path: Path, *, overrides: tuple[str, ...] = ()) -> Self:
        """The recipe in a YAML file, with `a.b=value` overrides applied before it is checked.

        Raises:
            RecipeError: The file cannot be read, is not YAML, or has faults; all of them are listed.
        """
        text = read_text(path)
        document = parse(text, source=str(path))
        for override in overrides:
            override_key(document, override)
        return cls.of(document, source=str(path), text=text, overrides=overrides)

    @classmethod
    def of(
        cls, document: dict[str, Any], *, source: str = "recipe", text: str = "", overrides: Sequence[str] = ()
    ) -> Self:
        """The recipe in a dictionary.

        Raises:
            RecipeError: With every fault and its path.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = describe_faults(error, model=cls, text=text, overrides=overrides)
            joined = "\n  ".join(faults)
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise RecipeError(
                f"{source} has {count}:\n  {joined}", hint="kd-deploy run --schema prints every key and its type"
            ) from error

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
