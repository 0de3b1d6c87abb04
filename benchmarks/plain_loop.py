"""Distillation as it is mostly written: the teacher asked in every step, all texts padded alike, shuffled, fp32.

`training_speed.py` runs it: `python plain_loop.py JOB max_length` prints one JSON line.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from training_job import Job, Row, timed
from transformers import get_linear_schedule_with_warmup


def train(job: Job, student: nn.Module, teacher: nn.Module, rows: Sequence[Row]) -> None:
    """Train the student in place; nothing is evaluated or saved."""
    batches, optimizer = job.batches(rows), job.optimizer(student)
    schedule = get_linear_schedule_with_warmup(optimizer, **job.schedule(batches))
    soft, hard = job.term("soft_targets"), job.term("hard_labels")
    temperature = soft["temperature"]
    student.train()
    for _ in range(job.settings["epochs"]):
        for batch in batches:
            labels = batch.pop("labels")
            with torch.no_grad():
                taught = F.softmax(teacher(**batch).logits / temperature, dim=-1)  # [B, C]
            logits = student(**batch).logits  # [B, C]
            kl = F.kl_div(F.log_softmax(logits / temperature, dim=-1), taught, reduction="batchmean")
            loss = soft["weight"] * temperature**2 * kl + hard["weight"] * F.cross_entropy(logits, labels)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def main() -> None:
    """Time it over the job's rows."""
    folder, padding = sys.argv[1:]
    job = Job.open(Path(folder), padding="longest" if padding == "longest" else "max_length")
    print(json.dumps({"train_s": timed(job, train), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
