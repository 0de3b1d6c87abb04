// The bundles in transformers.js, from the disk alone: the same labels and probabilities as kd_deploy.runtime.

import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AutoModel, AutoTokenizer, TextClassificationPipeline, env, pipeline } from '@huggingface/transformers';
import { closing } from './closing.mjs';

const WORK = fileURLToPath(new URL('.work/', import.meta.url));
const TASK = 'text-classification';
const TOLERANCE = 1e-3;
const DTYPES = { fp32: 'fp32', int8: 'q8' };
const known = JSON.parse(readFileSync(`${WORK}expected.json`, 'utf8'));

env.allowRemoteModels = false;
env.localModelPath = WORK;

function write(line) {
  appendFileSync(`${WORK}results.jsonl`, JSON.stringify(line) + '\n');
}

// The largest difference over the texts of these numbers; Infinity where the labels are others.
async function difference(classifier, expected, numbers) {
  let largest = 0;
  for (const number of numbers) {
    const answer = await classifier(known.texts[number], { top_k: null });
    const found = new Map(answer.map((one) => [one.label, one.score]));
    if (found.size !== known.labels.length || !known.labels.every((label) => found.has(label))) return Infinity;
    for (const [position, label] of known.labels.entries()) {
      const error = Math.abs(found.get(label) - expected[number][position]);
      largest = Number.isNaN(error) ? Infinity : Math.max(largest, error);
    }
  }
  return largest;
}

async function prove(classifier, tool, bundle, form) {
  const expected = known.probabilities[bundle][form];
  const all = [...known.texts.keys()];
  const whole = all.filter((number) => !known.cut.includes(number));
  const judge = (name, texts, error) =>
    write({
      tool: name,
      bundle,
      form,
      result: error <= TOLERANCE ? 'pass' : 'fail',
      detail: `${texts} texts, largest difference ${error.toExponential(1)}`,
    });
  judge(tool, whole.length, await difference(classifier, expected, whole));
  const cut = await difference(classifier, expected, known.cut);
  const detail = `${known.cut.length} over-long texts lose their [SEP] there: off by ${cut.toExponential(1)}`;
  if (cut > TOLERANCE) write({ tool, bundle, form, result: 'note', detail });
  classifier.tokenizer = closing(classifier.tokenizer);
  judge(`${tool}, closing()`, all.length, await difference(classifier, expected, all));
}

// A model_type that transformers.js does not know: what pipeline() calls, called by hand with the general AutoModel.
async function unknownModel(bundle, dtype) {
  const model = await AutoModel.from_pretrained(bundle, { dtype });
  const tokenizer = await AutoTokenizer.from_pretrained(bundle);
  return new TextClassificationPipeline({ task: TASK, model, tokenizer });
}

for (const bundle of Object.keys(known.probabilities)) {
  for (const [form, dtype] of Object.entries(DTYPES)) {
    let tool = 'transformers.js pipeline()';
    let classifier;
    try {
      classifier = await pipeline(TASK, bundle, { dtype });
    } catch (error) {
      if (!error.message.startsWith('Unsupported model type')) throw error;
      write({ tool, bundle, form, result: 'note', detail: `needs AutoModel, for: ${error.message}` });
      tool = 'transformers.js AutoModel';
      classifier = await unknownModel(bundle, dtype);
    }
    await prove(classifier, tool, bundle, form);
  }
}
