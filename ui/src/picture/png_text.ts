// The text chunks of a PNG file (PNG specification, 11.3.4): tEXt, and iTXt that is not compressed.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

function splitAtZero(bytes: Uint8Array): [Uint8Array, Uint8Array] | null {
  const at = bytes.indexOf(0);
  return at < 0 ? null : [bytes.subarray(0, at), bytes.subarray(at + 1)];
}

const latin1 = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);

function textOf(kind: string, data: Uint8Array): [string, string] | null {
  const keyword = splitAtZero(data);
  if (!keyword) return null;
  const [name, rest] = keyword;
  if (kind === "tEXt") return [latin1(name), latin1(rest)];
  const isCompressed = rest[0] !== 0;
  const language = splitAtZero(rest.subarray(2));
  const translated = language && splitAtZero(language[1]);
  if (isCompressed || !translated) return null;
  return [latin1(name), new TextDecoder().decode(translated[1])];
}

// Keyword to text; nothing for a file that is no PNG, or as far as it can be read.
export function pngTexts(bytes: Uint8Array): Map<string, string> {
  const texts = new Map<string, string>();
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) return texts;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = latin1(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "IEND" || data.length < length) break;
    const entry = kind === "tEXt" || kind === "iTXt" ? textOf(kind, data) : null;
    if (entry) texts.set(...entry);
    at += 12 + length;
  }
  return texts;
}
