// Whether this browser gives the answer that the model gave where it was made.

import {decode} from './images.js';
import {compare} from './numbers.js';
import {toInput} from './preprocess.js';

/**
 * Run the model on the golden input, and make that input from the golden picture.
 * @returns `{passed, reason}`.
 */
export async function selfTest({description, golden}, run) {
  const {tolerance} = description.golden;
  const {logits} = await run(golden.input);
  const {difference, cosine, sameTop1, passed} = compare(logits, golden.output, tolerance);
  const figures =
    `Largest difference from the golden answer: ${difference.toExponential(1)} of its largest logit ` +
    `(allowed ${tolerance.relative_difference.toExponential(0)}). Cosine ${cosine.toFixed(6)} ` +
    `(at least ${tolerance.cosine}). ${sameTop1 ? 'The same class' : 'Another class'} comes first.`;
  if (!passed) return {passed, reason: `${figures} Do not trust the answers below.`};
  const input = toInput(await decode(golden.image, 'The sample'), description.image);
  const same = input.length === golden.input.length && input.every((value, i) => value === golden.input[i]);
  const altered =
    'The model answers as it should, but this browser alters the pixels of pictures (some protect privacy so), ' +
    'and the answers to them.';
  return same ? {passed, reason: figures} : {passed: false, reason: altered};
}
