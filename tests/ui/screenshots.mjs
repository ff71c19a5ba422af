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
      const shoot = (view) => page.screenshot({ path: `${folder}/${view}-${screen}-${colorScheme}.png` });
      for (const prompt of PROMPTS) await paint(page, prompt);
      await latest(page).nth(PROMPTS.length - 1).waitFor();
      await page.getByText("Sampling", { exact: true }).click();
      await paint(page, "a garden with a pond", { Steps: 40 });
      await underWay(page).first().locator(".frame img").waitFor();
      if (screen === "phone") await underWay(page).first().scrollIntoViewIfNeeded();
      await shoot("create");
      await underWay(page).first().getByRole("button", { name: "Cancel" }).click();
      for (const view of ["gallery", "status"]) {
        await page.getByRole("link", { name: view, exact: false }).click();
        await page.getByRole("link", { name: view, exact: false }).and(page.locator("[aria-current]")).waitFor();
        await page.waitForTimeout(500);
        await shoot(view);
      }
      await page.getByRole("link", { name: "Gallery" }).click();
      await page.getByRole("list", { name: "Pictures" }).getByRole("button").first().click();
      await shoot("picture");
      await page.context().close();
    }
  }
} finally {
  await browser.close();
  await server.remove();
}
