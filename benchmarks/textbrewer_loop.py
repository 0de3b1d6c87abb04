"""The same distillation by TextBrewer, in an environment of its own (requirements-textbrewer.txt).

`training_speed.py` runs it: `python textbrewer_loop.py JOB max_length` (or `longest`) prints one JSON line. The release
runs on today's torch as it is. GeneralDistiller is the class its documentation recommends for one teacher and
one task; it asks the teacher in every step. It would save the student after every epoch: over few rows that would
weigh more than it should, so it saves once.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import textbrewer  # type: ignore[import-not-found]  # it is in its own environment alone
import torch
from torch import Tensor, nn
from training_job import Job, Row, timed
from transformers import get_linear_schedule_with_warmup


def train(job: Job, student: nn.Module, teacher: nn.Module, rows: Sequence[Row]) -> None:
    """Train the student in place."""
    batches, soft = job.batches(rows), job.term("soft_targets")
    distillation = textbrewer.DistillationConfig(
        temperature=soft["temperature"],
        kd_loss_weight=soft["weight"],
        hard_label_weight=job.term("hard_labels")["weight"],
    )
    with tempfile.TemporaryDirectory() as output:
        distiller = textbrewer.GeneralDistiller(
            train_config=textbrewer.TrainingConfig(
                device="cpu", output_dir=output, ckpt_epoch_frequency=job.settings["epochs"]
            ),
            distill_config=distillation,
            model_T=teacher,
            model_S=student,
            adaptor_T=adapt,
            adaptor_S=adapt,
        )
        with distiller:
            distiller.train(
                job.optimizer(student),
                batches,
                num_epochs=job.settings["epochs"],
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args=job.schedule(batches),
                max_grad_norm=1.0,
            )


def adapt(_batch: dict[str, Tensor], outputs: Any) -> dict[str, Tensor]:
    """What TextBrewer asks of a model: its logits, and the loss on the labels."""
    return {"logits": outputs.logits, "losses": outputs.loss}


def main() -> None:
    """Time it over the job's rows."""
    folder, padding = sys.argv[1:]
    job = Job.open(Path(folder), padding="longest" if padding == "longest" else "max_length")
    seconds = timed(job, train)
    print(json.dumps({"train_s": seconds, "torch": torch.__version__, "textbrewer": textbrewer.__version__}))


if __name__ == "__main__":
    main()
