// Figures of /metrics: Prometheus' text format, as far as it is used here.

export interface Figure {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([\w]+)="((?:\\.|[^"\\])*)"/g;

export function parseMetrics(text: string): Figure[] {
  const figures: Figure[] = [];
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    figures.push({ name: match[1]!, labels, value: Number(match[3]) });
  }
  return figures;
}

// The sum of a name's figures with these labels.
export function total(figures: Figure[], name: string, labels: Record<string, string> = {}): number {
  return figures
    .filter((figure) => figure.name === name && Object.entries(labels).every(([key, value]) => figure.labels[key] === value))
    .reduce((sum, { value }) => sum + value, 0);
}
