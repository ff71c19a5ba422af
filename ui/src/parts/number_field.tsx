import { Field } from "./field";

interface NumberFieldProps {
  label: string;
  step?: "any";
  range?: { minimum: number; maximum: number };
  value: string; // "": the server's
  otherwise: number | undefined; // the server's, as far as is known
  onChange: (value: string) => void;
}

export function NumberField({ label, step, range, value, otherwise, onChange }: NumberFieldProps) {
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          type="number"
          step={step}
          min={range?.minimum}
          max={range?.maximum}
          value={value}
          placeholder={otherwise === undefined ? "the server's" : `${otherwise}`}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
    </Field>
  );
}
