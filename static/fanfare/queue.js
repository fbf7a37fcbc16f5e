// Queue of events between a subscription and its iterator.

/** @import { FanfareEvent } from '../fanfare.d.ts' */

/** Maximum number of queued events; at this number, reading from the hub pauses. */
const MAX_QUEUED_EVENTS = 1_000;

export class Queue {
  /** True once the subscription is iterated. */
  isIterated = false;
  /** @type {FanfareEvent[]} */
  events = [];
  /** Calls of `next` that wait for an event.
   * @type {Array<{ resolve: (result: IteratorResult<FanfareEvent>) => void, reject: (error: unknown) => void }>} */
  pendingReads = [];
  /** Callbacks that wait for room in the queue. @type {Array<() => void>} */
  capacityWaiters = [];
  /** Set once the queue has ended. @type {{ error: Error | null } | null} */
  completion = null;

  /** @param {FanfareEvent} event */
  add(event) {
    if (!this.isIterated) return;
    const next = this.pendingReads.shift();
    if (next) next.resolve({ done: false, value: event });
    else this.events.push(event);
  }

  isEmpty() {
    return this.events.length === 0;
  }

  isFull() {
    return this.events.length >= MAX_QUEUED_EVENTS;
  }

  /** Resolves once the queue has room. @returns {Promise<void>} */
  async waitForCapacity() {
    if (this.isFull()) await new Promise((resolve) => this.capacityWaiters.push(() => resolve(undefined)));
  }

  /** @returns {Promise<IteratorResult<FanfareEvent>>} */
  next() {
    const event = this.events.shift();
    this.releaseWaiters();
    if (event) return Promise.resolve({ done: false, value: event });
    if (!this.completion) return new Promise((resolve, reject) => this.pendingReads.push({ resolve, reject }));
    const { error } = this.completion;
    this.completion.error = null;
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }

  /** Replaces queued events, or removes them if `replace` returns null. @param {(event: FanfareEvent) => FanfareEvent | null} replace */
  replace(replace) {
    this.events = this.events.flatMap((event) => replace(event) ?? []);
    this.releaseWaiters();
  }

  /** Ends the waits for capacity once half of the queue is free. */
  releaseWaiters() {
    if (this.events.length <= MAX_QUEUED_EVENTS >> 1) this.capacityWaiters.splice(0).forEach((resume) => resume());
  }

  /** Ends the queue: iterators throw `error` once, or end. @param {Error | null} error */
  end(error) {
    this.completion = { error };
    this.capacityWaiters.splice(0).forEach((resume) => resume());
    for (const { resolve, reject } of this.pendingReads.splice(0)) {
      if (error) reject(error);
      else resolve({ done: true, value: undefined });
    }
  }
}
