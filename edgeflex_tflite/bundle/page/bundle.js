// What lies beside the page: the model and all that edgeflex.json says of it.

const FORMAT_VERSION = 1;

async function get(path) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) throw new Error(`${path} cannot be loaded: serve the whole folder, with a web server.`);
  return response;
}

const array = async ({path}) => new Float32Array(await (await get(path)).arrayBuffer());

/** `{description, labels, golden: {blob, input, output}}`; the model itself comes later, by `loadModel`. */
export async function loadBundle() {
  const description = await (await get('edgeflex.json')).json();
  if (description.format_version !== FORMAT_VERSION) {
    throw new Error(`edgeflex.json has format ${description.format_version}; this page reads ${FORMAT_VERSION}.`);
  }
  const {golden} = description;
  const [labels, image, input, output] = await Promise.all([
    get(description.labels).then((response) => response.text()),
    get(golden.image).then((response) => response.blob()),
    array(golden.input),
    array(golden.output),
  ]);
  return {description, labels: labels.trimEnd().split('\n'), golden: {image, input, output}};
}

export async function loadModel({path}) {
  return new Uint8Array(await (await get(path)).arrayBuffer());
}
