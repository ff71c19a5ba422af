import { useState } from "react";

interface BeforeAfterProps {
  before: string; // addresses of pictures of one shape
  after: string;
  names?: [string, string];
}

// Two pictures in one place, and a slider that uncovers the one or the other.
export function BeforeAfter({ before, after, names = ["before", "after"] }: BeforeAfterProps) {
  const [percent, setPercent] = useState(50);
  return (
    <div className="before-after">
      <img src={after} alt={names[1]} />
      <img src={before} alt={names[0]} style={{ clipPath: `inset(0 ${100 - percent}% 0 0)` }} />
      <div className="divider" style={{ left: `${percent}%` }} aria-hidden="true" />
      <input
        type="range"
        min={0}
        max={100}
        step="any"
        value={percent}
        aria-label={`How much of the picture ${names[0]}`}
        aria-valuetext={`${Math.round(percent)} % ${names[0]}`}
        onChange={(event) => setPercent(Number(event.target.value))}
      />
    </div>
  );
}
