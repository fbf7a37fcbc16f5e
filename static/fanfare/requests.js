// Requests other than subscriptions: publishing, subscribers of a stream, and tickets.

/** @import { Presence, PublishOptions, Receipt, RequestOptions, Ticket, TicketOptions } from '../fanfare.d.ts' */

import { resolveHubUrl } from './address.js';
import { reconnectDelay } from './backoff.js';
import { HubError } from './errors.js';
import { REQUEST_OPTIONS, checkOptions, normalizeStreams } from './options.js';
import { isRetryable, readProblem } from './problem.js';
import { callSafely } from './safely.js';
import { Secret } from './secret.js';

/** Maximum number of attempts to publish an event that has a key. */
export const MAX_ATTEMPTS = 5;
/** Delay after the first failure. */
const RETRY_MS = 500;
/** Longest delay that the hub may ask for; beyond it a request fails. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Publishes an event. See `publish` in `fanfare.d.ts`.
 *
 * @param {string | string[]} stream
 * @param {unknown} data
 * @param {PublishOptions} [options]
 * @returns {Promise<Receipt>}
 */
export async function publish(stream, data, options = {}) {
  checkOptions(options, [...REQUEST_OPTIONS, 'type', 'key']);
  checkStreamNames(stream);
  const { type, key } = options;
  const body = JSON.stringify({ stream, type, key, data });
  if (!('data' in JSON.parse(body))) throw new TypeError('`data` must be a JSON value');
  // Without a key, a repeated request could publish the event twice.
  return request('publish', { method: 'POST', body }, options, key === undefined ? 1 : MAX_ATTEMPTS);
}

/**
 * Returns the subscribers of a stream. See `presence` in `fanfare.d.ts`.
 *
 * @param {string} stream
 * @param {RequestOptions} [options]
 * @returns {Promise<Presence>}
 */
export async function presence(stream, options = {}) {
  checkOptions(options, REQUEST_OPTIONS);
  if (typeof stream !== 'string') throw new TypeError('`stream` must be a string');
  checkStreamNames(stream);
  const { subject_count: subjectCount, silent_hubs: silentHubs, ...rest } = await request(`presence/${encodeURIComponent(stream)}`, {}, options);
  return { ...rest, subjectCount, silentHubs };
}

/**
 * Creates a ticket. See `ticket` in `fanfare.d.ts`.
 *
 * @param {string | string[]} streams
 * @param {TicketOptions} [options]
 * @returns {Promise<Ticket>}
 */
export async function ticket(streams, options = {}) {
  checkOptions(options, [...REQUEST_OPTIONS, 'ttl']);
  const body = JSON.stringify({ streams: normalizeStreams(streams), ttl: options.ttl });
  const { ticket, expires_at: expiresAt } = await request('tickets', { method: 'POST', body }, options);
  return { ticket, expiresAt };
}

/** Throws unless events can be published to a stream or to a list of streams. @param {unknown} stream */
function checkStreamNames(stream) {
  for (const name of normalizeStreams(/** @type {string | string[]} */ (stream))) {
    if (name.includes('*')) throw new TypeError(`${JSON.stringify(name)} is a pattern, not the name of a stream`);
  }
}

/**
 * Sends a request and returns the JSON of its response.
 *
 * @param {string} path
 * @param {RequestInit} init
 * @param {RequestOptions} options
 * @param {number} [maxAttempts]
 * @returns {Promise<any>}
 * @throws {HubError}
 */
async function request(path, init, options, maxAttempts = 1) {
  const url = new URL(path, resolveHubUrl(options.url));
  const secret = new Secret(options.token);
  for (let failures = 0; ; ) {
    const { error, value } = await attempt(url, init, options, secret);
    if (error === undefined) return value;
    // The hub has not acted on a request whose credential it refused.
    if (error.status === 401 && secret.markExpired()) continue;
    failures += 1;
    const mayRetry = error.status === undefined || isRetryable(error.status);
    if (!mayRetry || failures >= maxAttempts || (error.retryAfterMs ?? 0) > MAX_RETRY_AFTER_MS) throw error;
    await sleep(reconnectDelay(failures, RETRY_MS, error.retryAfterMs), options.signal);
  }
}

/**
 * Sends a request once.
 *
 * @param {URL} url
 * @param {RequestInit} init
 * @param {RequestOptions} options
 * @param {Secret} secret
 * @returns {Promise<{ value?: any, error?: HubError }>}
 */
async function attempt(url, init, options, secret) {
  const { signal, credentials = 'same-origin' } = options;
  signal?.throwIfAborted();
  /** @type {Record<string, string>} */
  const headers = { ...options.headers, Accept: 'application/json' };
  if (init.body) headers['Content-Type'] = 'application/json';
  if (options.token) {
    const credential = await secret.get();
    if (!credential) return { error: new HubError({ status: 401, code: 'token_expired', detail: '`token` has returned nothing' }) };
    headers.Authorization = `Bearer ${credential}`;
  }
  try {
    const response = await (options.fetch ?? fetch)(url, { ...init, headers, credentials, cache: 'no-store', signal });
    if (!response.ok) return { error: new HubError(await readProblem(response)) };
    const text = await response.text();
    const value = callSafely(() => JSON.parse(text), true);
    if (value !== undefined) return { value };
    return { error: new HubError({ status: response.status, detail: `${url.href} sent no JSON; is \`url\` a hub?` }) };
  } catch (cause) {
    signal?.throwIfAborted();
    return { error: new HubError({ code: 'lost', detail: `no response from ${url.href}: ${cause}`, cause }) };
  }
}

/** Waits, at most until the signal is aborted. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
async function sleep(ms, signal) {
  signal?.throwIfAborted();
  /** @type {() => void} */
  let wake = () => {};
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => (clearTimeout(timer), resolve(undefined));
    signal?.addEventListener('abort', wake);
  });
  signal?.removeEventListener('abort', wake);
  signal?.throwIfAborted();
}
