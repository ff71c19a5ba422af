import { memo } from "react";
import { cancel, type Phase, retry, type RunningJob } from "../state/jobs";
import { useCountdown } from "./countdown";

// secondsToWait: of a phase that waits.
function words(phase: Phase, secondsToWait: number): string {
  switch (phase.name) {
    case "sending":
      return "Sending …";
    case "busy":
      return `The queue is full; tried again in ${secondsToWait} s`;
    case "queued":
      return phase.position > 1 ? `Number ${phase.position} in the queue` : "Next in the queue";
    case "running": {
      const left = phase.secondsLeft === null ? "" : `, ${phase.secondsLeft.toFixed(phase.secondsLeft < 10 ? 1 : 0)} s left`;
      return phase.step === 0 ? "Starting …" : `Step ${phase.step} of ${phase.steps}${left}`;
    }
    case "away":
      return "The server is away; it goes on when it is back";
    case "fetching":
      return "Fetching the picture …";
    case "failed":
      return phase.needsKey ? "The server wants its API key" : `It failed: ${phase.why}`;
  }
}

// Drawn again only when its own job changes.
export const JobCard = memo(function JobCard({ job }: { job: RunningJob }) {
  const { phase } = job;
  const seconds = useCountdown(phase.name === "busy" ? phase.retryAt : null);
  const steps = phase.name === "running" && phase.steps > 0 ? phase : null;
  return (
    <li className="card job">
      <div className="frame">
        {job.preview ? <img src={job.preview} alt="" /> : <div className="blank" aria-hidden="true" />}
      </div>
      <p className="prompt">{job.body.prompt}</p>
      <progress aria-label="Progress" max={steps?.steps ?? 1} value={steps ? steps.step : phase.name === "fetching" ? 1 : 0} />
      <p className={phase.name === "failed" ? "error" : "hint"} role={phase.name === "failed" ? "alert" : undefined}>
        {words(phase, seconds)}
      </p>
      <div className="actions">
        {phase.name === "failed" && (
          <button type="button" onClick={() => retry(job.id)}>
            Try again
          </button>
        )}
        <button type="button" onClick={() => cancel(job.id)}>
          {phase.name === "failed" ? "Dismiss" : "Cancel"}
        </button>
      </div>
    </li>
  );
});
