// The conversation in this browser's storage, because the hub stores answers but no questions.

/**
 * A question and its answer. `chat` is the id of the chat, once it is known; `text` and `end` are set once
 * the answer has ended.
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
    // Storage is full or forbidden: only this tab has the conversation.
  }
}

/** Stores a turn and leaves turns of other tabs unchanged. @param {Turn} turn */
export function keep(turn) {
  const turns = load();
  const at = turns.findIndex(({ key }) => key === turn.key);
  if (at < 0) turns.push(turn);
  else turns[at] = turn;
  save(turns);
}

/** Replaces the turn `key`. @param {string} key @param {Turn} turn */
export function replace(key, turn) {
  save(load().map((known) => (known.key === key ? turn : known)));
}

export const clear = () => save([]);

/** Returns the model that was chosen last. */
export const chosen = () => localStorage.getItem(`${NAME}-model`);
/** @param {string} model */
export const choose = (model) => localStorage.setItem(`${NAME}-model`, model);

/** Calls `told` when another tab has changed the conversation. @param {() => void} told */
export function onChange(told) {
  addEventListener('storage', ({ key }) => {
    if (key === NAME || key === null) told();
  });
}

/** Returns a random idempotency key, under which the hub begins a chat once. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
