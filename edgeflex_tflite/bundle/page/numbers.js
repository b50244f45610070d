// The arithmetic of the page.

/** Shares that add up to 1. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Indices of the largest numbers, the largest first. */
export function largest(numbers, count) {
  const order = Array.from(numbers.keys()).sort((a, b) => numbers[b] - numbers[a]);
  return order.slice(0, count);
}

/** What lies at a share of the sorted numbers, in between where it falls between two. */
export function quantile(numbers, share) {
  const sorted = Float64Array.from(numbers).sort();
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

const product = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/**
 * An answer beside the golden one.
 * @returns `{difference, cosine, sameTop1, passed}`; the difference is the largest, over the largest golden logit.
 */
export function compare(answer, golden, tolerance) {
  const [a, b] = [Float64Array.from(answer), Float64Array.from(golden)];
  const scale = Math.max(...b.map(Math.abs));
  const difference = Math.max(...a.map((value, i) => Math.abs(value - b[i]))) / scale;
  const cosine = product(a, b) / Math.sqrt(product(a, a) * product(b, b));
  const sameTop1 = largest(a, 1)[0] === largest(b, 1)[0];
  const near = difference <= tolerance.relative_difference && cosine >= tolerance.cosine;
  return {difference, cosine, sameTop1, passed: near && sameTop1 && a.length === b.length};
}
