// LiteRT.js: what this browser can do, and a model that is ready to run.

/** The smallest module with a SIMD instruction. */
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

/** Throws where LiteRT.js cannot run at all. */
export function checkBrowser() {
  const missing =
    typeof WebAssembly === 'undefined' ? 'WebAssembly' : WebAssembly.validate(SIMD) ? null : 'WebAssembly SIMD';
  if (missing) {
    throw new Error(
      `This browser has no ${missing}, which the model needs. ` +
        'Open the page in Chrome or Edge 91, Firefox 108, Safari 16.4, or anything later.',
    );
  }
}

/**
 * Compile a model.
 * @param {Uint8Array} model
 * @param {boolean} wantsThreads use several threads where the browser lets the page.
 * @returns `{threads, why, run}`: the number of threads; why there is only one, or null; input -> `{logits, ms}`.
 */
export async function compile(model, {input}, wantsThreads) {
  const {Tensor, loadAndCompile, loadLiteRt, supportsFeature} = await import('@litertjs/core');
  const why = await whyOneThread(wantsThreads, supportsFeature);
  await loadLiteRt('vendor/wasm/', {threads: why === null});
  const compiled = await loadAndCompile(model, {accelerator: 'wasm'});
  const run = async (numbers) => {
    const start = performance.now();
    const tensor = new Tensor(numbers, input.shape);
    const [result] = await compiled.run(tensor);
    const logits = (await result.data()).slice();
    const ms = performance.now() - start;
    tensor.delete();
    result.delete();
    return {logits, ms};
  };
  return {threads: why === null ? navigator.hardwareConcurrency : 1, why, run};
}

async function whyOneThread(wantsThreads, supportsFeature) {
  if (!wantsThreads) return 'asked for';
  if (!self.crossOriginIsolated) return 'the server does not isolate the page, or it is not https or localhost';
  if (!(await supportsFeature('relaxedSimd'))) return 'this browser has no relaxed SIMD';
  return (await supportsFeature('threads')) ? null : 'this browser has no WebAssembly threads';
}
