// From an image to the model's input, by the rule in edgeflex.json: the same numbers as timm's evaluation transform gives.

import {resize} from './resample.js';

/** Python's round: halves go to the even neighbour. */
function round(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** Width and height that an image is resized to. */
function resized(image, rule) {
  const [toHeight, toWidth] = [rule.height, rule.width].map((size) => Math.floor(size / rule.crop_pct));
  if (rule.crop_mode === 'squash') return [toWidth, toHeight];
  const ratios = [image.height / toHeight, image.width / toWidth];
  if (rule.crop_mode === 'border' || toHeight !== toWidth) {
    const ratio = rule.crop_mode === 'border' ? Math.max(...ratios) : Math.min(...ratios);
    return [round(image.width / ratio), round(image.height / ratio)];
  }
  const long = (edge, short) => Math.trunc((toHeight * edge) / short);
  return image.width <= image.height
    ? [toHeight, long(image.height, image.width)]
    : [long(image.width, image.height), toHeight];
}

/** Where, along one axis, the crop begins in the image, which is negative where the image is the smaller one. */
function begin(size, cropped) {
  return size < cropped ? -Math.floor((cropped - size) / 2) : round((size - cropped) / 2);
}

/** The middle of an image; what lies outside of it is filled. */
function crop(image, width, height, fill) {
  const pixels = new Uint8ClampedArray(width * height * 3);
  const [left, top] = [begin(image.width, width), begin(image.height, height)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fromX, fromY] = [x + left, y + top];
      const inside = fromX >= 0 && fromX < image.width && fromY >= 0 && fromY < image.height;
      const from = (fromY * image.width + fromX) * 3;
      pixels.set(inside ? image.pixels.subarray(from, from + 3) : fill, (y * width + x) * 3);
    }
  }
  return {pixels, width, height};
}

/** Resize and crop `{pixels, width, height}` to what the model sees. */
export function fit(image, rule) {
  const fill = rule.crop_mode === 'border' ? rule.mean.map((mean) => round(255 * mean)) : [0, 0, 0];
  return crop(resize(image, ...resized(image, rule), rule.interpolation), rule.width, rule.height, fill);
}

/** The model's input, as numbers of 32 bits, from an image of its size. */
export function toInput({pixels, width, height}, rule) {
  const input = new Float32Array(pixels.length);
  const area = width * height;
  const [mean, std] = [rule.mean, rule.std].map((values) => values.map(Math.fround));
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      let value = pixels[pixel * 3 + channel];
      if (rule.range !== '0-255') value = Math.fround(value / 255);
      if (rule.range === 'normalized') value = Math.fround(value - mean[channel]) / std[channel];
      input[rule.layout === 'nhwc' ? pixel * 3 + channel : channel * area + pixel] = value;
    }
  }
  return input;
}
