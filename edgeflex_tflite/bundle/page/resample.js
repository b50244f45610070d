// Pillow's antialiased resampling of 8-bit images, in its own fixed-point arithmetic, so that results are the same bytes.

const PRECISION_BITS = 32 - 8 - 2;

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Filter over distance in pixels, and how far it reaches. */
const FILTERS = {
  box: {reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)},
  bilinear: {reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x))},
  hamming: {
    reach: 1,
    weight: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI))),
  },
  bicubic: {
    reach: 2,
    weight: (signed) => {
      const a = -0.5;
      const x = Math.abs(signed);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: {reach: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)},
};

/** For each pixel that comes out: the first one that goes in, and the weights of it and its neighbours as integers. */
function weightsOf(sizeIn, sizeOut, filter) {
  const scale = sizeIn / sizeOut;
  const stretch = Math.max(scale, 1);
  const reach = filter.reach * stretch;
  return Array.from({length: sizeOut}, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(sizeIn, Math.trunc(center + reach + 0.5));
    const weights = [];
    for (let at = first; at < last; at++) weights.push(filter.weight((at - center + 0.5) * (1 / stretch)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const whole = weights.map((weight) => {
      const scaled = (sum ? weight / sum : weight) * (1 << PRECISION_BITS);
      return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    });
    return {first, whole};
  });
}

/** Resize along one axis, `x` or `y`. */
function pass({pixels, width, height}, axis, size, filter) {
  const sizeIn = axis === 'x' ? width : height;
  const lines = axis === 'x' ? height : width;
  const result = new Uint8ClampedArray(size * lines * 3);
  // How far the next pixel of the axis, and the next line across it, are from each other.
  const [stepIn, strideIn] = axis === 'x' ? [3, width * 3] : [width * 3, 3];
  const [stepOut, strideOut] = axis === 'x' ? [3, size * 3] : [width * 3, 3];
  const table = weightsOf(sizeIn, size, filter);
  for (let line = 0; line < lines; line++) {
    for (let place = 0; place < size; place++) {
      const {first, whole} = table[place];
      const start = line * strideIn + first * stepIn;
      const to = line * strideOut + place * stepOut;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let i = 0; i < whole.length; i++) sum += pixels[start + i * stepIn + channel] * whole[i];
        result[to + channel] = sum >> PRECISION_BITS;
      }
    }
  }
  return axis === 'x' ? {pixels: result, width: size, height} : {pixels: result, width, height: size};
}

/** For each pixel that comes out, the one that goes in: by adding up steps, whose rounding decides between two. */
function nearestPlaces(sizeIn, sizeOut) {
  const step = sizeIn / sizeOut;
  let at = step / 2;
  return Array.from({length: sizeOut}, () => {
    const place = Math.trunc(at);
    at += step;
    return place;
  });
}

function nearest({pixels, width, height}, toWidth, toHeight) {
  const result = new Uint8ClampedArray(toWidth * toHeight * 3);
  const [rows, columns] = [nearestPlaces(height, toHeight), nearestPlaces(width, toWidth)];
  for (let y = 0; y < toHeight; y++) {
    for (let x = 0; x < toWidth; x++) {
      const from = (rows[y] * width + columns[x]) * 3;
      result.set(pixels.subarray(from, from + 3), (y * toWidth + x) * 3);
    }
  }
  return {pixels: result, width: toWidth, height: toHeight};
}

/**
 * Resize an image as `PIL.Image.resize` does.
 * An image is `{pixels, width, height}`, with pixels RGB RGB ... of 8 bits, row by row.
 */
export function resize(image, width, height, interpolation) {
  if (width === image.width && height === image.height) return image;
  if (interpolation === 'nearest') return nearest(image, width, height);
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`interpolation ${interpolation} is not known to this page`);
  const fewerRows = image.height - height;
  const order = fewerRows > 0 && fewerRows > 2 * (image.width - width) ? ['y', 'x'] : ['x', 'y']; // as Pillow 13 has it
  return order.reduce((done, axis) => {
    const same = axis === 'x' ? width === done.width : height === done.height;
    return same ? done : pass(done, axis, axis === 'x' ? width : height, filter);
  }, image);
}
