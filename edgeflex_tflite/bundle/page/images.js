// Pictures from files and from the camera, as `{pixels, width, height}` with RGB of 8 bits.

/** Rows that are read at a time: phones have canvases for less than a whole photo, and draw nothing in larger ones. */
const ROWS = 512;

/** What can be drawn -> its pixels. */
function pixelsOf(source, width, height) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, Math.min(height, ROWS)];
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.globalCompositeOperation = 'copy';
  const pixels = new Uint8ClampedArray(width * height * 3);
  let to = 0;
  for (let top = 0; top < height; top += ROWS) {
    context.drawImage(source, 0, -top);
    const {data} = context.getImageData(0, 0, width, Math.min(ROWS, height - top));
    for (let from = 0; from < data.length; from += 4) {
      for (let channel = 0; channel < 3; channel++) pixels[to++] = data[from + channel];
    }
  }
  return {pixels, width, height};
}

/** A file's pixels, without what a colour profile would change: training had none either. */
export async function decode(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {colorSpaceConversion: 'none'});
  } catch {
    throw new Error(`${name} is not a picture that this browser can read. Choose a PNG, JPEG or WebP file.`);
  }
  try {
    return pixelsOf(bitmap, bitmap.width, bitmap.height);
  } catch {
    const size = `${bitmap.width} × ${bitmap.height}`;
    throw new Error(`${name} has ${size} pixels, too many for this browser. Choose a smaller picture.`);
  } finally {
    bitmap.close();
  }
}

const CAMERA_PROBLEMS = {
  NotFoundError: 'No camera was found. Connect one, or choose a picture.',
  OverconstrainedError: 'No camera was found. Connect one, or choose a picture.',
  NotAllowedError: 'The camera was refused. Allow it for this page in the browser’s settings, or choose a picture.',
  NotReadableError: 'The camera is in use by another program. Close that, or choose a picture.',
};

/** Show the camera in a `<video>`; the one at the back, where there are two. */
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Error(
      'Browsers give the camera only to pages from this device (localhost) or from https. ' +
        'Choose a picture instead: on a phone that can be a new photo.',
    );
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
    await video.play();
  } catch (error) {
    closeCamera(video);
    throw new Error(CAMERA_PROBLEMS[error.name] ?? `The camera cannot be used (${error.message}). Choose a picture.`);
  }
}

export function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** What the camera sees now. */
export function photograph(video) {
  return pixelsOf(video, video.videoWidth, video.videoHeight);
}

/** Draw `{pixels, width, height}` into a `<canvas>`, which takes its size. */
export function show({pixels, width, height}, canvas) {
  [canvas.width, canvas.height] = [width, height];
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let i = 0; i < width * height; i++) data.set(pixels.subarray(i * 3, i * 3 + 3), i * 4);
  canvas.getContext('2d').putImageData(new ImageData(data, width, height), 0, 0);
}
