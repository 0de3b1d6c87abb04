"""Texts cut into sentences, for students that will see short ones."""

import re
from collections.abc import Sequence

from kd_deploy.errors import DataError
from kd_deploy.tasks.encoding import TextInput

# After a full stop and its like, closing quotation marks included; at a line's end, in HTML too.
SENTENCE_END = re.compile(r"""(?<=[.!?…])\s+|(?<=[.!?…]["')\]])\s+|(?<=[。！？])|\n+|<br\s*/?>""")


def sentences_of(inputs: Sequence[TextInput], source: str) -> list[TextInput]:
    """The sentences of the texts of a source.

    Raises:
        DataError: They are pairs.
    """
    if not isinstance(inputs[0], str):
        raise DataError(
            f"{source} has pairs of texts, and data.unlabeled_as is sentences", hint="set unlabeled_as: texts"
        )
    return [part for text in inputs for part in sentences_in(str(text))]


def sentences_in(text: str) -> list[str]:
    """The sentences of a text that hold a letter or a digit."""
    parts = [part.strip() for part in SENTENCE_END.split(text)]
    return [part for part in parts if any(character.isalnum() for character in part)]
