// transformers.js cuts an over-long text after the special tokens were added, so that its last one ([SEP]) is lost,
// where Python keeps it. A classifier whose tokenizer is wrapped in this answers such texts as Python does.

export function closing(tokenizer) {
  return (texts, options) => {
    const inputs = tokenizer(texts, options);
    const [rows, width] = inputs.input_ids.dims;
    for (let row = 1; row <= rows && width === tokenizer.model_max_length; row++) {
      const last = row * width - 1;
      if (inputs.attention_mask.data[last]) inputs.input_ids.data[last] = BigInt(tokenizer.sep_token_id);
    }
    return inputs;
  };
}
