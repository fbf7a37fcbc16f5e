// Stores the last id of a subscription across loads of a page.

/** @import { Place } from '../fanfare.d.ts' */
/** @import { Meant } from './subscription.js' */

import { attempt } from './connection.js';

class Memory {
  /**
   * @param {Place} storage
   * @param {string} key
   */
  constructor(storage, key) {
    this.storage = storage;
    this.key = key;
  }

  load() {
    return attempt(() => this.storage.getItem(this.key), true) ?? null;
  }

  /** @param {string} place */
  save(place) {
    // Storage may be full, or forbidden.
    attempt(() => this.storage.setItem(this.key, place), true);
  }
}

/** @param {Meant} options */
export function memoryOf({ remember, url, streams, types = [] }) {
  if (!remember) return null;
  if (typeof remember === 'object') return new Memory(remember.storage, remember.key);
  const name = typeof remember === 'string' ? remember : `${url.href} ${[...streams, ...types]}`;
  // `sessionStorage` is missing outside of a browser, and throws if it is forbidden.
  const storage = attempt(() => sessionStorage, true);
  return storage ? new Memory(storage, `fanfare ${name}`) : null;
}
