"""What the ablation is made of: data sets, students, rows, how each is trained, and where results are kept.

All there is to tune stands here. A result counts as long as its recipe and its teacher's are those of now.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from kd_deploy.cli.init import STARTERS

Document = dict[str, Any]
RUNS = Path("runs")
ALIKE: Mapping[str, Any] = {"control": False}  # `labels` is a row of its own
KEPT = ("validation_accuracy", "test_accuracy", "seconds", "teacher_sha256")  # of a training, in the result file
SHARED = "../shared"
LEARNING_RATES = {"transformer": 1e-4, "bilstm": 1e-3, "static": 1e-3}
FINETUNE: Mapping[str, Any] = {"epochs": 5, "batch_size": 32, "learning_rate": 1e-4}
CORE = (
    "labels",
    "soft_targets",
    "temperature_1",
    "starter",
    "hidden",
    "relations",
    "similarity_matrix",
    "augment",
    "longer",
    "labels_longer",
    "augment_longer",
    "logit_mse",
    "decoupled",
)
KNOBS = ("temperature_4", "no_labels")
ON_SST2 = ("labels", "soft_targets", "logit_mse", "hidden", "relations", "longer", "augment", "augment_longer")

STUDENTS: Mapping[str, Mapping[str, Any]] = {
    "bilstm": {"architecture": "bilstm", "hidden_size": 128},
    "transformer3": {"architecture": "transformer", "layers": 3},
    "transformer2": {"architecture": "transformer", "layers": 2},
    "static": {"architecture": "static", "bigrams": 65536},
}
TRANSFORMERS = ("transformer3", "transformer2")
LAYERED = ("bilstm", *TRANSFORMERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set: its files, how long its students learn, and what is tried on it.

    `teacher` is a checkpoint that is used as it is; None: the encoder is fine-tuned. `rows` None: all. `train_limit`:
    students learn from so many texts; None: from all.
    """

    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    batch_size: int
    epochs: Mapping[str, int]
    teacher: str | None = None
    rows: tuple[str, ...] | None = None
    train_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to teach: the terms, further keys of the recipe's distill section, and the students that it fits.

    `times`: so many times the usual epochs. `untouched`: nothing of this counts, but what `kd-deploy init` writes.
    """

    terms: tuple[Mapping[str, Any], ...] = ()
    further: Mapping[str, Any] = field(default_factory=dict)
    fits: tuple[str, ...] = tuple(STUDENTS)
    times: int = 1
    untouched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training."""

    data: str
    student: str
    row: str
    seed: int

    @property
    def key(self) -> str:
        """What its figure is called; the seeds of a row share it."""
        return f"{self.data}/{self.student}/{self.row}"


DATA: Mapping[str, DataSet] = {
    "trec6": DataSet(
        splits=("train", "test"),  # it has no validation: a tenth of train is held back
        seeds=(0, 1, 2),
        batch_size=32,
        epochs={"transformer": 6, "bilstm": 8, "static": 12},
    ),
    "clinc150": DataSet(
        splits=("train", "validation", "test"),
        seeds=(0, 1, 2),
        batch_size=64,
        epochs={"transformer": 4, "bilstm": 6, "static": 10},
        rows=(*CORE, *KNOBS),
    ),
    "sst2": DataSet(
        splits=("train", "validation", "test"),
        seeds=(0,),
        batch_size=64,
        epochs={"transformer": 2, "bilstm": 3, "static": 3},
        teacher=f"{SHARED}/teachers/sst2-minilm-l6",
        rows=ON_SST2,
        train_limit=20_000,
    ),
}

LABELS: Mapping[str, Any] = {"term": "hard_labels", "weight": 0.1}
SOFT: Mapping[str, Any] = {"term": "soft_targets", "weight": 0.9, "temperature": 2.0}
USUAL = (SOFT, LABELS)
AUGMENT: Mapping[str, Any] = {"augment": {"copies": 1}}


def _instead(term: str) -> Row:
    """A row with another divergence in the place of soft_targets."""
    return Row(terms=({**SOFT, "term": term}, LABELS))


def _besides(weights: Mapping[str, float], *, fits: tuple[str, ...]) -> Row:
    """A row with further terms, by their weights, besides soft_targets."""
    further = ({"term": term, "weight": weight} for term, weight in weights.items())
    return Row(terms=(*USUAL, *further), fits=fits)


ALONE = ({"term": "hard_labels"},)

ROWS: Mapping[str, Row] = {
    "labels": Row(terms=ALONE),
    "labels_longer": Row(terms=ALONE, times=2),
    "soft_targets": Row(terms=USUAL),
    "starter": Row(fits=("transformer3",), untouched=True),
    "longer": Row(terms=USUAL, times=2),
    "temperature_1": Row(terms=({**SOFT, "temperature": 1.0}, LABELS)),
    "temperature_4": Row(terms=({**SOFT, "temperature": 4.0}, LABELS)),
    "no_labels": Row(terms=(SOFT,)),
    "reverse_kl": _instead("reverse_kl"),
    "jensen_shannon": _instead("jensen_shannon"),
    "alpha_beta": _instead("alpha_beta"),
    "skew_kl": _instead("skew_kl"),
    "logit_mse": Row(terms=({"term": "logit_mse", "weight": 0.9}, LABELS)),
    "decoupled": _instead("decoupled"),
    "relational": _instead("relational"),
    "standardised": Row(terms=({**SOFT, "standardise": True}, LABELS)),  # never on sst2: refused for two classes
    "hidden": _besides({"hidden": 1.0}, fits=LAYERED),
    "embedding": _besides({"embedding": 1.0}, fits=LAYERED),
    "cls": _besides({"cls": 1.0}, fits=TRANSFORMERS),
    "attention_mse": _besides({"attention_mse": 0.1}, fits=TRANSFORMERS),
    "attention_kl": _besides({"attention_kl": 1.0}, fits=TRANSFORMERS),
    "relations": _besides({"relations": 1.0}, fits=TRANSFORMERS),
    "distances_and_angles": _besides({"distance_relations": 1.0, "angle_relations": 2.0}, fits=LAYERED),
    "similarity_matrix": _besides({"similarity_matrix": 100.0}, fits=LAYERED),  # a mean over B² small squares
    "contrastive": _besides({"contrastive": 0.1}, fits=LAYERED),
    "augment": Row(terms=USUAL, further=AUGMENT),
    "augment_longer": Row(terms=USUAL, further=AUGMENT, times=2),
    "r_drop": Row(terms=USUAL, further={"r_drop": 1.0}),
    "fgm": Row(terms=USUAL, further={"fgm": 1.0}),
}


def plan(data: Iterable[str], students: Sequence[str], *, rows: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells of the table, the most telling first: the core rows, seed after seed, then the others with one seed.

    Rows that do not fit a student, or are too dear for a data set, are left out.
    """
    cells = [
        Cell(data=one, student=student, row=row, seed=seed)
        for one in data
        for student in students
        for row in rows
        for seed in seeds
        if seed in DATA[one].seeds[: None if row in CORE else 1]
        and student in ROWS[row].fits
        and row in (DATA[one].rows or ROWS)
    ]
    return sorted(cells, key=lambda cell: (cell.row not in CORE, cell.seed))


def recipe_of(cell: Cell, *, epochs: int | None) -> Document:
    """The recipe of a cell without its teacher, in plain lists and dictionaries.

    Args:
        cell: Which training.
        epochs: In place of those that the data set asks for; None: those.
    """
    row, student = ROWS[cell.row], STUDENTS[cell.student]
    settings = DATA[cell.data]
    architecture = student["architecture"]
    if row.untouched:
        starter = yaml.safe_load(STARTERS.joinpath("text-classification.yaml").read_text(encoding="utf-8"))
        assert starter["student"] == student
        chosen = starter["distill"] | ({} if epochs is None else {"epochs": epochs})
        return {**data_of(cell.data), "student": starter["student"], "distill": chosen | ALIKE | {"seed": cell.seed}}
    return {
        **data_of(cell.data),
        "student": dict(student),
        "distill": {
            "objective": [dict(term) for term in row.terms],
            **row.further,
            "epochs": (settings.epochs[architecture] if epochs is None else epochs) * row.times,
            "batch_size": settings.batch_size,
            "learning_rate": LEARNING_RATES[architecture],
            "embeddings": "sparse",  # a step then costs what its own words cost, not the whole table
            "seed": cell.seed,
            **ALIKE,
        },
    }


def seeded(recipe: Document, seed: int) -> Document:
    """The same recipe with another seed."""
    return {**recipe, "distill": {**recipe["distill"], "seed": seed}}


def data_of(name: str) -> Document:
    """The part of a recipe that every training on a data set shares."""
    files = {split: f"{SHARED}/data/{name}/{split}.jsonl.gz" for split in DATA[name].splits}
    limit = {} if DATA[name].train_limit is None else {"train_limit": DATA[name].train_limit}
    return {"version": 1, "task": "text-classification", "data": files | limit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Where results are kept. `epochs` cuts every training short: a trial, which is kept apart; None: no trial.

    `published` is the result file of earlier trainings, whose folders may be gone.
    """

    epochs: int | None
    published: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """What was trained and judged so far."""
        return RUNS / ("objectives" if self.epochs is None else "objectives-trial")

    def teacher(self, data: str) -> Document | None:
        """The teacher of a data set that lies here, if it was trained as it would be now."""
        found = read(self.folder / "teachers" / f"{data}.json")
        return found if found and found["finetune"] == self.finetune(data) else None

    def teachers(self, data: str) -> dict[str, Document]:
        """Every teacher of a data set that was trained as it would be now, by the hash of its weights.

        The same training makes other weights on another machine: each student is compared with its own teacher.
        """
        mine = self.teacher(data)
        known = [*self.published.get("teachers", {}).get(data, []), *([mine] if mine else [])]
        return {one["sha256"]: one for one in known if one["finetune"] == self.finetune(data)}

    def finetune(self, data: str) -> Document | None:
        """How a data set's teacher is trained; None: it is used as it is."""
        if DATA[data].teacher:
            return None
        return {**FINETUNE, **({} if self.epochs is None else {"epochs": self.epochs})}

    def cell(self, cell: Cell) -> Document | None:
        """The result of a cell, if it was trained as it would be now; two rows may be one and the same training."""
        teachers, recipe = self.teachers(cell.data), recipe_of(cell, epochs=self.epochs)
        for row in (cell.row, *ROWS):
            for found in (read(self.cell_file(cell, row=row)), self._published_cell(cell, row=row)):
                if found and found["recipe"] == recipe and found["teacher_sha256"] in teachers:
                    return found
        return None

    def _published_cell(self, cell: Cell, *, row: str) -> Document | None:
        raw = self.published.get("cells", {}).get(replace(cell, row=row).key)
        if raw is None or cell.seed not in raw["seed"]:
            return None
        place = raw["seed"].index(cell.seed)
        return {**{key: raw[key][place] for key in KEPT}, "recipe": seeded(raw["recipe"], cell.seed)}

    def cell_file(self, cell: Cell, *, row: str) -> Path:
        """Where the result of a cell goes."""
        return self.folder / "cells" / f"{cell.data}-{cell.student}-{row}-{cell.seed}.json"


def read(path: Path) -> Document | None:
    """What a JSON file holds; None: there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
