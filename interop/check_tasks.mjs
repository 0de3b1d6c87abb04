// The bundles of every task in transformers.js: the same entities, answers, scores and vectors as kd_deploy.runtime.

import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  AutoModel,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  FeatureExtractionPipeline,
  QuestionAnsweringPipeline,
  TokenClassificationPipeline,
  env,
  pipeline,
} from '@huggingface/transformers';
import { closing } from './closing.mjs';

const WORK = fileURLToPath(new URL('.work/', import.meta.url));
const TOLERANCE = 1e-3;
const DTYPES = { fp32: 'fp32', int8: 'q8' };
const TASKS = { 'sentence-embedding': 'feature-extraction' }; // what transformers.js calls otherwise
const PIPELINES = {
  'token-classification': TokenClassificationPipeline,
  'question-answering': QuestionAnsweringPipeline,
  'feature-extraction': FeatureExtractionPipeline,
};
const REASONS = {
  'token-classification': 'it goes by tokens, not words, shows tokens in place of the text, and leaves [UNK] out',
  'question-answering': 'it leaves [UNK] out, and never says that there is no answer',
  'fill-mask': 'tokens that are as likely as each other come in another order',
};
const expected = JSON.parse(readFileSync(`${WORK}tasks/expected.json`, 'utf8'));

env.allowRemoteModels = false;
env.localModelPath = `${WORK}tasks/`;

const plain = (text) => text.replace(/\s/g, '').toLowerCase(); // decoded tokens are not spaced as the text was

function write(line) {
  appendFileSync(`${WORK}results.jsonl`, JSON.stringify(line) + '\n');
}

// Largest difference of two rows of numbers; Infinity where one has more than the other, or one is no number.
function difference(found, wanted) {
  if (found.length !== wanted.length) return Infinity;
  const errors = found.map((value, index) => Math.abs(value - wanted[index]));
  return errors.some(Number.isNaN) ? Infinity : Math.max(0, ...errors);
}

function softmax(logits) {
  const powers = logits.map((value) => Math.exp(value - Math.max(...logits)));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

const entity = (type, text) => `${type} ${plain(text)}`;

// What a pipeline says of one input: how far its numbers are from ours, its answer as text, and ours.
const judges = {
  // Tokens that are not in the vocabulary, [UNK], it leaves out.
  async 'token-classification'(find, input, { numbers, answer, labels }) {
    const tokens = await find(input, { ignore_labels: [] });
    const errors = tokens.map(({ entity, index, score }) => Math.abs(score - numbers[index][labels.indexOf(entity)]));
    const groups = await find(input, { aggregation_strategy: 'simple' });
    return {
      error: errors.some(Number.isNaN) ? Infinity : Math.max(0, ...errors),
      found: groups.map(({ entity_group, word }) => entity(entity_group, word)).join(', '),
      wanted: answer.entities.map(({ type, text }) => entity(type, text)).join(', '),
    };
  },
  async 'question-answering'(find, [question, context], { numbers, answer }) {
    const shown = await find.model(find.tokenizer(question, { text_pair: context, truncation: true }));
    const sides = [shown.start_logits, shown.end_logits].map(({ data }) => softmax([...data]));
    const errors = sides.map((side, which) => difference(side, numbers.map((row) => row[which])));
    const found = (await find(question, context)).answer;
    return { error: Math.max(...errors), found: plain(found), wanted: plain(answer.answer) };
  },
  async 'sentence-similarity'({ model, tokenizer }, [text, text_pair], { numbers }) {
    const { logits } = await model(tokenizer(text, { text_pair, truncation: true }));
    return { error: difference([...logits.data], numbers) };
  },
  async 'sentence-embedding'(extract, input, { numbers }) {
    const vector = await extract(input, { pooling: 'mean', normalize: true });
    return { error: difference([...vector.data], numbers) };
  },
  // It fills the first mask of a text alone.
  async 'fill-mask'(fill, input, { numbers, answer }) {
    const tokens = await fill(input, { top_k: numbers[0].length });
    return {
      error: difference(tokens.map(({ score }) => score), numbers[0]),
      found: tokens.map(({ token_str }) => token_str.trim()).join(' '),
      wanted: answer.fillings[0].map(({ token }) => token).join(' '),
    };
  },
};

async function byHand(task, bundle, dtype) {
  const model = await AutoModel.from_pretrained(bundle, { dtype });
  return new PIPELINES[task]({ task, model, tokenizer: await AutoTokenizer.from_pretrained(bundle) });
}

// The pipeline of a task; for pairs that are scored there is none, and a model and a tokenizer take its place.
async function open(task, bundle, dtype) {
  if (task === 'sentence-similarity') {
    const model = await AutoModelForSequenceClassification.from_pretrained(bundle, { dtype });
    const tokenizer = await AutoTokenizer.from_pretrained(bundle);
    return { tool: 'transformers.js AutoModelForSequenceClassification', answerer: { model, tokenizer } };
  }
  const name = TASKS[task] ?? task;
  try {
    return { tool: `transformers.js ${name}`, answerer: await pipeline(name, bundle, { dtype }) };
  } catch (error) {
    if (!error.message.startsWith('Unsupported model type')) throw error;
    return { tool: `transformers.js ${name} with AutoModel`, answerer: await byHand(name, bundle, dtype) };
  }
}

// It takes a pair with an empty second text for a single text, and cuts pairs elsewhere than Python does.
const comparable = (known, number) => {
  const input = known.inputs[number];
  return !Array.isArray(input) || (input[1] !== '' && !known.cut.includes(number));
};

async function prove(bundle, known, form) {
  const { tool, answerer } = await open(known.task, bundle, DTYPES[form]);
  if (known.task === 'sentence-embedding') answerer.tokenizer = closing(answerer.tokenizer);
  const { numbers, answers } = known[form];
  const judged = [];
  for (const [number, input] of known.inputs.entries()) {
    if (!comparable(known, number)) continue;
    const ours = { numbers: numbers[number], answer: answers[number], labels: known.labels };
    judged.push({ number, ...(await judges[known.task](answerer, input, ours)) });
  }
  const largest = Math.max(...judged.map(({ error }) => error));
  const others = judged.filter(({ found, wanted }) => found !== wanted);
  const wrong = others.filter(({ number }) => number < known.ordinary);
  const details = [`${judged.length} inputs, largest difference ${largest.toExponential(1)}`];
  details.push(...wrong.map(({ number, found }) => `${JSON.stringify(known.inputs[number])} gives ${found}`));
  const result = largest <= TOLERANCE && wrong.length === 0 ? 'pass' : 'fail';
  write({ tool, bundle, form, result, detail: details.join('; ') });
  if (others.length > wrong.length) {
    const detail = `${others.length - wrong.length} odd inputs are answered otherwise: ${REASONS[known.task]}`;
    write({ tool, bundle, form, result: 'note', detail });
  }
}

for (const [bundle, known] of Object.entries(expected)) {
  for (const form of Object.keys(DTYPES)) await prove(bundle, known, form);
}
