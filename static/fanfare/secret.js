// A credential: a constant, or a function that supplies one.

/** @import { Credential } from '../fanfare.d.ts' */

export class Secret {
  /** Credential that the function returned last. @type {string | null} */
  value = null;
  /** True once the hub no longer accepts the credential. */
  isSpent = false;
  /** True once the function was called, and once the hub has accepted its last result. */
  wasAsked = false;
  wasTaken = false;

  /** @param {Credential | undefined} credential */
  constructor(credential) {
    this.credential = credential;
  }

  /**
   * Returns the credential to send, or null if there is none.
   *
   * @returns {Promise<string | null>}
   */
  async get() {
    const { credential } = this;
    if (typeof credential !== 'function') return this.isSpent ? null : (credential ?? null);
    if (this.value === null || this.isSpent) {
      this.value = (await credential(this.wasAsked ? 'expired' : 'first')) ?? null;
      this.isFresh = this.wasAsked;
      [this.wasAsked, this.isSpent, this.wasTaken] = [true, false, false];
    }
    return this.value;
  }

  /** True if the current credential replaced a spent one. */
  isFresh = false;

  /**
   * Marks the credential as no longer accepted.
   *
   * @returns {boolean} True if another one may be requested: not if the current one replaced a spent
   *   one and was never accepted.
   */
  spend() {
    this.isSpent = true;
    return typeof this.credential === 'function' && (this.wasTaken || !this.isFresh);
  }
}
