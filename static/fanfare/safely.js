// Calls of functions that may throw.

/**
 * Calls a function; an error that it throws is reported, but not passed on.
 *
 * @template T
 * @param {() => T} callback
 * @param {boolean} [isExpected] True if errors are expected and not reported.
 * @returns {T | undefined}
 */
export function callSafely(callback, isExpected = false) {
  try {
    return callback();
  } catch (error) {
    if (!isExpected) (globalThis.reportError ?? console.error)(error);
    return undefined;
  }
}
