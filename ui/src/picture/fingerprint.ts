// Latent fingerprints: the final latents averaged to 4x8x8, as 512 bytes of little-endian float16 in base64.

const CHANNELS = 4;
const CELLS = 8 * 8;

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Each channel less its mean, the whole of length 1, so that a product of two is their correlation; null for what is
// no fingerprint.
export function readFingerprint(base64: string | undefined): Float32Array | null {
  let bytes: string;
  try {
    bytes = atob(base64 ?? "");
  } catch {
    return null;
  }
  if (bytes.length !== 2 * CHANNELS * CELLS) return null;
  const values = Float32Array.from({ length: CHANNELS * CELLS }, (_, i) =>
    float16(bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)),
  );
  for (let channel = 0; channel < CHANNELS; ++channel) {
    const part = values.subarray(channel * CELLS, (channel + 1) * CELLS);
    const mean = part.reduce((sum, value) => sum + value, 0) / CELLS;
    part.forEach((value, i) => (part[i] = value - mean));
  }
  const length = Math.hypot(...values);
  return length > 0 && Number.isFinite(length) ? values.map((value) => value / length) : null;
}

export function similarity(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

// Items in groups, the first of each its measure: an item joins the group whose first is most like it, where that is
// like enough. Items without a fingerprint stand alone. Order is kept.
export function groupSimilar<T>(items: T[], fingerprintOf: (item: T) => Float32Array | null, threshold: number): T[][] {
  const groups: { measure: Float32Array | null; items: T[] }[] = [];
  for (const item of items) {
    const own = fingerprintOf(item);
    let best: { items: T[] } | null = null;
    let most = threshold;
    for (const group of own ? groups : []) {
      const likeness = group.measure ? similarity(own!, group.measure) : -1;
      if (likeness >= most) [best, most] = [group, likeness];
    }
    if (best) best.items.push(item);
    else groups.push({ measure: own, items: [item] });
  }
  return groups.map((group) => group.items);
}
