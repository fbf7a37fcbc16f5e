// A credential, and who is asked for another.

/** @import { Credential } from '../fanfare.d.ts' */

export class Secret {
  /** What is shown now. @type {string | null} */
  value = null;
  /** Whether the hub takes it no more. */
  isSpent = false;
  /** Whether it was asked for before, and whether the hub has taken what was given last. */
  wasAsked = false;
  wasTaken = false;

  /** @param {Credential | undefined} credential */
  constructor(credential) {
    this.credential = credential;
  }

  /**
   * What to show; null where there is nothing more that could be.
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

  /** Whether it was given in place of one that was spent. */
  isFresh = false;

  /**
   * The hub takes it no more.
   *
   * @returns {boolean} Whether it makes sense to ask for another: not where one was given just now in
   *   place of the last, and was never good.
   */
  spend() {
    this.isSpent = true;
    return typeof this.credential === 'function' && (this.wasTaken || !this.isFresh);
  }
}
