"""A model that writes as a Runner: the way from whole prompts or sources to what is known of the first token."""

from kd_deploy.runner import Batch, Outputs
from kd_deploy.tasks.encoding import Encoded
from kd_deploy.tasks.writing import Decoder

IDS, MASK = "input_ids", "attention_mask"


class FirstToken:
    """What a benchmark times of a model that writes, token by token, over a fixed shape."""

    def __init__(self, decoder: Decoder) -> None:
        """Take a model that whoever opened it closes."""
        self._decoder = decoder

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that `run` takes."""
        return (IDS, MASK)

    def run(self, batch: Batch) -> Outputs:
        """The logits [B, V] of the token that comes first, of prompts or sources [B, S] padded on either side."""
        rows = zip(batch[IDS], batch[MASK], strict=True)
        encoded = [Encoded(ids[mask == 1].tolist(), [0] * int(mask.sum())) for ids, mask in rows]
        return {"logits": self._decoder.start(encoded).logits}

    def close(self) -> None:
        """Nothing is held here."""
