import { type KeyboardEvent, type PointerEvent, useEffect, useRef, useState } from "react";
import { urlOfBlob } from "../state/object_url";
import type { Source } from "../state/source";
import { Dialog } from "./dialog";
import { Field } from "./field";

const LONGEST_SIDE = 1024; // of the mask; the server brings it to the picture's size
const MOST_UNDONE = 20;
const STEP = 0.02; // of the longest side, for an arrow key

interface Point {
  x: number;
  y: number;
}

const ARROWS: Record<string, Point> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

function maskSize({ width, height }: Source): { width: number; height: number } {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

// White where it was painted, black elsewhere; null where nothing was.
async function maskOf(painted: HTMLCanvasElement): Promise<Blob | null> {
  const pixels = painted.getContext("2d")!.getImageData(0, 0, painted.width, painted.height);
  if (!pixels.data.some((value, i) => i % 4 === 3 && value > 0)) return null;
  const flat = document.createElement("canvas");
  flat.width = painted.width;
  flat.height = painted.height;
  const context = flat.getContext("2d")!;
  context.fillRect(0, 0, flat.width, flat.height);
  context.drawImage(painted, 0, 0);
  return new Promise((resolve) => flat.toBlob(resolve, "image/png"));
}

// What is bright in a mask becomes opaque white, all else transparent: as it is painted.
async function loadMask(context: CanvasRenderingContext2D, mask: Blob): Promise<void> {
  const { width, height } = context.canvas;
  const bitmap = await createImageBitmap(mask);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const bright = pixels.data[i]! >= 128;
    pixels.data.fill(255, i, i + 3);
    pixels.data[i + 3] = bright ? 255 : 0;
  }
  context.putImageData(pixels, 0, 0);
}

interface MaskDialogProps {
  source: Source;
  onDone: (mask: Blob | null) => void;
  onClose: () => void;
}

// Painting over what is to be painted anew, with a pointer or with the arrow keys and the space bar.
export function MaskDialog({ source, onDone, onClose }: MaskDialogProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<Point | null>(null);
  const undone = useRef<ImageData[]>([]);
  const [size] = useState(() => maskSize(source));
  const longest = Math.max(size.width, size.height);
  const [brush, setBrush] = useState(12); // percent of the longest side
  const [erases, setErases] = useState(false);
  const [undoable, setUndoable] = useState(false);
  const [cursor, setCursor] = useState<Point>({ x: size.width / 2, y: size.height / 2 });
  const diameter = (brush / 100) * longest;
  const context = () => canvas.current!.getContext("2d", { willReadFrequently: true })!;

  useEffect(() => {
    if (source.mask) void loadMask(context(), source.mask);
  }, []);

  const remember = () => {
    undone.current = [...undone.current.slice(1 - MOST_UNDONE), context().getImageData(0, 0, size.width, size.height)];
    setUndoable(true);
  };
  const undo = () => {
    const before = undone.current.pop();
    if (before) context().putImageData(before, 0, 0);
    setUndoable(undone.current.length > 0);
  };
  const stroke = (from: Point, to: Point) => {
    const drawing = context();
    drawing.globalCompositeOperation = erases ? "destination-out" : "source-over";
    drawing.strokeStyle = "#fff";
    drawing.lineCap = "round";
    drawing.lineWidth = diameter;
    drawing.beginPath();
    drawing.moveTo(from.x, from.y);
    drawing.lineTo(to.x, to.y);
    drawing.stroke();
    // A line of no length has no caps either.
    drawing.fillStyle = "#fff";
    drawing.beginPath();
    drawing.arc(to.x, to.y, diameter / 2, 0, 2 * Math.PI);
    drawing.fill();
  };
  const fill = (operation: GlobalCompositeOperation) => {
    remember();
    const drawing = context();
    drawing.globalCompositeOperation = operation;
    drawing.fillStyle = "#fff";
    drawing.fillRect(0, 0, size.width, size.height);
  };

  const pointOf = (event: PointerEvent<HTMLCanvasElement>): Point => {
    const box = event.currentTarget.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * size.width,
      y: ((event.clientY - box.top) / box.height) * size.height,
    };
  };
  const onPointerDown = (event: PointerEvent<HTMLCanvasElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    remember();
    last.current = pointOf(event);
    stroke(last.current, last.current);
  };
  const onPointerMove = (event: PointerEvent<HTMLCanvasElement>) => {
    const point = pointOf(event);
    setCursor(point);
    if (!last.current) return;
    stroke(last.current, point);
    last.current = point;
  };
  const onPointerUp = () => {
    last.current = null;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = STEP * longest;
      const to = {
        x: Math.min(size.width, Math.max(0, cursor.x + arrow.x * step)),
        y: Math.min(size.height, Math.max(0, cursor.y + arrow.y * step)),
      };
      if (event.shiftKey) stroke(cursor, to);
      setCursor(to);
    } else if (event.key === " ") {
      remember();
      stroke(cursor, cursor);
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      undo();
    } else {
      return;
    }
    event.preventDefault();
  };

  return (
    <Dialog label="What to paint anew" className="mask" onClose={onClose}>
      <div className="easel" style={{ width: `min(100%, calc(60vh * ${size.width / size.height}))` }}>
        <img src={urlOfBlob(source.image)} alt="The picture to start from" />
        <canvas
          ref={canvas}
          width={size.width}
          height={size.height}
          tabIndex={0}
          role="img"
          aria-label="Paint over what is to be painted anew. The arrow keys move the brush, the space bar paints, with Shift the brush paints as it moves."
          onPointerDown={onPointerDown}
          onPointerMove={onPointerMove}
          onPointerUp={onPointerUp}
          onPointerCancel={onPointerUp}
          onKeyDown={onKeyDown}
        />
        <span
          className="brush"
          aria-hidden="true"
          style={{
            left: `${(100 * cursor.x) / size.width}%`,
            top: `${(100 * cursor.y) / size.height}%`,
            width: `${(100 * diameter) / size.width}%`,
          }}
        />
      </div>
      <div className="row">
        <Field label="Brush">
          {(id) => (
            <input id={id} type="range" min={1} max={40} value={brush} onChange={(event) => setBrush(Number(event.target.value))} />
          )}
        </Field>
        <div className="actions">
          <button type="button" aria-pressed={erases} onClick={() => setErases(!erases)}>
            Erase
          </button>
          <button type="button" disabled={!undoable} onClick={undo}>
            Undo
          </button>
          <button type="button" onClick={() => fill("xor")}>
            Invert
          </button>
          <button type="button" onClick={() => fill("destination-out")}>
            Clear
          </button>
        </div>
      </div>
      <div className="actions end">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" className="primary" onClick={() => void maskOf(canvas.current!).then(onDone)}>
          Done
        </button>
      </div>
    </Dialog>
  );
}
