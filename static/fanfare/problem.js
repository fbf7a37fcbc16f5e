// Responses of the hub that are errors (RFC 9457).

/** @import { ProblemDetails } from '../fanfare.d.ts' */

import { callSafely } from './safely.js';

/** Maximum length of the text that stands for the detail of a response without a problem document. */
const MAX_DETAIL_CHARS = 200;

/**
 * Returns the problem of a response.
 *
 * @param {Response} response
 * @returns {Promise<ProblemDetails & { status: number }>}
 */
export async function readProblem(response) {
  const { status } = response;
  const text = await response.text();
  const { code, field, limit, detail = text.slice(0, MAX_DETAIL_CHARS) || undefined } =
    Object(callSafely(() => JSON.parse(text), true) ?? {});
  return { status, code, field, limit, detail, retryAfterMs: parseRetryAfter(response) };
}

/** Returns true if a request may succeed later although it was answered with this status. @param {number} status */
export function isRetryable(status) {
  return status >= 500 || status === 408 || status === 425 || status === 429;
}

/**
 * Returns the delay of the `Retry-After` header, in milliseconds (RFC 9110 §10.2.3).
 *
 * @param {Response} response
 */
function parseRetryAfter(response) {
  const header = response.headers.get('retry-after');
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
