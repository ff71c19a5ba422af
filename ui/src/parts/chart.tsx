interface ChartProps {
  label: string;
  values: number[]; // the latest last
  digits?: number;
}

const WIDTH = 240;
const HEIGHT = 60;
const SLOTS = 150; // samples that fit, so that the line grows from the right

// A figure over time, its latest value in words.
export function Chart({ label, values, digits = 1 }: ChartProps) {
  const most = Math.max(1e-9, ...values);
  const shown = values.slice(-SLOTS);
  const points = shown.map((value, i) => {
    const x = WIDTH - ((shown.length - 1 - i) * WIDTH) / (SLOTS - 1);
    return `${x.toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`;
  });
  const latest = values.at(-1);
  const words = latest === undefined ? "not known yet" : latest.toFixed(digits);
  return (
    <figure className="chart">
      <figcaption>
        {label} <b>{words}</b>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${label}: ${words}, ${most.toFixed(digits)} at most`}>
        <polyline points={points.join(" ")} />
      </svg>
    </figure>
  );
}
