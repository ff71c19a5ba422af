// The real program and Debian's Chromium, for tests that do what a person does.
//   DREAMLAB_PROGRAM  the program to start
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
if (!CHROMIUM) throw new Error("the tests of the web UI need Chromium: apt-get install chromium");
const PROGRAM = process.env.DREAMLAB_PROGRAM;
if (!PROGRAM || !existsSync(PROGRAM)) throw new Error(`DREAMLAB_PROGRAM names no program: ${PROGRAM}`);

const READY_MS = 30_000;

export async function freePort() {
  const listener = createServer();
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

// A server with the model in the box. settings: environment variables.
export class Server {
  static all = new Set();
  static async removeAll() {
    await Promise.all([...Server.all].map((server) => server.remove()));
  }

  constructor(port, settings) {
    Server.all.add(this);
    this.port = port;
    this.settings = settings;
    this.folder = mkdtempSync(join(tmpdir(), "dreamlab-ui-"));
    this.log = "";
  }
  static async start(settings = {}) {
    const server = new Server(await freePort(), settings);
    await server.run();
    return server;
  }
  get url() {
    return `http://127.0.0.1:${this.port}`;
  }
  async run() {
    const environment = { PATH: process.env.PATH, HOME: this.folder, HOST: "127.0.0.1", PORT: `${this.port}`, BACKEND: "cpu" };
    this.child = spawn(PROGRAM, ["serve"], { cwd: this.folder, env: { ...environment, ...this.settings } });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (text) => (this.log += text));
    const key = this.settings.API_KEY;
    for (const end = Date.now() + READY_MS; Date.now() < end; ) {
      const answer = await fetch(`${this.url}/ready`, { headers: key ? { "X-API-Key": key } : {} }).catch(() => null);
      if (answer?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the server is not ready:\n${this.log}`);
  }
  async end(signal = "SIGTERM") {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill(signal);
    await gone;
  }
  async remove() {
    await this.end();
    rmSync(this.folder, { recursive: true, force: true });
    Server.all.delete(this);
  }
}

export const launchBrowser = () => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

// Of the tests of one file.
export let browser, server;
export function useBrowserAndServer() {
  before(async () => {
    browser = await launchBrowser();
    server = await Server.start();
  });
  after(async () => {
    await browser?.close();
    await Server.removeAll();
  });
}

// A page as on a first visit. Anything that it writes to the console as an error, or asks of another host, is kept.
export async function visit(browser, server, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(`${error}`));
  page.on("request", (request) => {
    const url = request.url();
    if (/^https?:/.test(url) && !url.startsWith(server.url)) page.faults.push(`a request to ${url}`);
  });
  await page.goto(server.url);
  return page;
}

export async function paint(page, prompt, fields = {}) {
  await page.getByLabel("Prompt", { exact: true }).fill(prompt);
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(`${value}`);
  await page.getByRole("button", { name: /^Paint/ }).click();
}

export const latest = (page) => page.getByRole("list", { name: "The latest pictures" }).getByRole("listitem");
export const underWay = (page) => page.getByRole("list", { name: "On their way" }).getByRole("listitem");

export const openSampling = (page) => page.getByText("Sampling", { exact: true }).click();

// Until so many pictures are there and none is on its way.
export async function finished(page, count) {
  await latest(page).nth(count - 1).waitFor();
  await underWay(page).first().waitFor({ state: "detached" });
  assert.equal(await latest(page).count(), count);
}

// Width, height and RGBA values of what an <img> shows.
export const pixelsOf = (image) =>
  image.evaluate(async (element) => {
    await element.decode();
    const canvas = new OffscreenCanvas(element.naturalWidth, element.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(element, 0, 0);
    return { width: canvas.width, height: canvas.height, values: [...context.getImageData(0, 0, canvas.width, canvas.height).data] };
  });

// What axe finds serious in a page.
export async function seriousFaults(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}
