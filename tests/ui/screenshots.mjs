// DREAMLAB_PROGRAM=... node screenshots.mjs FOLDER: pictures of every view, light and dark, on a desk and on a phone.
import { mkdirSync } from "node:fs";
import { latest, launchBrowser, paint, Server, underWay, visit } from "./harness.mjs";

const SCREENS = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
const PROMPTS = ["a majestic mountain landscape", "a lighthouse at dusk", "a red house by a lake", "a forest in autumn"];
const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const browser = await launchBrowser();
const server = await Server.start();
try {
  for (const [screen, options] of Object.entries(SCREENS)) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await visit(browser, server, { ...options, colorScheme });
      const shoot = (view) => page.screenshot({ path: `${folder}/${view}-${screen}-${colorScheme}.jpeg`, type: "jpeg", quality: 80 });
      for (const prompt of PROMPTS) await paint(page, prompt);
      await latest(page).nth(PROMPTS.length - 1).waitFor();
      await page.getByText("Sampling", { exact: true }).click();
      await paint(page, "a garden with a pond", { Steps: 40 });
      await underWay(page).first().locator(".frame img").waitFor();
      if (screen === "phone") await underWay(page).first().scrollIntoViewIfNeeded();
      else await page.evaluate(() => scrollTo(0, 0));
      await page.getByText(/^Step [123]\d of 40/).waitFor();
      await shoot("create");
      await underWay(page).first().getByRole("button", { name: "Cancel" }).click();
      const go = async (view) => {
        await page.getByRole("link", { name: view }).click();
        await page.getByRole("link", { name: view }).and(page.locator("[aria-current]")).waitFor();
      };
      await go("Gallery");
      const pictures = page.getByRole("list", { name: "Pictures" }).getByRole("button");
      await page.waitForTimeout(500);
      await shoot("gallery");
      await page.getByRole("button", { name: "Compare two" }).click();
      for (const i of [0, 2]) await pictures.nth(i).click();
      await shoot("compare");
      await page.getByRole("button", { name: "Close" }).click();
      await page.getByRole("button", { name: "Compare two" }).click();
      await pictures.first().click();
      await shoot("picture");
      await page.getByRole("button", { name: "Start from it" }).click();
      await page.getByRole("button", { name: "Draw a mask" }).click();
      const box = await page.locator("dialog canvas").boundingBox();
      await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.3 * box.height);
      await page.mouse.down();
      await page.mouse.move(box.x + 0.6 * box.width, box.y + 0.4 * box.height, { steps: 8 });
      await page.mouse.up();
      await shoot("mask");
      await page.getByRole("button", { name: "Done" }).click();
      await page.getByRole("group", { name: "Start from a picture" }).scrollIntoViewIfNeeded();
      await shoot("start_from");
      await page.getByRole("list", { name: "The latest pictures" }).getByRole("button").first().click();
      await page.getByRole("dialog").getByRole("button", { name: "Upscale" }).click();
      await page.getByRole("form", { name: "What to upscale" }).getByRole("button", { name: "Upscale" }).click();
      await page.getByAltText("after").waitFor();
      if (screen === "phone") await page.getByAltText("after").scrollIntoViewIfNeeded();
      await shoot("upscale");
      await go("Create");
      await page.getByRole("button", { name: "Remove the picture" }).click();
      await page.getByLabel("How many").fill("4");
      await paint(page, "a garden with a pond");
      await go("Status");
      await page.waitForTimeout(20_000);
      await shoot("status");
      await page.context().close();
    }
  }
} finally {
  await browser.close();
  await server.remove();
}
