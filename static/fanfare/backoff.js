// Delays between attempts.

/** Maximum delay by backoff. */
const MAX_BACKOFF_MS = 30_000;
/** Maximum of the delays that a hub may ask for. */
export const MAX_RETRY_MS = 3_600_000;

/**
 * Returns the delay before the next attempt, in milliseconds.
 *
 * @param {number} failures Failed attempts since the last successful one.
 * @param {number} retryMs Delay after the first failure.
 * @param {number | undefined} retryAfterMs Delay that the hub asked for in its response.
 */
export function reconnectDelay(failures, retryMs, retryAfterMs) {
  const backoff = Math.min(MAX_BACKOFF_MS, retryMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
  const requestedDelay = retryAfterMs === undefined
    ? 0
    : Math.min(retryAfterMs, MAX_RETRY_MS) + Math.random() * Math.max(1_000, retryAfterMs / 5);
  // The hub has already jittered its `retry` over all clients that must reconnect.
  if (failures <= 1) return requestedDelay || retryMs;
  return Math.min(MAX_RETRY_MS, Math.max(requestedDelay, backoff));
}

/** Timer that calls `onTimeout` unless it is reset within `timeoutMs`. */
export class Watchdog {
  /**
   * @param {number} timeoutMs
   * @param {() => void} onTimeout
   */
  constructor(timeoutMs, onTimeout) {
    this.timeoutMs = timeoutMs;
    this.onTimeout = onTimeout;
    this.reset();
  }

  reset() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.onTimeout, this.timeoutMs);
  }

  stop() {
    clearTimeout(this.timer);
  }
}
