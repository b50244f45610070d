// What the page does, from loading to the last button.

import {loadBundle, loadModel} from './bundle.js';
import {closeCamera, decode, openCamera, photograph, show} from './images.js';
import {largest, quantile, softmax} from './numbers.js';
import {fit, toInput} from './preprocess.js';
import {checkBrowser, compile} from './runtime.js';
import {selfTest} from './selftest.js';

const TOP = 5;
const WARMUP_RUNS = 5;
const ONE_THREAD = 'one-thread';

const $ = (id) => document.getElementById(id);
const milliseconds = (ms) => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;

/** Let the browser draw before work that keeps it busy. */
const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

function setStatus(kind, verdict, reason) {
  $('status').className = `card ${kind}`;
  $('verdict').textContent = verdict;
  $('reason').textContent = reason;
}

function setProblem(text) {
  $('problem').textContent = text;
  $('problem').hidden = !text;
}

/** Do something for a button: one thing at a time, and what goes wrong is said. */
async function act(work) {
  setProblem('');
  $('controls').disabled = true;
  try {
    await work();
  } catch (error) {
    setProblem(error.message);
  } finally {
    $('controls').disabled = false;
  }
}

function introduce({name, precision, bytes}, {width, height}, labels) {
  document.title = `${name} · EdgeFlex`;
  $('name').textContent = name;
  const size = (bytes / 1e6).toFixed(1);
  $('facts').textContent =
    `${precision}, ${size} MB, ${width} × ${height} pixels, ${labels.length} classes. No picture leaves this device.`;
}

function tellPlace({threads, why}) {
  $('place').textContent =
    why === null ? `WebAssembly, up to ${threads} threads.` : `WebAssembly, one thread: ${why}.`;
}

/** Offer what was not chosen: one thread, or several again. */
function offerThreads(threads, wantsThreads) {
  const link = $('other-threads');
  link.hidden = wantsThreads && threads === 1;
  link.textContent = wantsThreads ? 'Run with one thread' : 'Run with several threads';
  link.href = wantsThreads ? `?${ONE_THREAD}` : location.pathname;
}

function showAnswer({logits, ms}, labels) {
  const shares = softmax(logits);
  const rows = largest(logits, TOP).map((index) => {
    const row = document.createElement('li');
    const [label, share, bar] = ['span', 'span', 'div'].map((tag) => document.createElement(tag));
    label.textContent = labels[index];
    share.textContent = `${(100 * shares[index]).toFixed(1)} %`;
    bar.className = 'bar';
    bar.style.setProperty('--share', `${100 * shares[index]}%`);
    row.append(label, share, bar);
    return row;
  });
  $('answer').replaceChildren(...rows);
  $('answer').dataset.logits = Array.from(logits).join(' ');
  $('latency').textContent = `${milliseconds(ms)} for the model.`;
}

function showFigures(times) {
  const figures = {
    'Lower quartile': quantile(times, 0.25),
    Median: quantile(times, 0.5),
    'Upper quartile': quantile(times, 0.75),
  };
  const cells = Object.entries(figures).map(([name, ms]) => {
    const [cell, term, value] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
    term.textContent = name;
    value.textContent = milliseconds(ms);
    cell.append(term, value);
    return cell;
  });
  $('figures').replaceChildren(...cells);
  $('protocol').textContent =
    `${times.length} runs one after the other on the golden input, after ${WARMUP_RUNS} to warm up.`;
}

function setCamera(open) {
  for (const id of ['camera', 'take', 'close-camera']) $(id).hidden = !open;
  for (const id of ['seen', 'open-camera']) $(id).hidden = open;
}

async function benchmark(run, input) {
  const count = $('runs').valueAsNumber;
  const times = [];
  for (let i = -WARMUP_RUNS; i < count; i++) {
    const {ms} = await run(input);
    if (i >= 0) times.push(ms);
    if (i % 10 === 0) {
      $('protocol').textContent = `${Math.max(i, 0)} of ${count} runs`;
      await drawn();
    }
  }
  showFigures(times);
}

function connect({description, labels, golden}, run) {
  const rule = description.image;
  const classify = async (seen) => {
    show(seen, $('seen'));
    await drawn();
    showAnswer(await run(toInput(seen, rule)), labels);
  };
  const sample = async () => classify(await decode(golden.image, 'The sample'));
  const stop = () => {
    closeCamera($('camera'));
    setCamera(false);
  };
  const on = (id, event, work) => $(id).addEventListener(event, () => act(work));
  on('file', 'change', async () => {
    const [file] = $('file').files;
    $('file').value = '';
    stop();
    await classify(fit(await decode(file, file.name), rule));
  });
  on('sample', 'click', async () => {
    stop();
    await sample();
  });
  on('open-camera', 'click', async () => {
    await openCamera($('camera'));
    setCamera(true);
  });
  on('take', 'click', async () => {
    const photo = photograph($('camera'));
    stop();
    await classify(fit(photo, rule));
  });
  on('close-camera', 'click', async () => stop());
  $('measure').addEventListener('submit', (event) => {
    event.preventDefault();
    act(() => benchmark(run, golden.input));
  });
  return sample;
}

async function start() {
  checkBrowser();
  const wantsThreads = !new URLSearchParams(location.search).has(ONE_THREAD);
  const bundle = await loadBundle();
  const {model, image} = bundle.description;
  introduce(model, image, bundle.labels);
  setStatus('waiting', 'Starting', `Loading ${(model.bytes / 1e6).toFixed(1)} MB of model.`);
  const runtime = await compile(await loadModel(model), model, wantsThreads);
  tellPlace(runtime);
  offerThreads(runtime.threads, wantsThreads);
  const {passed, reason} = await selfTest(bundle, runtime.run);
  setStatus(passed ? 'passed' : 'failed', passed ? 'Self-test passed' : 'Self-test failed', reason);
  const sample = connect(bundle, runtime.run);
  $('controls').hidden = false;
  await act(sample);
  document.body.dataset.ready = passed;
}

start().catch((error) => {
  setStatus('failed', 'The page cannot run the model', error.message ?? String(error));
  document.body.dataset.ready = false;
});
