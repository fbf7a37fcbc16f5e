// Queue of events between a subscription and its iterator.

/** @import { FanfareEvent } from '../fanfare.d.ts' */

/** Maximum number of queued events; at this number reading from the hub pauses. */
const MAX_QUEUED = 1_000;

export class Queue {
  /** True once the subscription is iterated. */
  isRead = false;
  /** @type {FanfareEvent[]} */
  events = [];
  /** @type {Array<{ resolve: (r: IteratorResult<FanfareEvent>) => void, reject: (e: unknown) => void }>} */
  waiting = [];
  /** @type {Array<() => void>} */
  readers = [];
  /** @type {{ error: Error | null } | null} */
  over = null;

  /** @param {FanfareEvent} event */
  add(event) {
    if (!this.isRead) return;
    const next = this.waiting.shift();
    if (next) next.resolve({ done: false, value: event });
    else this.events.push(event);
  }

  isEmpty() {
    return this.events.length === 0;
  }

  isFull() {
    return this.events.length >= MAX_QUEUED;
  }

  /** Resolves once there is room. @returns {Promise<void>} */
  async ready() {
    if (this.isFull()) await new Promise((resolve) => this.readers.push(() => resolve(undefined)));
  }

  /** @returns {Promise<IteratorResult<FanfareEvent>>} */
  next() {
    const event = this.events.shift();
    if (this.events.length === MAX_QUEUED >> 1) this.readers.splice(0).forEach((go) => go());
    if (event) return Promise.resolve({ done: false, value: event });
    if (!this.over) return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
    const { error } = this.over;
    this.over.error = null;
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }

  /** @param {Error | null} error */
  end(error) {
    this.over = { error };
    this.readers.splice(0).forEach((go) => go());
    for (const { resolve, reject } of this.waiting.splice(0)) {
      if (error) reject(error);
      else resolve({ done: true, value: undefined });
    }
  }
}
