// Stores the last id of a subscription across loads of a page.

/** @import { PositionStorage } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './options.js' */

import { callSafely } from './safely.js';

class PositionStore {
  /**
   * @param {PositionStorage} storage
   * @param {string} key
   */
  constructor(storage, key) {
    this.storage = storage;
    this.key = key;
  }

  load() {
    return callSafely(() => this.storage.getItem(this.key), true) ?? null;
  }

  /** @param {string} id */
  save(id) {
    // Storage may be full, or forbidden.
    callSafely(() => this.storage.setItem(this.key, id), true);
  }
}

/** Returns the store of the option `remember`, or null. @param {NormalizedOptions} options */
export function createPositionStore({ remember, url, streams, types = [] }) {
  if (!remember) return null;
  if (typeof remember === 'object') return new PositionStore(remember.storage, remember.key);
  const name = typeof remember === 'string' ? remember : `${url.href} ${[...streams, ...types]}`;
  // `sessionStorage` is missing outside of a browser, and throws if it is forbidden.
  const storage = callSafely(() => sessionStorage, true);
  return storage ? new PositionStore(storage, `fanfare ${name}`) : null;
}
