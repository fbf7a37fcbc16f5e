// Requests and subscriptions to the hub that served this page.

import { subscribe } from '../fanfare.js';
import { stale } from './dom.js';

/** Base URL of the hub, also behind a proxy that adds a path. */
export const HUB = new URL('..', import.meta.url);

/** Timeout of a request. */
const ANSWER_MS = 5_000;

/** Error response of the hub (RFC 9457). */
export class Refused extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? problem?.error?.message ?? `the hub answered ${status}`);
    this.status = status;
    this.code = problem?.code ?? problem?.error?.code;
    this.field = problem?.field;
  }
}

/** Returns the message of an error, with the field that it concerns. @param {unknown} error */
export function why(error) {
  if (error instanceof Refused) return error.field ? `${error.message} (${error.field})` : error.message;
  if (error instanceof DOMException && error.name === 'TimeoutError') return `it took more than ${ANSWER_MS / 1000} s`;
  return error instanceof Error ? error.message : String(error);
}

/** Called when the hub no longer accepts a credential. */
let unauthorized = () => {};
/** @param {() => void} told */
export const onUnauthorized = (told) => { unauthorized = told; };

/**
 * Sends a request and returns the parsed JSON, or null for a 204. A string as `body` must be JSON.
 *
 * @param {string} path
 * @param {{ method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal }} [init]
 */
export async function ask(path, { method = 'GET', body, headers = {}, signal } = {}) {
  const timeout = AbortSignal.timeout(ANSWER_MS);
  /** @type {RequestInit} */
  const request = { method, headers, cache: 'no-store', signal: signal ? AbortSignal.any([signal, timeout]) : timeout };
  if (body !== undefined) {
    request.body = typeof body === 'string' ? body : JSON.stringify(body);
    request.headers = { 'Content-Type': 'application/json', ...headers };
  }
  const answer = await fetch(new URL(path, HUB), request);
  const text = await answer.text();
  let said = null;
  try {
    said = text === '' ? null : JSON.parse(text);
  } catch {
    said = { detail: text.slice(0, 200) };
  }
  if (answer.ok) return said;
  if (answer.status === 401 && path !== 'session') unauthorized();
  throw new Refused(answer.status, said);
}

/**
 * User of this page. `isKnown` is false without a login if nothing is granted to anonymous users.
 *
 * @typedef {{ isKnown: boolean, subject: string | null, expires_at: string | null, publish: string[],
 *   end: string[], subscribe: string[], run: string[], files: string[], chat: string[], admin: boolean }} Who
 */

/** @type {Who} */
const NOBODY = { isKnown: false, subject: null, expires_at: null, publish: [], end: [], subscribe: [], run: [], files: [], chat: [], admin: false };

/** Name under which tabs of the same user share a connection. */
let identity = 'nobody';

/** @returns {Promise<Who>} */
export async function who() {
  /** @type {Who} */
  let found = NOBODY;
  try {
    found = { isKnown: true, ...(await ask('session')) };
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
  }
  identity = found.subject ?? 'nobody';
  return found;
}

/** Subscribes over one connection for all tabs of the same user.
 * @param {import('../fanfare.d.ts').Options} options */
export const watch = (options) => subscribe({ url: HUB, share: identity, ...options });

/**
 * Calls `act` now and then every `ms` milliseconds while the page is visible, never concurrently. If it
 * fails, the page shows why, and the time of the last success.
 *
 * @param {AbortSignal} signal
 * @param {number} ms
 * @param {() => Promise<void>} act
 */
export async function every(signal, ms, act) {
  let wake = () => {};
  signal.addEventListener('abort', () => wake(), { once: true });
  let last = Date.now();
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        await act();
        last = Date.now();
        stale('');
      } catch (error) {
        if (!signal.aborted) stale(why(error), last);
      }
    }
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => (clearTimeout(timer), resolve(undefined));
    });
  }
}

/**
 * Returns a function that calls `act` once, 250 ms after the last of its calls.
 *
 * @param {() => Promise<void>} act
 */
export function settled(act) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => act().catch((error) => stale(why(error))), 250);
  };
}
