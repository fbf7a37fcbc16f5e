// Stored events up to the newest one.

/** @import { FanfareEvent, HistoryOptions } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './options.js' */

import { Connection } from './connection.js';
import { HubError } from './errors.js';
import { REQUEST_OPTIONS, checkOptions, normalizeOptions } from './options.js';
import { Queue } from './queue.js';
import { MAX_ATTEMPTS } from './requests.js';
import { callSafely } from './safely.js';
import { Secret } from './secret.js';

/**
 * Reads the stored events of streams. See `history` in `fanfare.d.ts`.
 *
 * @param {string | string[]} streams
 * @param {HistoryOptions} [options]
 * @returns {AsyncGenerator<FanfareEvent, void, void>}
 */
export function history(streams, options = {}) {
  checkOptions(options, [...REQUEST_OPTIONS, 'ticket', 'types', 'from', 'last', 'limit', 'onState']);
  return read(normalizeOptions({ from: 'start', ...options, streams }), options.limit ?? Infinity);
}

/**
 * @param {NormalizedOptions} options
 * @param {number} limit
 * @returns {AsyncGenerator<FanfareEvent, void, void>}
 */
async function* read(options, limit) {
  const { signal, streams } = options;
  signal?.throwIfAborted();
  const queue = new Queue();
  queue.isIterated = true;
  const secret = new Secret(options.token ?? options.ticket);
  const connection = new Connection(options, streams, { follow: false, secret }, {
    onEvents: (events) => events.forEach((event) => queue.add(event)),
    onState: (state) => {
      callSafely(() => options.onState?.(state));
      switch (state.state) {
        case 'ended': return queue.end(null);
        case 'refused': case 'expired': return queue.end(new HubError(state));
        case 'waiting': case 'offline': {
          if (state.attempt < MAX_ATTEMPTS) return;
          const { status, reason: code = 'lost', limit, detail } = /** @type {Partial<typeof state & { state: 'waiting' }>} */ (state);
          return queue.end(new HubError({ status, code, limit, detail }));
        }
        default:
      }
    },
    waitUntilReady: () => queue.waitForCapacity(),
    onCaughtUp: () => queue.end(null),
  });
  const abort = () => queue.end(signal?.reason);
  signal?.addEventListener('abort', abort);
  connection.run();
  try {
    for (let count = 0; count < limit; count += 1) {
      const { done, value } = await queue.next();
      if (done) return;
      yield value;
    }
  } finally {
    connection.stop();
    queue.end(null);
    signal?.removeEventListener('abort', abort);
  }
}
