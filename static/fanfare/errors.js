// Errors of the hub and of subscriptions.

/** @import { FinalState, ProblemDetails } from '../fanfare.d.ts' */

/** Error of a request that the hub refused, or that did not reach it. */
export class HubError extends Error {
  /**
   * @param {ProblemDetails} problem
   * @param {string} [prefix] What failed.
   */
  constructor(problem, prefix = '') {
    const { status, code, field, limit, detail, retryAfterMs, cause } = problem;
    const reason = detail ?? code ?? (status === undefined ? 'no response' : `status ${status}`);
    super(`${prefix && `${prefix}: `}${reason}`, cause === undefined ? undefined : { cause });
    this.name = 'HubError';
    this.status = status;
    this.code = code;
    this.field = field;
    this.limit = limit;
    this.detail = detail;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Error of an iterated subscription that was refused or has expired. */
export class SubscriptionError extends HubError {
  /** @param {Extract<FinalState, { state: 'refused' | 'expired' }>} state */
  constructor(state) {
    super(state, state.state);
    this.name = 'SubscriptionError';
    this.state = state;
  }
}
