// Requests and subscriptions to the hub that served this page.

import { subscribe } from '../fanfare.js';
import { bannerOfError, showBanner } from './banner.js';

/** Base URL of the hub, also behind a proxy that adds a path. */
export const HUB = new URL('..', import.meta.url);

/** Timeout of a request. */
const REQUEST_TIMEOUT_MS = 5_000;

/** Error response of the hub (RFC 9457). */
export class HubError extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? problem?.error?.message ?? `the hub answered ${status}`);
    this.status = status;
    this.code = problem?.code ?? problem?.error?.code;
    this.field = problem?.field;
    /** Name of the limit that was reached. @type {string | undefined} */
    this.limit = problem?.limit;
  }
}

/** Returns the message of an error, with the field that it concerns. @param {unknown} error */
export function errorMessage(error) {
  if (error instanceof HubError) return error.field ? `${error.message} (${error.field})` : error.message;
  if (error instanceof DOMException && error.name === 'TimeoutError') return `it took more than ${REQUEST_TIMEOUT_MS / 1000} s`;
  return error instanceof Error ? error.message : String(error);
}

/** Listener of `onUnauthorized`. */
let unauthorizedListener = () => {};
/** Sets the listener that is called when the hub no longer accepts a credential. @param {() => void} listener */
export const onUnauthorized = (listener) => { unauthorizedListener = listener; };

/**
 * Sends a request and returns the parsed JSON, or null for a 204. A string as `body` must be JSON.
 *
 * @param {string} path
 * @param {{ method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal }} [init]
 */
export async function request(path, { method = 'GET', body, headers = {}, signal } = {}) {
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  /** @type {RequestInit} */
  const fetchInit = { method, headers, cache: 'no-store', signal: signal ? AbortSignal.any([signal, timeout]) : timeout };
  if (body !== undefined) {
    fetchInit.body = typeof body === 'string' ? body : JSON.stringify(body);
    fetchInit.headers = { 'Content-Type': 'application/json', ...headers };
  }
  const response = await fetch(new URL(path, HUB), fetchInit);
  const text = await response.text();
  if (!response.ok) throw toHubError(response, text, path);
  return parseBody(text);
}

/** @param {string} text */
function parseBody(text) {
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    return { detail: text.slice(0, 200) };
  }
}

/** @param {Response} response @param {string} text @param {string} path */
function toHubError({ status }, text, path) {
  if (status === 401 && path !== 'session') unauthorizedListener();
  return new HubError(status, parseBody(text));
}

/**
 * Reads a response of JSON lines until it ends, until `onLine` returns true or until the signal is aborted.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {(line: any) => boolean} onLine
 * @param {() => void} [onChunk] Called after the lines of each chunk.
 */
export async function requestLines(path, signal, onLine, onChunk = () => {}) {
  const controller = new AbortController();
  const response = await fetch(new URL(path, HUB), { cache: 'no-store', signal: AbortSignal.any([signal, controller.signal]) });
  if (!response.ok) throw toHubError(response, await response.text(), path);
  if (!response.body) return;
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + decoder.decode(value, { stream: !done })).split('\n');
    // The last line is complete only at the end.
    rest = done ? '' : lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() !== '' && onLine(JSON.parse(line))) return controller.abort();
    }
    onChunk();
    if (done) return;
  }
}

/**
 * User of this page. `isKnown` is false without a login if nothing is granted to anonymous users.
 *
 * @typedef {{ isKnown: boolean, subject: string | null, expires_at: string | null, publish: string[],
 *   end: string[], subscribe: string[], run: string[], files: string[], chat: string[], admin: boolean, node: string | null }} User
 */

/** @type {User} */
const NOBODY = { isKnown: false, subject: null, expires_at: null, publish: [], end: [], subscribe: [], run: [], files: [], chat: [], admin: false, node: null };

/** Name under which tabs of the same user share a connection. */
let identity = 'nobody';

/** Returns true if the user of this page has logged in. */
export const isLoggedIn = () => identity !== 'nobody';

/** Returns the optional parts that the hub was built with, or null if it does not say. @returns {Promise<string[] | null>} */
export async function fetchFeatures() {
  try {
    return (await request('version')).features ?? null;
  } catch {
    return null;
  }
}

/** Returns the user of this page. @returns {Promise<User>} */
export async function fetchUser() {
  /** @type {User} */
  let user = NOBODY;
  try {
    user = { isKnown: true, ...(await request('session')) };
  } catch (error) {
    if (!(error instanceof HubError) || error.status !== 401) throw error;
  }
  identity = user.subject ?? 'nobody';
  return user;
}

/** Subscribes over one connection for all tabs of the same user.
 * @param {import('../fanfare.d.ts').SubscriptionOptions} options */
export const subscribeToHub = (options) => subscribe({ url: HUB, share: identity, ...options });

/**
 * Calls `callback` at once and then every `intervalMs` milliseconds while the page is visible, never
 * concurrently. If it fails, the page shows the error and the time of the last success.
 *
 * @param {AbortSignal} signal
 * @param {number} intervalMs
 * @param {() => Promise<void>} callback
 */
export async function poll(signal, intervalMs, callback) {
  let wake = () => {};
  signal.addEventListener('abort', () => wake(), { once: true });
  let lastSuccess = Date.now();
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        await callback();
        lastSuccess = Date.now();
        showBanner('request', null);
      } catch (error) {
        if (!signal.aborted) showBanner('request', bannerOfError(error, lastSuccess));
      }
    }
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, intervalMs);
      wake = () => (clearTimeout(timer), resolve(undefined));
    });
  }
}

/**
 * Returns a function that calls `callback` once, 250 ms after the last of its calls.
 *
 * @param {() => Promise<void>} callback
 */
export function debounce(callback) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => callback().catch((error) => showBanner('request', bannerOfError(error))), 250);
  };
}
