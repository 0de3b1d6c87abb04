"""Other tokens hidden each time that a text is learned from: the student sees more than one gap of each."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.tasks.encoding import Encoded
from kd_deploy.tasks.masking import SHARE, mask_id_of, special_ids
from kd_deploy.tasks.task import NO_DECISION

MASKED, SWAPPED = 0.8, 0.1  # of the hidden tokens; the rest stay as they are


class Redraw:
    """Devlin et al. 2019, "BERT", arXiv 1810.04805: of the tokens to be said again most are masked, some swapped."""

    def __init__(self, tokenizer: Tokenizer, *, seed: int) -> None:
        """Take the vocabulary.

        Raises:
            BundleError: It has no mask token.
        """
        self._seed = seed
        self._mask = mask_id_of(tokenizer)
        self._entries = tokenizer.get_vocab_size()
        self._special = np.array(sorted(special_ids(tokenizer)), dtype=np.int64)

    def __call__(
        self, encoded: Encoded, aims: NDArray[np.generic], *, row: int, epoch: int
    ) -> tuple[Encoded, NDArray[np.int64]]:
        """The text with other tokens hidden, and what they are.

        Args:
            encoded: A text of S tokens, some of them hidden.
            aims: What these are, [S]; NO_DECISION at all others.
            row: The number of the text.
            epoch: In which it is learned from: the same tokens are hidden, however a training came to it.
        """
        hidden = aims >= 0  # type: ignore[operator]
        whole = np.where(hidden, aims, encoded.ids).astype(np.int64)  # [S]
        free = np.flatnonzero(~np.isin(whole, self._special))
        if not len(free):
            return encoded, np.full(len(whole), NO_DECISION, dtype=np.int64)
        rng = np.random.default_rng((self._seed, epoch, row))
        chosen = rng.choice(free, size=max(1, round(SHARE * len(free))), replace=False)
        again = np.full(len(whole), NO_DECISION, dtype=np.int64)
        again[chosen] = whole[chosen]
        kinds = rng.random(len(chosen))
        whole[chosen[kinds < MASKED]] = self._mask
        swapped = chosen[(kinds >= MASKED) & (kinds < MASKED + SWAPPED)]
        whole[swapped] = rng.integers(0, self._entries, size=len(swapped))
        return replace(encoded, ids=whole.tolist()), again
