"""What the loops beside ours train with: rows, models, batches and optimiser. Needs torch and transformers alone."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

Padding = Literal["max_length", "longest"]
Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A folder with recipe.json, train.jsonl, warm_up.jsonl and the student as it starts, and how to pad."""

    folder: Path
    recipe: dict[str, Any]
    padding: Padding

    @classmethod
    def open(cls, folder: Path, *, padding: Padding) -> "Job":
        """The job in a folder that training_speed.py wrote."""
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        return cls(folder=folder, recipe=recipe, padding=padding)

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe's section distill."""
        section: dict[str, Any] = self.recipe["distill"]
        return section

    def term(self, name: str) -> dict[str, Any]:
        """One term of the objective."""
        return next(one for one in self.settings["objective"] if one["term"] == name)

    def rows(self, name: str) -> list[Row]:
        """The rows of NAME.jsonl."""
        lines = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def student(self) -> nn.Module:
        """The student as it starts, in fp32."""
        return _classifier(self.folder / "student")

    def teacher(self) -> nn.Module:
        """The teacher, in fp32 and evaluation mode."""
        return _classifier(Path(self.recipe["teacher"]["model"])).eval()

    def batches(self, rows: Sequence[Row]) -> "DataLoader[Row]":
        """Shuffled batches: input_ids, attention_mask, token_type_ids [B, S] and labels [B]."""
        teacher = Path(self.recipe["teacher"]["model"])
        tokenizer = AutoTokenizer.from_pretrained(teacher, local_files_only=True)
        ids = json.loads((teacher / "config.json").read_text(encoding="utf-8"))["label2id"]

        def collate(batch: list[Row]) -> dict[str, Tensor]:
            texts, limit = [row["text"] for row in batch], self.recipe["data"]["max_length"]
            encoded = tokenizer(texts, truncation=True, max_length=limit, padding=self.padding, return_tensors="pt")
            return {**encoded, "labels": torch.tensor([ids[row["label"]] for row in batch])}

        order = torch.Generator().manual_seed(self.settings["seed"])
        size = self.settings["batch_size"]
        return DataLoader(list(rows), batch_size=size, shuffle=True, generator=order, collate_fn=collate)  # type: ignore[arg-type]

    def optimizer(self, student: nn.Module) -> torch.optim.Optimizer:
        """AdamW as torch gives it."""
        settings = self.settings
        return torch.optim.AdamW(
            student.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
        )

    def schedule(self, batches: "DataLoader[Row]") -> dict[str, int]:
        """The arguments of transformers.get_linear_schedule_with_warmup."""
        steps = len(batches) * self.settings["epochs"]
        warm_up = round(self.settings["warmup"] * steps)
        return {"num_warmup_steps": warm_up, "num_training_steps": steps}


def timed(job: Job, train: Callable[[Job, nn.Module, nn.Module, Sequence[Row]], None]) -> float:
    """Seconds from texts to trained student; models are loaded and some steps made before."""
    train(job, job.student(), job.teacher(), job.rows("warm_up"))
    student, teacher, rows = job.student(), job.teacher(), job.rows("train")
    started = time.perf_counter()
    train(job, student, teacher, rows)
    return time.perf_counter() - started


def _classifier(folder: Path) -> nn.Module:
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    return model
