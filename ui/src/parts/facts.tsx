import type { Picture } from "../state/gallery";

export type Fact = [name: string, value: string];

// What a picture was made of, and how.
export function factsOf({ body, source, model, created, seconds, scale, blob }: Picture): Fact[] {
  const rows: [string, string | number | null | undefined | false][] = [
    ["Prompt", body.prompt],
    ["Negative prompt", body.negative_prompt],
    ["Seed", body.seed],
    ["Size", body.size],
    ["Upscaled", scale > 1 && `${scale} times`],
    ["Steps", body.num_inference_steps],
    ["Guidance", body.guidance_scale],
    ["Sampler", body.scheduler],
    ["Style", body.style_lora && `${body.style_lora.style}, ${body.style_lora.level}`],
    ["Clip skip", body.clip_skip],
    ["Made from", source && (source.mask ? "a picture with a mask" : "a picture")],
    ["Strength", source && body.strength],
    ["Model", model],
    ["Made", new Date(created).toLocaleString()],
    ["Time", `${seconds.toFixed(1)} s`],
    ["File", `${Math.ceil(blob.size / 1000)} kB`],
  ];
  return rows.filter(([, value]) => value || value === 0).map(([name, value]) => [name, `${value}`]);
}

export function Facts({ facts }: { facts: Fact[] }) {
  return (
    <dl>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
