// An answer: requested under one key until that succeeds, and read by an EventSource until it ends.

import { HUB, Refused, ask, why } from '../dashboard/hub.js';

/** Delay before a failed request is repeated, multiplied by the attempt; maximum number of attempts. */
const AGAIN_MS = 2_000;
const AGAIN_TIMES = 5;

/**
 * State of an answer: the text so far and the status beside it.
 *
 * @typedef {{ text: string, thought: string, state: string, kind: '' | 'warn' | 'bad', end: any, chat?: string }} Shown
 */

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Answer {
  /** @type {Shown} */
  shown = { text: '', thought: '', state: 'asking…', kind: '', end: null };
  /** @type {EventSource | null} */
  source = null;
  isClosed = false;
  /** Length of the text in code points, not in the code units of a string. */
  characters = 0;

  /** @param {(shown: Shown) => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {Partial<Shown>} news */
  tell(news) {
    Object.assign(this.shown, news);
    if (!this.isClosed) this.changed(this.shown);
  }

  /**
   * Requests the answer. The same key gives the same answer, also after a reload.
   *
   * @param {string} key
   * @param {string} model
   * @param {{ role: string, content: string }[]} messages
   */
  async ask(key, model, messages) {
    for (let times = 1; !this.isClosed; times += 1) {
      try {
        const chat = await ask('chats', { method: 'POST', body: { model, messages }, headers: { 'Idempotency-Key': key } });
        this.tell({ chat: chat.id });
        return this.read(chat.id);
      } catch (error) {
        const mayPass = !(error instanceof Refused) || error.status === 429 || error.status >= 500;
        if (!mayPass || times === AGAIN_TIMES) return this.fail(error);
        this.tell({ state: `${why(error)}; asking again…`, kind: 'warn' });
        await pause(AGAIN_MS * times);
      }
    }
  }

  /** @param {unknown} error */
  fail(error) {
    const hint = error instanceof Refused && error.status === 401 ? ': log in on the dashboard, under Access' : '';
    this.tell({ state: `not asked: ${why(error)}${hint}`, kind: 'bad', end: { type: 'error', code: 'not_asked', message: why(error) } });
  }

  /** Reads the answer from its start, over as many connections as necessary. @param {string} chat */
  read(chat) {
    this.anew();
    const source = new EventSource(new URL(`chats/${chat}/events`, HUB));
    this.source = source;
    let isFirst = true;
    source.onmessage = ({ data }) => this.hear(JSON.parse(data));
    source.addEventListener('hub-open', ({ data }) => {
      const { resume } = JSON.parse(data);
      // The hub sends the whole answer again.
      if (!isFirst && resume !== 'resumed') this.anew();
      if (!isFirst && !this.shown.end) this.tell({ state: resume === 'resumed' ? 'resumed' : 'read again from the start', kind: '' });
      isFirst = false;
    });
    source.addEventListener('hub-error', ({ data }) => {
      const { code, limit } = JSON.parse(data);
      this.tell({ state: limit ? `waits: the hub's limit ${limit} is reached` : `waits: ${code}`, kind: 'warn' });
    });
    source.onerror = () => {
      if (this.shown.end) return source.close();
      if (source.readyState === EventSource.CLOSED) return this.look(chat);
      this.tell({ state: 'connection lost; reconnecting…', kind: 'warn' });
    };
  }

  /** Clears the text before the answer is read from its start. */
  anew() {
    this.characters = 0;
    Object.assign(this.shown, { text: '', thought: '' });
  }

  /** Asks the hub for the outcome once the browser no longer reconnects. @param {string} chat */
  async look(chat) {
    try {
      const { text, reasoning, status, error, finish_reason } = await ask(`chats/${chat}`);
      const end = { done: { type: 'done', finish_reason }, cancelled: { type: 'cancelled' }, error }[/** @type {string} */ (status)];
      if (!end) return setTimeout(() => !this.isClosed && this.read(chat), AGAIN_MS);
      this.tell({ text, thought: reasoning ?? '' });
      this.over(end);
    } catch (error) {
      const isGone = error instanceof Refused && [404, 410].includes(error.status);
      if (isGone) return this.over({ type: 'error', code: 'gone', message: 'the answer is no longer stored' });
      this.tell({ state: `${why(error)}; going on…`, kind: 'warn' });
      setTimeout(() => !this.isClosed && this.look(chat), AGAIN_MS);
    }
  }

  /** @param {any} event */
  hear(event) {
    const { text, thought } = this.shown;
    switch (event.type) {
      case 'token': return this.token(event);
      case 'reasoning': return this.tell({ thought: thought + event.content, state: 'thinks…', kind: '' });
      case 'refusal': return this.tell({ text: text + event.content });
      case 'status': return this.tell(statusOf(event));
      case 'redact': {
        const characters = [...text];
        // The hub redacts text that it has not sent yet.
        const there = [...event.replacement].slice(0, Math.max(0, characters.length - event.from_index));
        characters.splice(event.from_index, there.length, ...there);
        return this.tell({ text: characters.join('') });
      }
      case 'done': case 'cancelled': case 'error': return this.over(event);
    }
  }

  /** @param {{ content: string, index: number, n: number }} token */
  token({ content, index, n }) {
    // This part is already shown: the answer was read from its start again.
    if (index + n <= this.characters) return;
    const more = [...content].slice(this.characters - index).join('');
    this.characters = index + n;
    this.tell({ text: this.shown.text + more, state: '', kind: '' });
  }

  /** @param {any} end */
  over(end) {
    this.source?.close();
    this.tell({ end, ...saidOf(end) });
  }

  close() {
    this.isClosed = true;
    this.source?.close();
  }
}

/** @param {any} event @returns {Partial<Shown>} */
function statusOf({ state, after_ms, reason }) {
  if (state === 'retrying') return { state: `${reason}; asked again in ${Math.ceil(after_ms / 1000)} s`, kind: 'warn' };
  if (state === 'queued') return { state: 'queued…', kind: '' };
  if (state === 'stalled') return { state: 'the model says nothing…', kind: 'warn' };
  return { state: 'waits for the model…', kind: '' };
}

/** @param {any} end @returns {{ state: string, kind: '' | 'warn' | 'bad' }} */
function saidOf({ type, by, finish_reason, code, message }) {
  if (type === 'cancelled') return { state: by === 'deleted' ? 'deleted' : 'stopped', kind: 'warn' };
  if (type === 'done') return finish_reason === 'length' ? { state: 'cut off: maximum length reached', kind: 'warn' } : { state: '', kind: '' };
  if (code === 'gone' || code === 'not_asked') return { state: message, kind: 'bad' };
  const isCut = ['upstream_incomplete', 'upstream_stalled', 'hub_restarted', 'timeout'].includes(code);
  return { state: `${isCut ? 'cut' : 'failed'}: ${message}`, kind: 'bad' };
}
