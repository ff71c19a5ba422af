// What holds for every view.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { browser, finished, openSampling, paint, seriousFaults, server, underWay, useBrowserAndServer, visit } from "./harness.mjs";

useBrowserAndServer();

const VIEWS = ["create", "upscale", "gallery", "status"];

async function open(page, view) {
  await page.goto(`${server.url}/#${view}`);
  await page.getByRole("heading", { level: 2, name: new RegExp(view, "i") }).first().waitFor({ state: "attached" });
}

describe("every view", () => {
  it("is accessible, in light and in dark", async () => {
    const page = await visit(browser, server);
    const check = async (what) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        assert.deepEqual(await seriousFaults(page), [], `${what}, ${colorScheme}`);
      }
    };
    await openSampling(page);
    for (const prompt of ["a tree", "a bush"]) await paint(page, prompt, { Seed: 1 });
    await finished(page, 2);
    for (const view of VIEWS) {
      await open(page, view);
      await check(view);
    }
    await open(page, "gallery");
    const pictures = page.getByRole("list", { name: "Pictures" }).getByRole("button");
    await page.getByRole("button", { name: "Compare two" }).click();
    for (const i of [0, 1]) await pictures.nth(i).click();
    await page.getByRole("dialog", { name: "Two pictures" }).waitFor();
    await check("two pictures");
    await page.getByRole("button", { name: "In one place" }).click();
    await check("two pictures in one place");
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Group what is alike" }).click();
    await check("groups");
    await page.getByRole("button", { name: "Group what is alike" }).click();
    await pictures.first().click();
    await check("a picture");
    await page.getByRole("button", { name: "Start from it" }).click();
    await page.getByRole("button", { name: "Draw a mask" }).click();
    await check("a mask");
    await page.getByRole("button", { name: "Invert" }).click();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByAltText("What is to be painted anew").waitFor();
    await check("a picture to start from");
    await page.getByRole("list", { name: "The latest pictures" }).getByRole("button").first().click();
    await page.getByRole("dialog").getByRole("button", { name: "Upscale" }).click();
    await page.getByRole("form", { name: "What to upscale" }).getByRole("button", { name: "Upscale" }).click();
    await page.getByAltText("after").waitFor();
    await check("an upscaled picture");
    await page.context().close();
  });

  it("does not move while a preview becomes sharper", async () => {
    const page = await visit(browser, server);
    await openSampling(page);
    await page.getByLabel("Size").selectOption({ index: 1 });
    await paint(page, "a garden", { Steps: 50 });
    const job = underWay(page).first();
    await job.getByText(/^Step \d+ of 50/).waitFor();
    const { shift, previews } = await page.evaluate(async () => {
      let shift = 0;
      const previews = new Set();
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
      }).observe({ type: "layout-shift" });
      // Until the last steps: then the picture takes its place among the others.
      const progress = () => document.querySelector(".job progress")?.value ?? 50;
      while (progress() < 45) {
        const preview = document.querySelector(".job img");
        if (preview) previews.add(preview.src);
        await new Promise(requestAnimationFrame);
      }
      return { shift, previews: previews.size };
    });
    assert.ok(previews > 3, `${previews} previews`);
    assert.ok(shift < 0.01, `a layout shift of ${shift}`);
    await page.context().close();
  });

  it("fits on a phone", async () => {
    const page = await visit(browser, server, { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
    await paint(page, "a tree");
    await finished(page, 1);
    for (const view of VIEWS) {
      await open(page, view);
      const overhang = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overhang <= 0, `${view} is ${overhang} pixels too wide`);
    }
    await page.context().close();
  });
});
