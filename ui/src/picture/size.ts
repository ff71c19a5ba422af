// Sizes to offer: what a model was trained for, and what suits a picture to start from.

const RATIOS: [number, number, string][] = [
  [1, 1, "Square"],
  [4, 5, "Portrait 4:5"],
  [5, 4, "Landscape 5:4"],
  [2, 3, "Portrait 2:3"],
  [3, 2, "Landscape 3:2"],
  [9, 16, "Tall 9:16"],
  [16, 9, "Wide 16:9"],
];

export interface SizePreset {
  size: string;
  label: string;
}

export interface Size {
  width: number;
  height: number;
}

export const sizeText = ({ width, height }: Size) => `${width}x${height}`;

function sizeOf(text: string | null): Size {
  const [width, height] = (text ?? "").split("x").map(Number);
  return { width: width || 512, height: height || 512 };
}

// So many pixels in this ratio, in steps that suit the model.
function fitted(ratio: number, area: number, step: number): Size {
  const rounded = (side: number) => Math.max(step, Math.round(side / step) * step);
  return { width: rounded(Math.sqrt(area * ratio)), height: rounded(Math.sqrt(area / ratio)) };
}

// Sizes of about as many pixels as the model was trained for.
export function sizePresets(defaultSize: string | null): SizePreset[] {
  const { width, height } = sizeOf(defaultSize);
  const area = width * height;
  return RATIOS.map(([w, h, label]) => {
    const size = sizeText(fitted(w / h, area, area >= 512 * 512 ? 64 : 32));
    return { size, label: `${label}, ${size}` };
  });
}

// For a picture made from `source`: its own size where the model can do with it, else one of its shape.
export function sizeFor(source: Size, defaultSize: string | null): string {
  const model = sizeOf(defaultSize);
  const area = model.width * model.height;
  const pixels = source.width * source.height;
  const fits = source.width % 8 === 0 && source.height % 8 === 0 && pixels <= 1.5 * area && pixels >= area / 4;
  return sizeText(fits ? source : fitted(source.width / source.height, area, 8));
}
