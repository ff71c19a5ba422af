import { useEffect } from "react";

const POLL_MS = 2000;

// Looks now and again and again, while the component is there and the page is seen. look: the first one is kept.
export function usePolling(look: () => void): void {
  useEffect(() => {
    look();
    const timer = setInterval(() => {
      if (!document.hidden) look();
    }, POLL_MS);
    return () => clearInterval(timer);
  }, []);
}
