// Pictures that are made from pictures: settings out of a file, image to image, in-painting, upscaling.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { browser, finished, latest, openSampling, paint, pixelsOf, server, Server, useBrowserAndServer, visit } from "./harness.mjs";

useBrowserAndServer();

// A picture of the server, as a file. request: the body of /generate.
async function pictureFile(name, request) {
  const answer = await fetch(`${server.url}/generate`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
  assert.equal(answer.status, 200);
  const path = join(server.folder, name);
  writeFileSync(path, Buffer.from(await answer.arrayBuffer()));
  return path;
}

const choose = (page, path) => page.locator("input[type=file]").setInputFiles(path);
const prompt = (page) => page.getByLabel("Prompt", { exact: true });

async function drop(page, bytes, type) {
  const data = await page.evaluateHandle(
    ([base64, kind]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], "dropped", { type: kind }));
      return transfer;
    },
    [Buffer.from(bytes).toString("base64"), type],
  );
  for (const event of ["dragover", "drop"]) await page.dispatchEvent("body", event, { dataTransfer: data });
}

// The mean difference of two pictures' values, 0 to 255, where `inside` says so.
function difference(a, b, inside) {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < a.height; ++y)
    for (let x = 0; x < a.width; ++x) {
      if (!inside(x / a.width, y / a.height)) continue;
      for (let c = 0; c < 3; ++c) sum += Math.abs(a.values[4 * (y * a.width + x) + c] - b.values[4 * (y * a.width + x) + c]);
      count += 3;
    }
  return sum / count;
}

describe("a file that tells what it was made of", () => {
  it("gives its settings back, and the same picture", async () => {
    const request = { prompt: "a castle: red, old", negative_prompt: "fog", seed: 77, num_inference_steps: 3, guidance_scale: 2, size: "192x256", scheduler: "euler_a", style_lora: { style: "papercut", level: 1 } };
    const file = await pictureFile("castle.png", request);
    const page = await visit(browser, server);
    await choose(page, file);
    await page.getByRole("button", { name: "Settings without the picture" }).click();
    await page.getByAltText("The picture to start from").waitFor({ state: "detached" });
    assert.equal(await prompt(page).inputValue(), request.prompt);
    assert.equal(await page.getByLabel("Negative prompt").inputValue(), "fog");
    assert.equal(await page.getByLabel("Style", { exact: true }).inputValue(), "papercut");
    await openSampling(page);
    assert.equal(await page.getByLabel("Seed").inputValue(), "77");
    assert.equal(await page.getByLabel("Sampler").inputValue(), "euler_a");
    await page.getByRole("button", { name: /^Paint/ }).click();
    await finished(page, 1);
    const repainted = await pixelsOf(latest(page).getByRole("img"));
    await choose(page, file);
    const original = await pixelsOf(page.getByAltText("The picture to start from"));
    assert.deepEqual([repainted.width, repainted.height], [192, 256]);
    assert.equal(difference(original, repainted, () => true), 0);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("may be dropped; what is no picture is refused in words", async () => {
    const page = await visit(browser, server);
    await drop(page, Buffer.from("hello"), "text/plain");
    await page.getByRole("alert").filter({ hasText: "PNG, JPEG and WebP" }).waitFor();
    await drop(page, Buffer.from("\x89PNG\r\n\x1a\nrubbish", "latin1"), "image/png");
    await page.getByRole("alert").filter({ hasText: "damaged" }).waitFor();
    const answer = await fetch(`${server.url}/generate`, { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"prompt": "a bridge"}' });
    await drop(page, Buffer.from(await answer.arrayBuffer()), "image/png");
    await page.getByRole("button", { name: "Use its settings" }).click();
    assert.equal(await prompt(page).inputValue(), "a bridge");
    assert.equal(await page.getByRole("alert").count(), 0);
    await page.context().close();
  });
});

describe("a picture to start from", () => {
  it("may change a little or much, and is kept over a reload", async () => {
    const file = await pictureFile("lake.png", { prompt: "a lake", seed: 5 });
    const page = await visit(browser, server);
    await choose(page, file);
    const original = await pixelsOf(page.getByAltText("The picture to start from"));
    await page.reload();
    await page.getByAltText("The picture to start from").waitFor();
    await openSampling(page);
    const madeWith = async (strength, count) => {
      await page.getByLabel(/^Strength/).fill(`${strength}`);
      await paint(page, "a red house", { Seed: 3, Steps: 10 });
      await finished(page, count);
      return pixelsOf(latest(page).first().getByRole("img"));
    };
    const everywhere = () => true;
    const little = difference(original, await madeWith(0.1, 1), everywhere);
    const much = difference(original, await madeWith(1, 2), everywhere);
    assert.ok(little > 0 && little < much / 2, `${little} and ${much}`);
    // The gallery knows what it was made from.
    await latest(page).first().getByRole("button").click();
    await page.getByRole("dialog").getByText("Made from").waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Remove the picture" }).click();
    await page.getByText("Choose, drop or paste").waitFor();
    await page.context().close();
  });

  it("is painted anew where the mask is, and only there", async () => {
    const file = await pictureFile("meadow.png", { prompt: "a meadow", seed: 8 });
    const page = await visit(browser, server);
    await choose(page, file);
    const original = await pixelsOf(page.getByAltText("The picture to start from"));
    await page.getByRole("button", { name: "Draw a mask" }).click();
    const canvas = page.getByRole("dialog").locator("canvas");
    const box = await canvas.boundingBox();
    await page.getByRole("slider", { name: "Brush" }).fill("30");
    // A stroke down the left quarter.
    await page.mouse.move(box.x + box.width / 8, box.y + 1);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 8, box.y + box.height - 1, { steps: 5 });
    await page.mouse.up();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByAltText("What is to be painted anew").waitFor();
    await openSampling(page);
    await page.getByLabel(/^Strength/).fill("1");
    await paint(page, "a red house", { Seed: 3, Steps: 10 });
    await finished(page, 1);
    const made = await pixelsOf(latest(page).first().getByRole("img"));
    const inside = difference(original, made, (x) => x < 0.2);
    const outside = difference(original, made, (x) => x > 0.4);
    // Outside are the autoencoder's roundings.
    assert.ok(outside < 2 && inside > 4 * outside, `${inside} inside the mask, ${outside} outside`);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("has a mask that can be drawn by keyboard, undone, inverted and removed", async () => {
    const file = await pictureFile("hill.png", { prompt: "a hill", size: "128x128" });
    const page = await visit(browser, server);
    await choose(page, file);
    await page.getByRole("button", { name: "Draw a mask" }).click();
    const canvas = page.getByRole("dialog").locator("canvas");
    const painted = () =>
      canvas.evaluate((element) => {
        const { data } = element.getContext("2d").getImageData(0, 0, element.width, element.height);
        let count = 0;
        for (let i = 3; i < data.length; i += 4) count += data[i] > 0 ? 1 : 0;
        return count / (data.length / 4);
      });
    await canvas.focus();
    assert.equal(await painted(), 0);
    await page.keyboard.press("Space");
    const dab = await painted();
    assert.ok(dab > 0 && dab < 0.1, `${dab}`);
    for (let i = 0; i < 5; ++i) await page.keyboard.press("Shift+ArrowRight");
    assert.ok((await painted()) > dab);
    await page.keyboard.press("Control+z");
    assert.equal(await painted(), 0);
    await page.getByRole("button", { name: "Invert" }).click();
    assert.equal(await painted(), 1);
    await page.getByRole("button", { name: "Clear" }).click();
    assert.equal(await painted(), 0);
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await painted(), 1);
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByAltText("What is to be painted anew").waitFor();
    // It is there again when it is changed, and Escape leaves it as it was.
    await page.getByRole("button", { name: "Change the mask" }).click();
    await page.waitForFunction(() => {
      const element = document.querySelector("dialog canvas");
      return element.getContext("2d").getImageData(0, 0, 1, 1).data[3] === 255;
    });
    await page.getByRole("button", { name: "Clear" }).click();
    await canvas.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Remove the mask" }).click();
    await page.getByAltText("What is to be painted anew").waitFor({ state: "detached" });
    await page.context().close();
  });
});

describe("upscaling", () => {
  it("makes a larger picture, with a slider between the two", async () => {
    const page = await visit(browser, server);
    await paint(page, "a small house");
    await finished(page, 1);
    await latest(page).first().getByRole("button").click();
    await page.getByRole("dialog").getByRole("button", { name: "Upscale" }).click();
    await page.getByAltText("The picture to upscale").waitFor();
    const { superres } = await (await fetch(`${server.url}/api/models/status`)).json();
    await page.getByRole("form", { name: "What to upscale" }).getByRole("button", { name: "Upscale" }).click();
    const larger = page.getByAltText("after");
    await larger.waitFor();
    assert.equal(await larger.evaluate((image) => image.decode().then(() => image.naturalWidth)), 256 * superres.scale);
    const slider = page.getByRole("slider", { name: /How much of the picture before/ });
    await slider.focus();
    await page.keyboard.press("Home");
    const uncovered = () => page.getByAltText("before", { exact: true }).evaluate((image) => getComputedStyle(image).clipPath);
    assert.equal(await uncovered(), "inset(0px 100% 0px 0px)");
    await page.keyboard.press("End");
    assert.equal(await uncovered(), "inset(0px 0% 0px 0px)");
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
    assert.match(download.suggestedFilename(), new RegExp(`^a-small-house-\\d+-${superres.scale}x\\.png$`));
    await page.getByRole("button", { name: "Keep in the gallery" }).click();
    await page.getByRole("link", { name: "Gallery" }).click();
    assert.equal(await page.getByRole("list", { name: "Pictures" }).getByRole("listitem").count(), 2);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("says in words why not", async () => {
    const own = await Server.start({ SR_MAX_PIXELS: "100000" });
    const page = await visit(browser, own);
    await page.getByRole("link", { name: "Upscale" }).click();
    await choose(page, await pictureFile("large.png", { prompt: "a plain", size: "256x256" }));
    await page.getByAltText("The picture to upscale").waitFor();
    await page.getByRole("form", { name: "What to upscale" }).getByRole("button", { name: "Upscale" }).click();
    await page.getByRole("alert").filter({ hasText: /pixels/ }).waitFor();
    await page.context().close();
    await own.remove();
  });
});
