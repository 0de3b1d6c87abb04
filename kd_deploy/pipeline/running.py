"""The stages of a run, in the order in which they need each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kd_deploy import __version__, measurement_store, progress
from kd_deploy.bundle import PRECISIONS, Bundle
from kd_deploy.errors import ExportError
from kd_deploy.export.settings import ExportSettings
from kd_deploy.measurement import Benchmarked, Evaluation, TargetName
from kd_deploy.pipeline.answers import AnyTarget, KeptAnswers, drop_others
from kd_deploy.pipeline.evaluate import evaluate
from kd_deploy.pipeline.export import export_made
from kd_deploy.pipeline.fingerprints import (
    OF_TEACHING,
    drawn,
    how_to_write,
    labelled_rows,
    of_teacher,
    signature,
    start,
    voices,
    written_out,
)
from kd_deploy.pipeline.notes import WORDLESS, judged, notes
from kd_deploy.pipeline.report import BENCHMARK, EVALUATION
from kd_deploy.pipeline.resume import Stages, stored
from kd_deploy.pipeline.server import ServerTarget
from kd_deploy.pipeline.targets import Target, bundle_target
from kd_deploy.recipe import Endpoint, Recipe
from kd_deploy.tasks.heads import MAIN, speaking_of
from kd_deploy.tasks.registry import as_asked, is_its_own_label, task_of
from kd_deploy.tasks.splits import Splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a report compares: on the main task, and on each further one the same student beside its own teacher."""

    main: tuple[AnyTarget, ...]
    further: Mapping[str, tuple[AnyTarget, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A recipe on its way: each stage is run, or reused when nothing that it depends on has changed.

    `further` are the rows of further tasks. `task` is the one that this is about: the teacher of a further task is
    made by a running of its own.
    """

    recipe: Recipe
    output: Path
    stages: Stages
    splits: Splits
    further: Mapping[str, Splits] = field(default_factory=dict)
    task: str = MAIN

    def targets(self) -> Targets:
        """Train and export, then name everything that the report compares."""
        teacher = self._trained_teacher()
        others = {name: self._of_task(name) for name in self.further}
        taught = {name: one._trained_teacher() for name, one in others.items()}  # noqa: SLF001 - of its own kind
        student = self._trained("student", teacher, taught)
        control = self._trained("control", teacher, taught) if self.recipe.control else None
        student = self._exported("student", student)
        wanted = set(self.recipe.export.precisions) & set(student.manifest.graphs)
        forms = [one for one in PRECISIONS if one in wanted]  # last the one that answers where nobody chooses
        made: list[Target] = []
        if control:
            made += [bundle_target(control, form="torch", role="control", name="control")]
        made += [bundle_target(student, form="torch", role="student", name="student")]
        made += [bundle_target(student, form=one, role="student", name=f"student-{one}") for one in forms]
        return Targets(
            main=(*self._teachers(teacher, int8="int8" in forms), *made),
            further={
                name: (one._as_it_is(taught[name]), *(replace(target, task=name) for target in made))  # noqa: SLF001
                for name, one in others.items()
            },
        )

    def _of_task(self, name: str) -> "Running":
        alone = self.recipe.of_task(name)
        return replace(self, recipe=alone, splits=self.further[name], further={}, task=name)

    def _as_it_is(self, teacher: Bundle) -> AnyTarget:
        if self.endpoint is None:
            return bundle_target(teacher, form="torch", role="teacher", name="teacher")
        shown = TargetName(name="teacher", role="teacher", runtime="server", precision="unknown")
        return ServerTarget(name=shown, endpoint=self.endpoint, labels=self.splits.labels)

    def _teachers(self, teacher: Bundle, *, int8: bool) -> list[AnyTarget]:
        if self.endpoint is not None:
            return [self._as_it_is(teacher)]
        if teacher.manifest.task != self.recipe.task:
            progress.say(WORDLESS)
            return []
        try:
            exported = self._exported("teacher", teacher)
        except ExportError as error:  # the student is what the run is for
            progress.say(f"the teacher's ONNX files are left out: {error}")
            return [self._as_it_is(teacher)]
        forms = ("torch", "int8") if int8 else ("torch",)
        names = {"torch": "teacher", "int8": "teacher-int8"}
        return [bundle_target(exported, form=one, role="teacher", name=names[one]) for one in forms]

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the teacher answers; None for one that is here."""
        return self.recipe.teacher.endpoint if self.recipe.teacher else None

    def evaluate(self, targets: Targets, *, name: str) -> Evaluation:
        """What the answers of every target are worth, on test where there is one."""
        examples, split = judged(self.splits)
        path = self.output / EVALUATION

        def make() -> Evaluation:
            kept = self._kept()
            main = evaluate(targets.main, examples, split=split, name=name or examples.source, kept=kept)
            places, further = [kept.place(one) for one in targets.main], {}
            for task, those in targets.further.items():
                rows, own = judged(self.further[task])
                kept = self._of_task(task)._kept()  # noqa: SLF001 - of its own kind
                with speaking_of(task):
                    further[task] = evaluate(those, rows, split=own, name=rows.source, kept=kept)
                places += [kept.place(one) for one in those]
            made = replace(main, further=further)
            drop_others(self.stages.answers, places)
            if not self.stages.holds("benchmark", self._timed(targets.main)):
                (self.output / BENCHMARK).unlink(missing_ok=True)  # it is of other models than these answers
            measurement_store.save(path, made)
            return made

        inputs: list[object] = [self._signatures(targets.main), self._judged_rows(), split, name, __version__]
        for task, those in targets.further.items():
            inputs.append([task, self._signatures(those), self._of_task(task)._judged_rows()])  # noqa: SLF001
        return self.stages.once("evaluate", inputs, make=make, reuse=lambda: stored(path, Evaluation))

    def benchmark(self, targets: Sequence[AnyTarget], *, command: str) -> Benchmarked:
        """Time and memory of every target that runs here."""
        from kd_deploy.benchmark.run import benchmark

        settings = self.recipe.benchmark
        path = self.output / BENCHMARK
        examples, _ = judged(self.splits)
        here = [one for one in targets if isinstance(one, Target)]
        specs = [
            target.spec(provider=provider, threads=threads, must_run=target is here[-1])
            for provider in settings.providers
            for threads in settings.threads
            for target in here
        ]

        def make() -> Benchmarked:
            texts = as_asked(examples.inputs, task_of(examples.labels))
            made = benchmark(specs, task=examples.labels.task, inputs=texts, settings=settings, command=command)
            measurement_store.save(path, made)
            return made

        inputs = self._timed(targets)
        return self.stages.once("benchmark", inputs, make=make, reuse=lambda: stored(path, Benchmarked))

    def _timed(self, targets: Sequence[AnyTarget]) -> list[object]:
        settings = written_out(self.recipe.benchmark)
        return [self._signatures(targets), self._judged_rows(), settings, __version__]

    def notes(self) -> tuple[str, ...]:
        """What a reader of the report must know of the data and the models."""
        teacher = None if self.endpoint else Bundle.open(self.output / "teacher")
        return notes(self.recipe, self.splits, teacher=teacher, student=Bundle.open(self.output / "student"))

    def _trained_teacher(self) -> Bundle:
        from kd_deploy.distill.job import Job
        from kd_deploy.distill.teacher import make_teacher

        inputs = of_teacher(self.recipe, self.splits)
        job = Job(recipe=self.recipe, splits=self.splits, work=self.stages.work(inputs), logs=self.stages.logs)
        path = self.output / self._named("start" if self.endpoint else "teacher")
        with speaking_of(self.task):
            return self.stages.bundle(self._named("teacher"), inputs, path, make=lambda: make_teacher(job, path))

    def _named(self, what: str) -> str:
        return what if self.task == MAIN else f"{what}-{self.task}"

    def _trained(self, name: str, teacher: Bundle, taught: Mapping[str, Bundle]) -> Bundle:
        from kd_deploy.distill.job import Job
        from kd_deploy.distill.student import distill_student

        of_teaching = OF_TEACHING if name == "control" else set[str]()
        stages = [written_out(stage, without={"control", *of_teaching}) for stage in self.recipe.stages]
        student, length = written_out(self.recipe.student), self.recipe.data.max_length
        alone = name == "control" and not self._counts_all_texts()
        rows = labelled_rows(self.recipe, self.splits) if alone else self._rows()
        written = how_to_write(self.recipe, self.splits)
        inputs = [name, signature(teacher), student, stages, length, *written, rows, start(self.recipe.student)]
        if name != "control":
            inputs.append(voices(self.recipe.teacher))
        for task, one in taught.items():
            inputs += [self.recipe.tasks[task].weight, self._of_task(task)._input(one)]  # noqa: SLF001
        work, path = self.stages.work(inputs), self.output / name
        job = Job(recipe=self.recipe, splits=self.splits, work=work, logs=self.stages.logs, further=self.further)
        return self.stages.bundle(
            name,
            inputs,
            path,
            make=lambda: distill_student(job, teacher, path, control=name == "control", further=taught),
        )

    def _exported(self, name: str, bundle: Bundle) -> Bundle:
        settings = self.recipe.export
        # The report needs the teacher in int8 too: it may be all that a user needs.
        further = {task: one.validation for task, one in self.further.items()} if bundle.manifest.tasks else {}
        rows = [self._rows(), *(self._of_task(task)._rows() for task in further)]  # noqa: SLF001 - of its own kind
        inputs = [signature(bundle), written_out(settings), *rows, __version__]
        path = self.output / name

        def make() -> Bundle:
            # The gate guards the student; what int8 costs the teacher is for the report to show.
            export = ExportSettings(
                precisions=settings.precisions,
                opset=settings.opset,
                max_accuracy_drop=settings.max_accuracy_drop if name == "student" else None,
                examples=self.splits.validation,
                further=further,
            )
            return export_made(bundle, path, settings=export)

        return self.stages.bundle(f"export-{name}", inputs, path, make=make, precisions=settings.precisions)

    def _input(self, teacher: Bundle) -> list[object]:
        return [self.task, signature(teacher), voices(self.recipe.teacher), self._rows()]

    def _signatures(self, targets: Sequence[AnyTarget]) -> list[list[object]]:
        return [[target.name.name, target.name.precision, *target.signature()] for target in targets]

    def _rows(self) -> list[str]:
        return [*self.splits.learned_from, *drawn(self.recipe.data)]

    def _counts_all_texts(self) -> bool:
        """Whether a control has to do with texts without labels: they say what is right, or which words are kept."""
        return is_its_own_label(self.splits.labels) or self.recipe.student.vocabulary != "full"

    def _kept(self) -> KeptAnswers:
        """The answers that models have given to the rows that judge this task."""
        return KeptAnswers(folder=self.stages.answers, rows=[self.task, *self._judged_rows(), judged(self.splits)[1]])

    def _judged_rows(self) -> list[str]:
        return [judged(self.splits)[0].sha256, *drawn(self.recipe.data)]
