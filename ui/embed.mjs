// node embed.mjs DIST TABLE: writes the files of DIST, compressed, as rows of a C++ table (src/server/ui_files.cpp).
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { gzipSync } from "node:zlib";

const MOST_BYTES = 300_000; // of all files together, compressed: what a first visit may load
const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

const [dist, table] = process.argv.slice(2);

function* filesIn(folder, path = "") {
  for (const name of readdirSync(join(folder, path)).sort()) {
    const inner = `${path}/${name}`;
    if (statSync(join(folder, inner)).isDirectory()) yield* filesIn(folder, inner);
    else yield inner;
  }
}

const arrays = [];
const rows = [];
let total = 0;
for (const path of filesIn(dist)) {
  const type = TYPES[extname(path)];
  if (!type) throw new Error(`${path}: there is no media type for it in embed.mjs`);
  const bytes = readFileSync(join(dist, path));
  const packed = gzipSync(bytes, { level: 9 });
  total += packed.length;
  const name = `kFile${arrays.length}`;
  const lines = [];
  for (let i = 0; i < packed.length; i += 32) lines.push([...packed.subarray(i, i + 32)].join(","));
  arrays.push(`constexpr uint8_t ${name}[] = {${lines.join(",\n")}};`);
  const tag = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  rows.push(`{"${path}", "${type}", "\\"${tag}\\"", ${name}, ${bytes.length}},`);
}
if (total > MOST_BYTES) throw new Error(`the pages take ${total} bytes, compressed; ${MOST_BYTES} are allowed`);
mkdirSync(dirname(table), { recursive: true });
writeFileSync(table, `${arrays.join("\n")}\nconstexpr UiFile kUiFiles[] = {\n${rows.join("\n")}\n};\n`);
