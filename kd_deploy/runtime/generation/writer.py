"""Texts in, texts out: encode, batch by length, write, decode; or one text, piece by piece as it comes."""

from collections.abc import Iterator, Sequence

from kd_deploy.errors import UsageError
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.beams import search_beams
from kd_deploy.runtime.generation.choosing import chance_of
from kd_deploy.runtime.generation.search import Draft, advance
from kd_deploy.runtime.generation.transcript import Reader, Transcript
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, batches_by_length, utf8
from kd_deploy.tasks.writing import Decoder, Written

TOKEN_BUDGET = 2048  # of a batch: what is read and what may be written, for every beam


class Writer:
    """A model that writes, with its tokenizer and the way it is asked to write.

    A model whose marks have no `starts` is a language model and goes on with a prompt; any other one answers a
    source.
    """

    def __init__(
        self, decoder: Decoder, encoder: Encoder, settings: Generation, *, token_budget: int = TOKEN_BUDGET
    ) -> None:
        """Join a model with its tokenizer.

        Args:
            decoder: The model.
            encoder: Its tokenizer, with the marks around texts.
            settings: How to write where a call does not say.
            token_budget: Tokens of one batch, read and written.
        """
        self._decoder = decoder
        self._encoder = encoder
        self._reader = Reader.of(encoder.tokenizer)
        self._token_budget = token_budget
        self.settings = settings

    @property
    def decoder(self) -> Decoder:
        """The bare model."""
        return self._decoder

    def write(
        self, inputs: Sequence[TextInput], settings: Generation | None = None, *, first: int = 0
    ) -> list[Written]:
        """What the model writes for every input, in their order.

        Args:
            inputs: Prompts, or sources.
            settings: How to write; None: as this writer does.
            first: The place of the first among all that were asked for, which its chance goes by.

        Raises:
            UsageError: An input has no tokens; a prompt is a pair or longer than the model has positions for; or
                beams and chance are asked for at once.
        """
        found = dict(self.write_each(inputs, settings, first=first))
        return [found[row] for row in range(len(inputs))]

    def write_each(
        self, inputs: Sequence[TextInput], settings: Generation | None = None, *, first: int = 0
    ) -> Iterator[tuple[int, Written]]:
        """The number of every input and what is written for it, batch by batch, the longest first.

        Raises:
            UsageError: As `write`.
        """
        chosen = (settings or self.settings).checked()
        encoded = self._encode(inputs)
        drafts = [self._draft(one, number, settings=chosen) for number, one in enumerate(encoded, start=first)]
        lengths = [len(one) + draft.limit for one, draft in zip(encoded, drafts, strict=True)]
        for rows in batches_by_length(lengths, token_budget=self._token_budget // chosen.beams):
            self._finish([encoded[row] for row in rows], [drafts[row] for row in rows], settings=chosen)
            yield from ((row, drafts[row].written()) for row in rows)

    def stream(self, text: TextInput, settings: Generation | None = None, *, place: int = 0) -> Iterator[str]:
        """The pieces of one answer as they come: whole characters, together the text that `write` gives.

        With several beams all of it comes at once: which one wins is known at the end. `place` is that of the text
        among all that were asked for, which its chance goes by.

        Raises:
            UsageError: As `write`.
        """
        chosen = (settings or self.settings).checked()
        encoded = self._encode([text])
        draft = self._draft(encoded[0], place, settings=chosen)
        return self._pieces(encoded, draft, settings=chosen)

    def check(self, text: TextInput, settings: Generation | None = None) -> None:
        """Refuse an input that nothing can be written for.

        Raises:
            UsageError: It is empty, a pair, or longer than the model has positions for.
        """
        (encoded,) = self._encode([text])
        self._draft(encoded, 0, settings=(settings or self.settings).checked())

    def close(self) -> None:
        """Give the model's memory back."""
        self._decoder.close()

    def _pieces(self, encoded: Sequence[Encoded], draft: Draft, *, settings: Generation) -> Iterator[str]:
        told = 0
        if settings.beams == 1:
            for _ in advance(self._decoder, encoded, [draft], settings=settings, marks=self._encoder.marks):
                safe = draft.transcript.safe
                if safe > told:
                    yield draft.transcript.text[told:safe]
                    told = safe
        else:
            self._finish(encoded, [draft], settings=settings)
        rest = draft.written().text[told:]
        if rest:
            yield rest

    def _finish(self, encoded: Sequence[Encoded], drafts: Sequence[Draft], *, settings: Generation) -> None:
        marks = self._encoder.marks
        if settings.beams > 1:
            search_beams(self._decoder, encoded, drafts, settings=settings, marks=marks)
            return
        for _ in advance(self._decoder, encoded, drafts, settings=settings, marks=marks):
            pass

    def _encode(self, inputs: Sequence[TextInput]) -> list[Encoded]:
        if self._encoder.marks.starts:
            found = self._encoder.encode_all(inputs)
        else:
            found = [self._prompt(text) for text in inputs]
        if not all(one.ids for one in found):
            raise UsageError("an empty text gives nothing to begin with", hint="give it a word")
        return found

    def _prompt(self, text: TextInput) -> Encoded:
        # Never cut: what stands last in a prompt is what the answer follows.
        if not isinstance(text, str):
            raise UsageError(f"a pair of texts is no prompt: {text[0][:60]!r}", hint="join the two")
        encoding = self._encoder.tokenizer.encode(utf8(text))
        ids, type_ids = list(encoding.ids), list(encoding.type_ids)
        for rest in encoding.overflowing:
            kept = [place for place, mask in enumerate(rest.special_tokens_mask) if not mask]
            ids += [rest.ids[place] for place in kept]
            type_ids += [rest.type_ids[place] for place in kept]
        return Encoded(ids, type_ids)

    def _draft(self, encoded: Encoded, number: int, *, settings: Generation) -> Draft:
        starts, room = self._encoder.marks.starts, self._decoder.room
        given = starts or encoded.ids
        limit = settings.max_new_tokens if room is None else min(settings.max_new_tokens, room - len(given))
        if limit < 1:
            raise UsageError(
                f"a prompt has {len(given)} tokens, and the model has room for {(room or 0) - 1} before an answer",
                hint="shorten the prompt",
            )
        return Draft(
            given=given,
            limit=limit,
            transcript=Transcript.after(() if starts else encoded.ids, self._reader, stop=settings.stop),
            chance=chance_of(settings, number),
        )
