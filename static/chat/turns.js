// The conversation, in this browser's storage: the hub keeps answers, and not what was asked.

/**
 * One question and its answer. `chat` is the hub's name for it, once it is known; `text` and `end` are the answer,
 * once it is over.
 *
 * @typedef {{ key: string, message: string, model: string, chat?: string, text?: string, thought?: string,
 *   end?: any }} Turn
 */

const NAME = 'fanfare-chat';

/** @returns {Turn[]} */
export function load() {
  try {
    const turns = JSON.parse(localStorage.getItem(NAME) ?? '[]');
    return Array.isArray(turns) ? turns.filter((turn) => typeof turn?.key === 'string' && typeof turn.message === 'string') : [];
  } catch {
    return [];
  }
}

/** @param {Turn[]} turns */
function save(turns) {
  try {
    localStorage.setItem(NAME, JSON.stringify(turns));
  } catch {
    // Full, or not allowed: the conversation is this tab's alone.
  }
}

/** What is said of one turn stays with what other tabs have said. @param {Turn} turn */
export function keep(turn) {
  const turns = load();
  const at = turns.findIndex(({ key }) => key === turn.key);
  if (at < 0) turns.push(turn);
  else turns[at] = turn;
  save(turns);
}

/** One takes the place of another. @param {string} key @param {Turn} turn */
export function replace(key, turn) {
  save(load().map((known) => (known.key === key ? turn : known)));
}

export const clear = () => save([]);

/** The model that was asked last. */
export const chosen = () => localStorage.getItem(`${NAME}-model`);
/** @param {string} model */
export const choose = (model) => localStorage.setItem(`${NAME}-model`, model);

/** Told when another tab has changed it. @param {() => void} told */
export function onChange(told) {
  addEventListener('storage', ({ key }) => {
    if (key === NAME || key === null) told();
  });
}

/** A name that nobody else has: the key under which the hub begins it once. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
