// A credential: a constant, or a function that supplies one.

/** @import { Credential } from '../fanfare.d.ts' */

export class Secret {
  /** Credential that the function returned last. @type {string | null} */
  value = null;
  /** True once the hub no longer accepts the credential. */
  isExpired = false;
  /** True once the function was called. */
  wasRequested = false;
  /** True once the hub has accepted the current credential. */
  wasAccepted = false;

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
    if (typeof credential !== 'function') return this.isExpired ? null : (credential ?? null);
    if (this.value === null || this.isExpired) {
      this.value = (await credential(this.wasRequested ? 'expired' : 'first')) ?? null;
      this.isReplacement = this.wasRequested;
      [this.wasRequested, this.isExpired, this.wasAccepted] = [true, false, false];
    }
    return this.value;
  }

  /** True if the current credential replaced an expired one. */
  isReplacement = false;

  /**
   * Marks the credential as no longer accepted.
   *
   * @returns {boolean} True if another one may be requested: not if the current one replaced an expired
   *   one and was never accepted.
   */
  markExpired() {
    this.isExpired = true;
    return typeof this.credential === 'function' && (this.wasAccepted || !this.isReplacement);
  }
}
