'use client';
// React hook of a subscription.

/** @import { FanfareEvent, State, SubscriptionOptions } from '../fanfare.d.ts' */
/** @import { StreamOptions, StreamResult } from './react.d.ts' */

import { useEffect, useRef, useState } from 'react';
import { subscribe } from '../fanfare.js';

/** Number of newest events that are kept by default. */
const DEFAULT_LIMIT = 100;

/** @type {State} */
const CONNECTING = { state: 'connecting', attempt: 0 };

/**
 * Subscribes while the component is mounted. See `useStream` in `react.d.ts`.
 *
 * @param {StreamOptions | null | undefined} options
 * @returns {StreamResult}
 */
export function useStream(options) {
  const key = options ? keyOf(options) : null;
  const latest = useRef(options);
  const [result, setResult] = useState(() => initialResult(key));

  useEffect(() => {
    // Callbacks are those of the last render.
    latest.current = options;
  });

  useEffect(() => {
    if (key === null || !latest.current) return undefined;
    /** @param {(previous: StreamResult) => Partial<StreamResult>} change */
    const update = (change) => setResult((previous) => {
      const current = previous.key === key ? previous : initialResult(key);
      return { ...current, ...change(current) };
    });
    const { limit: _, ...rest } = latest.current;
    const subscription = subscribe({
      ...withLatestFunctions(rest, () => latest.current ?? rest),
      onEvents: (batch) => {
        latest.current?.onEvents?.(batch);
        const limit = latest.current?.limit ?? DEFAULT_LIMIT;
        update(({ events }) => ({ events: keepNewest([...events, ...batch], limit), event: batch[batch.length - 1] }));
      },
      onState: (state) => {
        latest.current?.onState?.(state);
        // After a reset every stored event follows again.
        update(() => (state.state === 'reset' ? { state, events: [], event: null } : { state }));
      },
    });
    return () => subscription.close();
  }, [key, options?.signal, options?.fetch, storageOf(options)]);

  const { events, event, state } = result.key === key ? result : initialResult(key);
  return { events, event, state };
}

/** @param {string | null} key @returns {StreamResult & { key: string | null }} */
const initialResult = (key) => ({ key, events: [], event: null, state: key === null ? null : CONNECTING });

/** @param {FanfareEvent[]} events @param {number} limit */
const keepNewest = (events, limit) => (events.length > limit ? events.slice(events.length - limit) : events);

/** @param {StreamOptions | null | undefined} options */
const storageOf = (options) => (typeof options?.remember === 'object' ? options.remember.storage : undefined);

/**
 * Returns a text that is the same for options that subscribe to the same; functions count as equal.
 *
 * @param {StreamOptions} options
 */
function keyOf({ limit, signal, fetch, remember, ...rest }) {
  const name = typeof remember === 'object' ? remember.key : remember;
  return JSON.stringify({ ...rest, remember: name }, (_, value) => (typeof value === 'function' ? 'function' : value));
}

/**
 * Returns options whose functions call those of the last render.
 *
 * @param {SubscriptionOptions} options
 * @param {() => SubscriptionOptions} latest
 * @returns {SubscriptionOptions}
 */
function withLatestFunctions(options, latest) {
  /** @type {Record<string, unknown>} */
  const wrapped = {};
  for (const name of /** @type {const} */ (['token', 'ticket', 'onEvent'])) {
    if (typeof options[name] !== 'function') continue;
    wrapped[name] = (/** @type {any} */ argument) => /** @type {any} */ (latest()[name])?.(argument);
  }
  return { ...options, ...wrapped };
}
