// The state of the server, and switching its mode.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { browser, finished, latest, openSampling, paint, server, Server, useBrowserAndServer, visit } from "./harness.mjs";

useBrowserAndServer();

describe("the status", () => {
  it("tells of the model, of memory and of what was done", async () => {
    const page = await visit(browser, server);
    await page.getByRole("link", { name: "Status" }).click();
    const chart = (name) => page.getByRole("img", { name: new RegExp(`^${name}`) });
    await chart("Pictures a minute").waitFor();
    await page.getByRole("meter", { name: "Dream Lab" }).waitFor();
    await page.getByRole("link", { name: "Create" }).click();
    await openSampling(page);
    await paint(page, "a tree", { Steps: 2 });
    await finished(page, 1);
    await page.getByRole("link", { name: "Status" }).click();
    await page.getByRole("img", { name: /^Pictures a minute: (?!0\.0)\d+\.\d,/ }).waitFor();
    await page.getByText("0 under way, 0 waiting, room for").waitFor();
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("switches modes", async () => {
    const folder = process.env.DREAMLAB_MODELS;
    const modes = (late) =>
      `default: large\nmodes:\n  large: {model: ${folder}/demo, size: 256x256, steps: 4}\n  small: {model: ${folder}/demo, size: 128x128, steps: 3}\n  lost: {model: ${folder}/absent${late}}\n`;
    const file = join(server.folder, "modes.yaml");
    writeFileSync(file, modes(""));
    const own = await Server.start({ MODES: file });
    const page = await visit(browser, own);
    await page.getByRole("link", { name: "Status" }).click();
    const mode = (name) => page.getByRole("button", { name, exact: true });
    await mode("large").and(page.locator("[aria-pressed=true]")).waitFor();
    await mode("small").click();
    await mode("small").and(page.locator("[aria-pressed=true]")).waitFor();
    await page.getByRole("link", { name: "Create" }).click();
    await page.getByRole("option", { name: "As the model, 128x128" }).waitFor({ state: "attached" });
    await openSampling(page);
    assert.equal(await page.getByLabel("Steps").getAttribute("placeholder"), "3");
    await paint(page, "a tree");
    await finished(page, 1);
    assert.equal(await latest(page).getByRole("img").evaluate((image) => image.decode().then(() => image.naturalWidth)), 128);
    // One whose model is not there: said in words, and the other goes on.
    await page.getByRole("link", { name: "Status" }).click();
    await mode("lost").click();
    await page.getByRole("alert").filter({ hasText: "absent" }).waitFor();
    await mode("small").and(page.locator("[aria-pressed=true]")).waitFor();
    await page.context().close();
    await own.remove();
  });
});
