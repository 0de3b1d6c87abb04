"""A teacher that stays on its server, as a target: it is judged on its answers; its speed is not ours to measure."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kd_deploy.measurement import TargetName
from kd_deploy.recipe import Endpoint
from kd_deploy.tasks.task import Examples, LabelSpace, Prediction
from kd_deploy.tasks.text_classification import predicted_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTarget:
    """A teacher behind an endpoint, not asked yet."""

    name: TargetName
    endpoint: Endpoint
    labels: LabelSpace

    @property
    def path(self) -> str:
        """Where it is."""
        return self.endpoint.url

    def signature(self) -> list[object]:
        """What its answers depend on."""
        from kd_deploy.distill.endpoint import fingerprint

        return [fingerprint(self.endpoint, self.labels.names)]

    def open(self) -> "ServerAnswers":
        """Its answers, from the cache where the student has heard them."""
        return ServerAnswers(self.endpoint, self.labels)


class ServerAnswers:
    """What a server answers, as a predictor gives it."""

    def __init__(self, endpoint: Endpoint, labels: LabelSpace) -> None:
        """Take the server and the classes of its answers."""
        from kd_deploy.distill.endpoint import RemoteTeacher
        from kd_deploy.distill.signals import cache_folder

        self.labels = labels
        self._teacher = RemoteTeacher(endpoint, labels=labels.names, cache=cache_folder())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open between questions."""

    def predictions(self, examples: Examples) -> tuple[Prediction, ...]:
        """What is scored of its answers to examples."""
        return predicted_classes(self._teacher.logits(examples.inputs).logits, examples.labels)
