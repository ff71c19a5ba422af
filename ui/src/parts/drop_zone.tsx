import { type ReactNode, useEffect, useRef, useState } from "react";

const ACCEPTED = "image/png,image/jpeg,image/webp";

const pictureIn = (data: DataTransfer | null) =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? data?.files[0];

// Takes a picture: chosen by the button, dropped anywhere on the page, or pasted.
export function DropZone({ label, onPicture, children }: { label: string; onPicture: (file: Blob) => void; children?: ReactNode }) {
  const input = useRef<HTMLInputElement>(null);
  const [isOver, setIsOver] = useState(false);
  useEffect(() => {
    // Also what is no picture, which the browser would open in place of this page otherwise.
    const over = (event: DragEvent) => {
      event.preventDefault();
      setIsOver(true);
    };
    const leave = (event: DragEvent) => {
      if (!event.relatedTarget) setIsOver(false);
    };
    const drop = (event: DragEvent) => {
      event.preventDefault();
      setIsOver(false);
      const file = pictureIn(event.dataTransfer);
      if (file) onPicture(file);
    };
    const paste = (event: ClipboardEvent) => {
      const file = pictureIn(event.clipboardData);
      if (file) onPicture(file);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
      removeEventListener("paste", paste);
    };
  }, [onPicture]);
  return (
    <div className={isOver ? "drop over" : "drop"}>
      {children}
      <button type="button" onClick={() => input.current?.click()}>
        {label}
      </button>
      <input
        ref={input}
        type="file"
        accept={ACCEPTED}
        hidden
        aria-label={label}
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = ""; // so that the same file may be chosen again
          if (file) onPicture(file);
        }}
      />
    </div>
  );
}
