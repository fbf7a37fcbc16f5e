// The conversation in this browser's storage, because the hub stores answers but no questions.

/**
 * A question and its answer. `chat` is the id of the chat, once it is known; `text` and `end` are set once
 * the answer has ended.
 *
 * @typedef {{ key: string, message: string, model: string, chat?: string, text?: string, thought?: string,
 *   end?: any }} Turn
 */

const STORAGE_KEY = 'fanfare-chat';

/** @returns {Turn[]} */
export function load() {
  try {
    const turns = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '[]');
    return Array.isArray(turns) ? turns.filter((turn) => typeof turn?.key === 'string' && typeof turn.message === 'string') : [];
  } catch {
    return [];
  }
}

/** @param {Turn[]} turns */
function save(turns) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(turns));
  } catch {
    // Storage is full or forbidden: only this tab has the conversation.
  }
}

/** Stores a turn and leaves turns of other tabs unchanged. @param {Turn} turn */
export function store(turn) {
  const turns = load();
  const index = turns.findIndex(({ key }) => key === turn.key);
  if (index < 0) turns.push(turn);
  else turns[index] = turn;
  save(turns);
}

/** Replaces the turn `key`. @param {string} key @param {Turn} turn */
export function replace(key, turn) {
  save(load().map((other) => (other.key === key ? turn : other)));
}

export const clear = () => save([]);

/** Returns the model that was chosen last. */
export const loadSelectedModel = () => localStorage.getItem(`${STORAGE_KEY}-model`);
/** Stores the chosen model. @param {string} model */
export const saveSelectedModel = (model) => localStorage.setItem(`${STORAGE_KEY}-model`, model);

/** Calls `callback` when another tab has changed the conversation. @param {() => void} callback */
export function onChange(callback) {
  addEventListener('storage', ({ key }) => {
    if (key === STORAGE_KEY || key === null) callback();
  });
}

/** Returns a random idempotency key, under which the hub begins a chat once. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
