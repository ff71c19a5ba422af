// What the pages read out of files, fingerprints and figures, without a browser: the modules of ui/src/picture.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { groupSimilar, readFingerprint, similarity } from "./picture/fingerprint.mjs";
import { parseParameters } from "./picture/parameters.mjs";
import { pngTexts } from "./picture/png_text.mjs";
import { parseMetrics, total } from "./picture/prometheus.mjs";
import { sizeFor, sizePresets } from "./picture/size.mjs";

const chunk = (kind, data) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return Buffer.concat([length, Buffer.from(kind), data, Buffer.alloc(4)]);
};
const png = (...chunks) => new Uint8Array(Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), ...chunks, chunk("IEND", Buffer.alloc(0))]));

describe("a PNG's texts", () => {
  it("are read in both encodings", () => {
    const file = png(
      chunk("IHDR", Buffer.alloc(13)),
      chunk("tEXt", Buffer.from("Title\0caf\xe9", "latin1")),
      chunk("iTXt", Buffer.from("parameters\0\0\0de\0Angaben\0ein Schloß")),
    );
    assert.deepEqual([...pngTexts(file)], [["Title", "café"], ["parameters", "ein Schloß"]]);
  });

  it("of damaged and of other files are as far as they can be read", () => {
    const text = chunk("tEXt", Buffer.from("a\0b"));
    const whole = png(text, text);
    for (let length = 0; length <= whole.length; ++length) pngTexts(whole.subarray(0, length));
    assert.deepEqual([...pngTexts(png(text, Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8])))], [["a", "b"]]);
    assert.equal(pngTexts(new Uint8Array(Buffer.from("GIF89a"))).size, 0);
    assert.equal(pngTexts(png(chunk("tEXt", Buffer.from("no end of the keyword")))).size, 0);
    assert.equal(pngTexts(png(chunk("iTXt", Buffer.from("a\0\x01\0packed")))).size, 0);
  });
});

describe("the parameters of a picture", () => {
  it("come back as this server writes them", () => {
    const text =
      "a red house,\nby a lake\nNegative prompt: blurry: dark, grey\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, " +
      'Seed: 42, Size: 1024x768, Model: "a,b", Denoising strength: 0.6, Clip skip: 2, Style: "ink, red", Style level: 3, Version: dreamlab 0.1.0';
    assert.deepEqual(parseParameters(text), {
      body: {
        prompt: "a red house,\nby a lake",
        negative_prompt: "blurry: dark, grey",
        size: "1024x768",
        num_inference_steps: 20,
        guidance_scale: 7.5,
        seed: 42,
        scheduler: "DPM++ 2M Karras",
        clip_skip: 2,
        strength: 0.6,
        style_lora: { style: "ink, red", level: 3 },
      },
      model: "a,b",
    });
  });

  it("come back as AUTOMATIC1111's web UI writes them", () => {
    const text =
      "castle\nSteps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 4294967295, Size: 512x512, " +
      'Model hash: 6ce0161689, Model: v1-5, Lora hashes: "a: 1, b: 2", Version: v1.9.4';
    const { body, model } = parseParameters(text);
    assert.equal(body.scheduler, "DPM++ 2M Karras");
    assert.equal(body.seed, undefined, "such a seed cannot be asked for");
    assert.equal(body.prompt, "castle");
    assert.equal(model, "v1-5");
  });

  it("are not made up", () => {
    for (const text of ["", "a cat", "Steps", "a\nb: c", "workflow: {}"]) assert.equal(parseParameters(text), null);
    assert.deepEqual(parseParameters("Steps: x, Size: big, Seed: -1").body, { prompt: "" });
  });
});

describe("fingerprints", () => {
  // Values as 16-bit floats: 0x3c00 is 1, 0xbc00 is -1, 0x0000 is 0.
  const fingerprint = (bitsAt) => {
    const bytes = Buffer.alloc(512);
    for (let i = 0; i < 256; ++i) bytes.writeUInt16LE(bitsAt(i), 2 * i);
    return readFingerprint(bytes.toString("base64"));
  };
  const stripes = (width) => (i) => (Math.floor(i / width) % 2 ? 0x3c00 : 0xbc00);

  it("are as like as their pictures", () => {
    const one = fingerprint(stripes(4));
    assert.ok(Math.abs(similarity(one, one) - 1) < 1e-6);
    assert.ok(Math.abs(similarity(one, fingerprint(stripes(2)))) < 1e-6);
    assert.ok(Math.abs(similarity(one, fingerprint((i) => stripes(4)(i) ^ 0x8000)) + 1) < 1e-6);
    // 0x4400 is 4: another brightness and contrast, the same picture.
    assert.ok(Math.abs(similarity(one, fingerprint((i) => (Math.floor(i / 4) % 2 ? 0x4400 : 0x3c00))) - 1) < 1e-6);
  });

  it("are none where they are none", () => {
    for (const base64 of [undefined, "", "AAAA", "not base64!", Buffer.alloc(512).toString("base64")]) assert.equal(readFingerprint(base64), null);
    assert.equal(fingerprint(() => 0x7e00), null, "not a number");
  });

  it("make groups, in order", () => {
    const [a, b] = [fingerprint(stripes(4)), fingerprint(stripes(2))];
    const items = [{ n: 1, f: a }, { n: 2, f: b }, { n: 3, f: null }, { n: 4, f: a }, { n: 5, f: b }, { n: 6, f: null }];
    const groups = groupSimilar(items, ({ f }) => f, 0.8).map((group) => group.map(({ n }) => n));
    assert.deepEqual(groups, [[1, 4], [2, 5], [3], [6]]);
  });
});

it("figures for Prometheus are read and summed", () => {
  const figures = parseMetrics(
    '# HELP x y\n# TYPE x counter\nx{service="sd",outcome="failed"} 2\nx{service="sd",outcome="succeeded"} 40\nx{service="sdxl",outcome="succeeded"} 1e2\n' +
      'name{text="a \\"b\\", {c}"} 1\nplain 0.5\n',
  );
  assert.equal(total(figures, "x", { service: "sd" }), 42);
  assert.equal(total(figures, "x"), 142);
  assert.equal(total(figures, "plain"), 0.5);
  assert.equal(total(figures, "absent"), 0);
  assert.equal(figures[3].labels.text, 'a \\"b\\", {c}');
});

describe("sizes", () => {
  it("to offer have as many pixels as the model's, and suit it", () => {
    for (const native of ["256x256", "512x512", "768x768", "1024x1024"]) {
      const area = native.split("x").reduce((product, side) => product * side, 1);
      for (const { size } of sizePresets(native)) {
        const [width, height] = size.split("x").map(Number);
        assert.ok(width % 32 === 0 && height % 32 === 0, size);
        assert.ok(Math.abs((width * height) / area - 1) < 0.15, `${size} for ${native}`);
      }
    }
  });

  it("for a picture to start from are its own, or of its shape", () => {
    assert.equal(sizeFor({ width: 512, height: 640 }, "512x512"), "512x640");
    assert.equal(sizeFor({ width: 4000, height: 3000 }, "512x512"), "592x440");
    assert.equal(sizeFor({ width: 513, height: 512 }, "512x512"), "512x512");
    assert.equal(sizeFor({ width: 64, height: 64 }, "1024x1024"), "1024x1024");
  });
});
