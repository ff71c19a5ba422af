// What was made: found again, compared, grouped.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { browser, finished, latest, openSampling, paint, server, Server, useBrowserAndServer, visit } from "./harness.mjs";

useBrowserAndServer();

const pictures = (page) => page.getByRole("list", { name: "Pictures" }).getByRole("listitem");

describe("the gallery", () => {
  it("finds pictures by their prompts, and compares two", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await paint(page, "a lighthouse", { Seed: 1 });
    await finished(page, 1);
    await paint(page, "a forest", { Seed: 1 });
    await finished(page, 2);
    await page.getByRole("link", { name: "Gallery" }).click();
    await page.getByLabel("Search in prompts").fill("LIGHT");
    assert.equal(await pictures(page).count(), 1);
    await page.getByLabel("Search in prompts").fill("submarine");
    await page.getByText("No prompt has these words").waitFor();
    await page.getByLabel("Search in prompts").fill("");

    await page.getByRole("button", { name: "Compare two" }).click();
    await pictures(page).nth(0).getByRole("button").click();
    await page.getByText("Choose the second one").waitFor();
    await pictures(page).nth(1).getByRole("button").click();
    const dialog = page.getByRole("dialog", { name: "Two pictures" });
    assert.equal(await dialog.getByRole("img").count(), 2);
    const row = (name) => dialog.getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
    assert.match(await row("Prompt").getAttribute("class"), /differs/);
    assert.equal(await row("Seed").getAttribute("class"), null);
    assert.deepEqual(await row("Prompt").getByRole("cell").allTextContents(), ["a forest", "a lighthouse"]);
    await dialog.getByRole("button", { name: "In one place" }).click();
    await dialog.getByRole("slider", { name: "How much of the picture left" }).waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.getByText("Choose two pictures").waitFor();
    await page.context().close();
  });

  it("groups what is alike", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    // Of one seed and nearly the same words, and one of another seed.
    const asked = [["a red house by a lake", 11], ["a red house by the lake", 11], ["a desert at night", 3]];
    for (const [i, [prompt, seed]] of asked.entries()) {
      await paint(page, prompt, { Seed: seed });
      await finished(page, i + 1);
    }
    await page.getByRole("link", { name: "Gallery" }).click();
    await page.getByRole("button", { name: "Group what is alike" }).click();
    const alike = page.getByRole("list", { name: "2 alike" });
    assert.equal(await alike.getByRole("img", { name: /^a red house/ }).count(), 2);
    assert.equal(await page.getByRole("list", { name: "Like no other" }).getByRole("img", { name: "a desert at night" }).count(), 1);
    await page.context().close();
  });

  it("has a strip of variations: neighboring seeds", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await paint(page, "a field", { Seed: 20 });
    await finished(page, 1);
    await latest(page).first().getByRole("button").click();
    await page.getByRole("button", { name: "Variations" }).click();
    await finished(page, 5);
    const seeds = [];
    for (let i = 0; i < 5; ++i) {
      await latest(page).nth(i).getByRole("button").click();
      seeds.push(Number(await page.getByRole("dialog").locator("dt", { hasText: "Seed" }).locator("+ dd").textContent()));
      await page.getByRole("button", { name: "Close" }).click();
    }
    assert.deepEqual(seeds.sort((a, b) => a - b), [18, 19, 20, 21, 22]);
    await page.context().close();
  });

  it("leads to the server's own copy, where it keeps one", async () => {
    const own = await Server.start({ STORAGE: "file:kept" });
    const page = await visit(browser, own);
    await paint(page, "a cabin");
    await finished(page, 1);
    await latest(page).first().getByRole("button").click();
    const address = await page.getByRole("link", { name: "On the server" }).getAttribute("href");
    const answer = await fetch(`${own.url}${address}`);
    assert.equal(answer.headers.get("content-type"), "image/png");
    assert.ok(Buffer.from(await answer.arrayBuffer()).includes("a cabin"));
    await page.context().close();
    await own.remove();
  });
});
