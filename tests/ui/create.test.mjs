// Asking for pictures, and what may go wrong with it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { browser, finished, latest, openSampling, paint, pixelsOf, server, Server, underWay, useBrowserAndServer, visit } from "./harness.mjs";

useBrowserAndServer();

describe("a first visit", () => {
  it("leads to a picture, which is kept", async () => {
    const page = await visit(browser, server);
    await page.getByText("Say what to paint").waitFor();
    await paint(page, "a lighthouse at dusk");
    await underWay(page).first().waitFor();
    await finished(page, 1);
    const picture = latest(page).getByRole("img", { name: "a lighthouse at dusk" });
    assert.equal(await picture.evaluate((image) => image.decode().then(() => image.naturalWidth)), 256);

    await page.reload();
    await finished(page, 1);
    await page.getByRole("link", { name: "Gallery" }).click();
    await page.getByRole("img", { name: "a lighthouse at dusk" }).click();
    const dialog = page.getByRole("dialog");
    const [download] = await Promise.all([page.waitForEvent("download"), dialog.getByRole("link", { name: "Download" }).click()]);
    assert.match(download.suggestedFilename(), /^a-lighthouse-at-dusk-\d+\.png$/);
    const bytes = readFileSync(await download.path());
    assert.equal(bytes.subarray(1, 4).toString(), "PNG");
    assert.ok(bytes.includes("a lighthouse at dusk"), "the file says what it was made of");

    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.getByText("Nothing yet").waitFor();
    await page.reload();
    await page.getByText("Nothing yet").waitFor();
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("works by keyboard", async () => {
    const page = await visit(browser, server);
    const prompt = page.getByLabel("Prompt", { exact: true });
    await prompt.focus();
    await page.keyboard.type("hills");
    await page.keyboard.press("Control+Enter");
    await finished(page, 1);
    await page.context().close();
  });
});

describe("a request", () => {
  it("shows its steps and previews, and stops when it is cancelled", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await paint(page, "a forest", { Steps: 50 });
    const job = underWay(page).first();
    await job.getByText(/^Step \d+ of 50/).waitFor();
    await job.locator(".frame img").waitFor();
    await job.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("Say what to paint").waitFor();
    for (const end = Date.now() + 5000; ; ) {
      const { sd } = await (await fetch(`${server.url}/api/models/status`)).json();
      if (sd.queue.running + sd.queue.waiting === 0) break;
      assert.ok(Date.now() < end, "the server goes on");
    }
    await page.context().close();
  });

  it("gives the same picture for the same seed, and another in a style", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    const newest = () => pixelsOf(latest(page).first().getByRole("img"));
    await paint(page, "a red house", { Seed: 7 });
    await finished(page, 1);
    const first = await newest();
    await paint(page, "a red house", { Seed: 7 });
    await finished(page, 2);
    assert.deepEqual(await newest(), first);
    await page.getByLabel("Style", { exact: true }).selectOption("papercut");
    await paint(page, "a red house", { Seed: 7 });
    await finished(page, 3);
    assert.notDeepEqual(await newest(), first);
    await page.context().close();
  });

  it("has its settings again from a picture", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await paint(page, "a boat", { Seed: 12, Steps: 3 });
    await finished(page, 1);
    await page.getByLabel("Prompt", { exact: true }).fill("something else");
    await latest(page).first().getByRole("button").click();
    await page.getByRole("button", { name: "Use its settings" }).click();
    assert.equal(await page.getByLabel("Prompt", { exact: true }).inputValue(), "a boat");
    assert.equal(await page.getByLabel("Seed").inputValue(), "12");
    assert.equal(await page.getByLabel("Steps").inputValue(), "3");
    await page.context().close();
  });

  it("says in words what is wrong with it", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await page.getByRole("form", { name: "What to paint" }).evaluate((form) => (form.noValidate = true));
    await paint(page, "a boat", { Steps: 400 });
    await page.getByRole("alert").filter({ hasText: "num_inference_steps" }).waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.context().close();
  });
});

describe("trouble", () => {
  it("of a server that goes away and comes back loses nothing", async () => {
    const own = await Server.start();
    const page = await visit(browser, own);
    await openSampling(page);
    await paint(page, "a mountain", { Steps: 50, "How many": 2 });
    await page.getByText(/^Step \d+ of 50/).first().waitFor();
    await own.end("SIGKILL");
    await page.getByText("it goes on when it is back").first().waitFor();
    await own.run();
    await finished(page, 2);
    await page.context().close();
    await own.remove();
  });

  it("of a full queue is waited out", async () => {
    const own = await Server.start({ QUEUE_MAX: "1", BATCH_MAX: "1" });
    const page = await visit(browser, own);
    await openSampling(page);
    await paint(page, "a river", { Steps: 20, "How many": 5 });
    await page.getByText("The queue is full").first().waitFor();
    await finished(page, 5);
    await page.context().close();
    await own.remove();
  });

  it("of a missing API key is asked about", async () => {
    const own = await Server.start({ API_KEY: "open sesame" });
    const page = await visit(browser, own);
    await page.getByText("This server wants an API key").waitFor();
    await page.locator("input[type=password]").first().fill("open sesame");
    await page.getByRole("button", { name: "Keep" }).first().click();
    await page.getByText("This server wants an API key").waitFor({ state: "detached" });
    await paint(page, "a door");
    await finished(page, 1);
    await page.context().close();
    await own.remove();
  });
});
