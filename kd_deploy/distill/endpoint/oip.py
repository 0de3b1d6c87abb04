"""A served classifier as teacher: the Open Inference Protocol v2 of KServe, Triton and MLServer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from kd_deploy.distill.endpoint.answers import SMALLEST
from kd_deploy.distill.endpoint.http import Connection
from kd_deploy.errors import TrainingError
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.tasks.encoding import TextInput, utf8

FLOATS = {"FP16", "FP32", "FP64"}
ABOVE_ONE = 1.001  # probabilities in half precision are rounded
AXES = 2  # texts and classes, at least
LARGEST = float(np.finfo(np.float32).max)
ENOUGH = 4  # texts whose logits do not all sum to 1 by chance


class _Tensor(BaseModel):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, Any] | None = None
    data: list[Any] = []


class Metadata(BaseModel):
    """What a model says of itself."""

    inputs: tuple[_Tensor, ...] | None = None
    outputs: tuple[_Tensor, ...] | None = None
    parameters: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None


class _Inference(BaseModel):
    outputs: tuple[_Tensor, ...]
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """A model that takes texts as BYTES and gives scores as floats, [B, C]."""

    settings: Endpoint
    labels: tuple[str, ...]
    connection: Connection
    metadata: Metadata
    likely: list[bool] = field(default_factory=list)  # of the first answers: whether they could be probabilities

    @property
    def batch_size(self) -> int:
        """How many texts a request takes."""
        return self.settings.batch_size

    def ask(self, inputs: Sequence[TextInput]) -> NDArray[np.float64]:
        """Logits or log-probabilities, [B, C], in the order of the labels.

        Args:
            inputs: Texts, or pairs; not both.

        Raises:
            TrainingError: The model takes no such inputs, or its answer is not one number for each text and label.
        """
        body: dict[str, Any] = {"inputs": self._inputs(inputs)}
        if self.settings.output is not None:
            body["outputs"] = [{"name": self.settings.output}]
        answer = self.connection.post(f"{_path(self.settings)}/infer", _Inference, body=body)
        output = self._output(answer.outputs)
        rows = self._rows(output, count=len(inputs))
        return self._log_scores(rows[:, self._order(answer, output)])

    def _inputs(self, inputs: Sequence[TextInput]) -> list[dict[str, Any]]:
        first = [utf8(one if isinstance(one, str) else one[0]) for one in inputs]
        second = [utf8(one[1]) for one in inputs if not isinstance(one, str)]
        every = self.metadata.inputs or ()
        known = {tensor.name: tensor for tensor in every if tensor.datatype == "BYTES"}
        name = self.settings.input or (next(iter(known)) if len(known) == 1 else "text")
        named = {name: first} | ({self.settings.input_pair: second} if second else {})
        if every and not set(named) <= set(known):
            raise self._wrong(f"takes {_listed(every)}, not {', '.join(named)} as BYTES", key="input")
        return [_of_texts(name, data, like=known.get(name)) for name, data in named.items()]

    def _output(self, outputs: Sequence[_Tensor]) -> _Tensor:
        wanted = self.settings.output
        for tensor in outputs:
            if tensor.name == wanted or (wanted is None and tensor.datatype in FLOATS):
                return tensor
        raise self._wrong(f"answers with {_listed(outputs)}, not with {wanted or 'floats'}", key="output")

    def _rows(self, output: _Tensor, *, count: int) -> NDArray[np.float64]:
        try:
            plain = np.array(output.data)
            values = plain.reshape(output.shape).astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            plain = np.empty(0, dtype=object)
        if plain.dtype.kind not in "fiu" or min(output.shape, default=0) < 0:
            raise self._wrong(f"gives {output.name} with data that is not {list(output.shape)} numbers")
        if values.ndim < AXES or len(values) != count:
            raise self._wrong(f"gives {output.name} as {list(output.shape)} for {count} texts", key="output")
        rows = values.reshape(count, -1)
        if rows.shape[1] != len(self.labels):
            raise self._wrong(f"tells {rows.shape[1]} classes apart, the recipe has {len(self.labels)} labels")
        if not (np.abs(rows) <= LARGEST).all():
            raise self._wrong(f"gives {output.name} with scores that are not finite")
        return rows

    def _order(self, answer: _Inference, output: _Tensor) -> list[int]:
        """For each label, which class of the model it is, by the recipe, else the answer, else the metadata."""
        described = [one for one in self.metadata.outputs or () if one.name == output.name]
        of_model = (*(one.parameters for one in described), self.metadata.parameters, self.metadata.properties)
        held = (output.parameters, answer.parameters, *of_model)
        told = (found for one in held if (found := label_names(one or {})))
        names = self.settings.labels or next(told, None) or _numbered(self.labels)
        if names is None:
            raise self._wrong(
                f"does not say which of its scores is of which label: {', '.join(self.labels)}", key="labels"
            )
        if sorted(names) != sorted(self.labels):
            raise self._wrong(
                f"has the labels {', '.join(names)}, the recipe has {', '.join(self.labels)}", key="labels"
            )
        return [names.index(label) for label in self.labels]

    def _log_scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.settings.scores == "logits":
            self._require_logits(rows)
            return rows
        if rows.min() < 0 or rows.max() > ABOVE_ONE:
            raise self._wrong("gives scores that are no probabilities", key="scores")
        logarithms: NDArray[np.float64] = np.log(np.maximum(rows, SMALLEST))
        return logarithms

    def _require_logits(self, rows: NDArray[np.float64]) -> None:
        # Over requests: each may hold a single text.
        if len(self.likely) < ENOUGH:
            self.likely.extend(bool(row.min() >= 0 and abs(row.sum() - 1) < ABOVE_ONE - 1) for row in rows)
            if len(self.likely) >= ENOUGH and all(self.likely):
                raise self._wrong("gives scores that look like probabilities, not logits", key="scores")

    def _wrong(self, what: str, *, key: str = "model") -> TrainingError:
        where = f"{self.settings.model} at {self.settings.url}"
        return TrainingError(f"{where} {what}", hint=f"check teacher.endpoint.{key}")


def open_tensors(settings: Endpoint, labels: tuple[str, ...], *, connection: Connection) -> Tensors:
    """A served model, after it was asked for its metadata.

    Args:
        settings: The section of the recipe.
        labels: In the order of the student's classes, [C].
        connection: To the server.

    Raises:
        TrainingError: The server has no such model, or does not answer.
    """
    metadata = connection.get(_path(settings), Metadata)
    return Tensors(settings=settings, labels=labels, connection=connection, metadata=metadata)


def _numbered(labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """The labels, where they are the numbers of the classes; None where they are names."""
    return labels if labels == tuple(str(place) for place in range(len(labels))) else None


def label_names(parameters: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes in a `labels` parameter; None where there is none, or only LABEL_0, LABEL_1, ...

    Args:
        parameters: Of a model, a tensor or an answer; a list, or a text that holds one as JSON or with commas,
            since parameters of the protocol are no lists.
    """
    given = parameters.get("labels")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = given.split(",")
    if not isinstance(given, list):
        return None
    names = tuple(str(name).strip() for name in given)
    return None if names == tuple(f"LABEL_{place}" for place in range(len(names))) else names


# Where batches are an axis of their own, as Triton has it, a text is an array of one.
def _of_texts(name: str, data: list[str], *, like: _Tensor | None) -> dict[str, Any]:
    axes = len(like.shape) if like else 1
    return {"name": name, "shape": [len(data)] + [1] * (axes - 1), "datatype": "BYTES", "data": data}


def _listed(tensors: Sequence[_Tensor]) -> str:
    return ", ".join(f"{tensor.name} ({tensor.datatype})" for tensor in tensors) or "nothing"


def _path(settings: Endpoint) -> str:
    return f"models/{quote(settings.model, safe='')}"
