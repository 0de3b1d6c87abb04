// transformers.js cuts an over-long text after the special tokens were added, so that its last one ([SEP], or the end
// of a source) is lost, where Python keeps it. A pipeline whose tokenizer is wrapped in this answers such texts as
// Python does.

export function closing(tokenizer) {
  const last = tokenizer.sep_token_id ?? tokenizer.eos_token_id;
  const read = (_target, _this, [texts, options]) => {
    const inputs = tokenizer(texts, options);
    const [rows, width] = inputs.input_ids.dims;
    for (let row = 1; row <= rows && width === tokenizer.model_max_length; row++) {
      const end = row * width - 1;
      if (inputs.attention_mask.data[end]) inputs.input_ids.data[end] = BigInt(last);
    }
    return inputs;
  };
  return new Proxy(tokenizer, { apply: read }); // whatever else it does, it does as before
}
