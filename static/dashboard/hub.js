// The hub that this page came from: what it is asked, and what is read of it.

import { subscribe } from '../fanfare.js';

/** Where the hub is, also behind a proxy that gives it a path. */
export const HUB = new URL('..', import.meta.url);

/** What the hub said instead of what was asked for (RFC 9457). */
export class Refused extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? `the hub answered ${status}`);
    this.status = status;
    this.code = problem?.code;
    this.field = problem?.field;
  }
}

/**
 * Asks, and answers what the JSON says; nothing for a 204.
 *
 * @param {string} path
 * @param {{ method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal }} [init]
 */
export async function ask(path, { method = 'GET', body, headers = {}, signal } = {}) {
  /** @type {RequestInit} */
  const request = { method, headers, signal, cache: 'no-store' };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
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
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}

/**
 * Who looks at this page. `isKnown` is false where nothing is granted to those who show nothing.
 *
 * @typedef {{ isKnown: boolean, subject: string | null, expires_at: string | null, publish: string[],
 *   subscribe: string[], run: string[], files: string[], admin: boolean }} Who
 */

/** @returns {Promise<Who>} */
export async function who() {
  try {
    return { isKnown: true, ...(await ask('session')) };
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
    return { isKnown: false, subject: null, expires_at: null, publish: [], subscribe: [], run: [], files: [], admin: false };
  }
}

/**
 * Subscribes until `signal` says so.
 *
 * @param {import('../fanfare.d.ts').Options} options
 */
export const watch = (options) => subscribe({ url: HUB, ...options });

/**
 * Does something now and every so often, while the page is shown; never twice at once.
 *
 * @param {AbortSignal} signal
 * @param {number} ms
 * @param {() => Promise<void>} act
 */
export async function every(signal, ms, act) {
  while (!signal.aborted) {
    if (!document.hidden) await act().catch(() => {});
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve(undefined)), { once: true });
    });
  }
}
