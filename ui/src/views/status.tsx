import { type FormEvent, useEffect, useState } from "react";
import { storedKey, storeKey, wordsOf } from "../api/client";
import { memory as fetchMemory, modes as fetchModes, switchMode } from "../api/server";
import type { Memory, Modes } from "../api/types";
import { Chart } from "../parts/chart";
import { Facts, type Fact } from "../parts/facts";
import { Field } from "../parts/field";
import { refreshThroughput, throughput } from "../state/metrics";
import { usePolling } from "../state/polling";
import { refreshServer, server } from "../state/server";
import { useStore } from "../state/store";

const GIB = 2 ** 30;
const gib = (bytes: number) => `${(bytes / GIB).toFixed(1)} GiB`;

function Meter({ label, value, max }: { label: string; value: number; max: number }) {
  return (
    <div className="meter">
      <span>{label}</span>
      <meter min={0} max={max} value={value} aria-label={label} />
      <span>
        {gib(value)} of {gib(max)}
      </span>
    </div>
  );
}

function MemoryPart() {
  const [memory, setMemory] = useState<Memory | null>(null);
  usePolling(() => void fetchMemory().then(setMemory, () => setMemory(null)));
  if (!memory) return null;
  const { gpu } = memory;
  return (
    <section aria-labelledby="memory">
      <h2 id="memory">Memory</h2>
      <Meter label="This machine" value={memory.total_bytes - memory.available_bytes} max={memory.total_bytes} />
      <Meter label="Dream Lab" value={memory.process_bytes} max={memory.total_bytes} />
      {gpu && (
        <>
          <Meter label="GPU" value={gpu.total_bytes - gpu.free_bytes} max={gpu.total_bytes} />
          <Meter label="Weights" value={gpu.weights_bytes} max={gpu.total_bytes} />
          <Meter label="Pictures under way" value={gpu.activations_bytes + gpu.recordings_bytes} max={gpu.total_bytes} />
        </>
      )}
    </section>
  );
}

function ThroughputPart() {
  usePolling(() => void refreshThroughput());
  const { picturesPerMinute, stepsPerSecond, together, waiting } = useStore(throughput);
  return (
    <section aria-labelledby="throughput">
      <h2 id="throughput">The last minutes</h2>
      <div className="charts">
        <Chart label="Pictures a minute" values={picturesPerMinute} />
        <Chart label="Steps a second" values={stepsPerSecond} />
        <Chart label="Pictures in a step" values={together} />
        <Chart label="Waiting" values={waiting} digits={0} />
      </div>
    </section>
  );
}

function ModesPart() {
  const [modes, setModes] = useState<Modes | null>(null);
  const [busy, setBusy] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    fetchModes().then(setModes, () => setModes(null));
  }, []);
  if (!modes || modes.modes.length === 0) return null;
  const change = async (name: string) => {
    setBusy(name);
    setError(null);
    try {
      await switchMode(name);
      setModes(await fetchModes());
      await refreshServer();
    } catch (failure) {
      setError(wordsOf(failure));
    }
    setBusy(null);
  };
  return (
    <section aria-labelledby="modes">
      <h2 id="modes">Modes</h2>
      <ul className="plain">
        {modes.modes.map(({ name }) => (
          <li key={name}>
            <button type="button" aria-pressed={modes.current === name} disabled={busy !== null} onClick={() => void change(name)}>
              {busy === name ? `${name}: being loaded …` : name}
            </button>
          </li>
        ))}
      </ul>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </section>
  );
}

export function KeyForm() {
  const [key, setKey] = useState(storedKey());
  const submit = (event: FormEvent) => {
    event.preventDefault();
    storeKey(key);
    void refreshServer();
  };
  return (
    <form onSubmit={submit} aria-label="API key">
      <Field label="API key" hint="Kept in this browser; needed where the server was started with API_KEY.">
        {(id) => (
          <span className="joined">
            <input id={id} type="password" autoComplete="off" value={key} onChange={(event) => setKey(event.target.value)} />
            <button type="submit">Keep</button>
          </span>
        )}
      </Field>
    </form>
  );
}

export function StatusView() {
  const { status } = useStore(server);
  const model = status?.sd;
  const rows: [string, string | null][] = model
    ? [
        ["Model", model.model ?? (model.error ? `could not be loaded: ${model.error}` : "being loaded")],
        ["Family", model.family],
        ["Computes on", model.device],
        ["Precision", model.dtype],
        ["Mode", model.mode],
        ["Queue", `${model.queue.running} under way, ${model.queue.waiting} waiting, room for ${model.queue.max}`],
        ["Upscaler", status.superres && `${status.superres.model}, ${status.superres.scale} times a pass`],
      ]
    : [];
  const facts = rows.filter((row): row is Fact => row[1] !== null);
  return (
    <>
      {model && (
        <section aria-labelledby="model" className="wide">
          <h2 id="model">Model</h2>
          <Facts facts={facts} />
        </section>
      )}
      <ModesPart />
      <ThroughputPart />
      <MemoryPart />
      <section aria-labelledby="access">
        <h2 id="access">Access</h2>
        <KeyForm />
        <p>
          The interface for programs is described at <a href="/docs">/docs</a>.
        </p>
      </section>
    </>
  );
}
