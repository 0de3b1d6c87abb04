// The bundles that write in transformers.js: the same texts as kd_deploy.runtime, greedily, in the same precision.

import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { env, pipeline } from '@huggingface/transformers';
import { closing } from './closing.mjs';

const WORK = fileURLToPath(new URL('.work/', import.meta.url));
const DTYPES = { fp32: 'fp32', int8: 'q8', int4: 'q4' };
const LEEWAY = 0.1; // share of texts that int8 and int4 may write otherwise: its onnxruntime is another version
const TASKS = {
  gpt2: ['text-generation'],
  bart: ['text2text-generation', 'translation'],
  lstm: ['text2text-generation'],
};
const expected = JSON.parse(readFileSync(`${WORK}writers/expected.json`, 'utf8'));

env.allowRemoteModels = false;
env.localModelPath = `${WORK}writers/`;

function write(line) {
  appendFileSync(`${WORK}results.jsonl`, JSON.stringify(line) + '\n');
}

const textOf = (answer) => answer.generated_text ?? answer.translation_text;

// What the pipeline writes for these inputs, one at a time or in one padded batch.
async function answers(writer, texts, { new_tokens, together }) {
  const options = { max_new_tokens: new_tokens, do_sample: false, return_full_text: false };
  if (together) return (await writer(texts, options)).flat().map(textOf);
  const found = [];
  for (const text of texts) found.push(textOf((await writer(text, options))[0]));
  return found;
}

// How these inputs are answered: how many otherwise than we do, and the first of them. In a batch it goes on with a
// text that is over until all of them are: such a text is to begin like ours, and `longer` counts them.
async function judge(writer, known, { form, numbers, together = false }) {
  const { new_tokens, inputs } = known;
  const found = await answers(writer, numbers.map((number) => inputs[number]), { new_tokens, together });
  const wanted = numbers.map((number) => known.answers[form][number].text);
  const unlike = [...numbers.keys()].filter((place) => found[place] !== wanted[place]);
  const longer = unlike.filter((place) => together && found[place].startsWith(wanted[place]));
  const others = unlike.filter((place) => !longer.includes(place));
  let detail = `${numbers.length} texts, ${others.length} written otherwise`;
  if (others.length) {
    const [input, given, ours] = [inputs[numbers[others[0]]], found[others[0]], wanted[others[0]]].map(JSON.stringify);
    detail += `: to ${input} ${given}, not ${ours}`;
  }
  const most = form === 'fp32' ? 0 : LEEWAY * numbers.length;
  return { different: others.length, longer: longer.length, result: others.length <= most ? 'pass' : 'fail', detail };
}

async function prove(task, bundle, known, form) {
  const writer = await pipeline(task, bundle, { dtype: DTYPES[form] });
  const tool = `transformers.js ${task}`;
  const all = [...known.inputs.keys()];
  const whole = all.filter((number) => !known.cut.includes(number));
  const state = (name, { result, detail }) => write({ tool: name, bundle, form, result, detail });
  state(tool, await judge(writer, known, { form, numbers: whole }));
  if (form === 'fp32') {
    const judged = await judge(writer, known, { form, numbers: whole, together: true });
    state(`${tool}, batch`, judged);
    const detail = `${judged.longer} texts go on behind their end there, until the longest of the batch is over`;
    if (judged.longer) state(`${tool}, batch`, { result: 'note', detail });
  }
  if (known.cut.length) {
    const { different } = await judge(writer, known, { form, numbers: known.cut });
    const detail = `${known.cut.length} over-long texts lose their end mark there: ${different} written otherwise`;
    state(tool, { result: 'note', detail });
    writer.tokenizer = closing(writer.tokenizer);
    state(`${tool}, closing()`, await judge(writer, known, { form, numbers: all }));
  }
  await writer.dispose();
}

// States what keeps transformers.js from opening a model_type of our own.
async function noteRefusal(task, bundle) {
  try {
    await pipeline(task, bundle, { dtype: 'fp32' });
  } catch (error) {
    const detail = `no class of it runs an LSTM that writes (kd_deploy.runtime does): ${error.message}`;
    write({ tool: `transformers.js ${task}`, bundle, form: 'fp32', result: 'note', detail });
  }
}

for (const [bundle, known] of Object.entries(expected)) {
  for (const task of TASKS[known.kind]) {
    if (known.kind === 'lstm') await noteRefusal(task, bundle);
    else for (const form of Object.keys(DTYPES)) await prove(task, bundle, known, form);
  }
}
