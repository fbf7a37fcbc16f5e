// An answer: requested under one key until that succeeds, and read by an EventSource until it ends.

import { HUB, HubError, errorMessage, request } from '../dashboard/hub.js';

/** Delay before a failed request is repeated, multiplied by the number of attempts. */
const RETRY_DELAY_MS = 2_000;
/** Maximum number of attempts. */
const MAX_ATTEMPTS = 5;

/**
 * State of an answer: the text so far and the status beside it.
 *
 * @typedef {{ text: string, thought: string, status: string, kind: '' | 'warn' | 'bad', end: any, chat?: string }} AnswerState
 */

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Answer {
  /** @type {AnswerState} */
  state = { text: '', thought: '', status: 'asking…', kind: '', end: null };
  /** @type {EventSource | null} */
  source = null;
  isClosed = false;
  /** Length of the text in code points, not in the code units of a string. */
  characterCount = 0;

  /** @param {(state: AnswerState) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
  }

  /** @param {Partial<AnswerState>} changes */
  update(changes) {
    Object.assign(this.state, changes);
    if (!this.isClosed) this.onChange(this.state);
  }

  /**
   * Requests the answer. The same key gives the same answer, also after a reload.
   *
   * @param {string} key
   * @param {string} model
   * @param {{ role: string, content: string }[]} messages
   */
  async request(key, model, messages) {
    for (let attempt = 1; !this.isClosed; attempt += 1) {
      try {
        const chat = await request('chats', { method: 'POST', body: { model, messages }, headers: { 'Idempotency-Key': key } });
        this.update({ chat: chat.id });
        return this.read(chat.id);
      } catch (error) {
        const isTemporary = !(error instanceof HubError) || error.status === 429 || error.status >= 500;
        if (!isTemporary || attempt === MAX_ATTEMPTS) return this.fail(error);
        this.update({ status: `${errorMessage(error)}; asking again…`, kind: 'warn' });
        await sleep(RETRY_DELAY_MS * attempt);
      }
    }
  }

  /** Ends the answer, because the request has failed. @param {unknown} error */
  fail(error) {
    const hint = error instanceof HubError && error.status === 401 ? ': log in on the dashboard, under Access' : '';
    this.update({ status: `not sent: ${errorMessage(error)}${hint}`, kind: 'bad', end: { type: 'error', code: 'not_asked', message: errorMessage(error) } });
  }

  /** Reads the answer from its start, over as many connections as necessary. @param {string} chat */
  read(chat) {
    this.clearText();
    const source = new EventSource(new URL(`chats/${chat}/events`, HUB));
    this.source = source;
    let isFirst = true;
    source.onmessage = ({ data }) => this.handleEvent(JSON.parse(data));
    source.addEventListener('hub-open', ({ data }) => {
      const { resume } = JSON.parse(data);
      // The hub sends the whole answer again.
      if (!isFirst && resume !== 'resumed') this.clearText();
      if (!isFirst && !this.state.end) this.update({ status: resume === 'resumed' ? 'resumed' : 'read again from the start', kind: '' });
      isFirst = false;
    });
    source.addEventListener('hub-error', ({ data }) => {
      const { code, limit } = JSON.parse(data);
      this.update({ status: limit ? `waits: the hub's limit ${limit} is reached` : `waits: ${code}`, kind: 'warn' });
    });
    source.onerror = () => {
      if (this.state.end) return source.close();
      if (source.readyState === EventSource.CLOSED) return this.fetchOutcome(chat);
      this.update({ status: 'connection lost; reconnecting…', kind: 'warn' });
    };
  }

  /** Clears the text before the answer is read from its start. */
  clearText() {
    this.characterCount = 0;
    Object.assign(this.state, { text: '', thought: '' });
  }

  /** Requests the outcome once the browser no longer reconnects. @param {string} chat */
  async fetchOutcome(chat) {
    try {
      const { text, reasoning, status, error, finish_reason } = await request(`chats/${chat}`);
      const end = { done: { type: 'done', finish_reason }, cancelled: { type: 'cancelled' }, error }[/** @type {string} */ (status)];
      if (!end) return setTimeout(() => !this.isClosed && this.read(chat), RETRY_DELAY_MS);
      this.update({ text, thought: reasoning ?? '' });
      this.finish(end);
    } catch (error) {
      const isGone = error instanceof HubError && [404, 410].includes(error.status);
      if (isGone) return this.finish({ type: 'error', code: 'gone', message: 'the answer is no longer stored' });
      this.update({ status: `${errorMessage(error)}; going on…`, kind: 'warn' });
      setTimeout(() => !this.isClosed && this.fetchOutcome(chat), RETRY_DELAY_MS);
    }
  }

  /** @param {any} event */
  handleEvent(event) {
    const { text, thought } = this.state;
    switch (event.type) {
      case 'token': return this.appendToken(event);
      case 'reasoning': return this.update({ thought: thought + event.content, status: 'thinks…', kind: '' });
      case 'refusal': return this.update({ text: text + event.content });
      case 'status': return this.update(describeStatus(event));
      case 'redact': {
        const characters = [...text];
        // The hub redacts text that it has not sent yet.
        const replacement = [...event.replacement].slice(0, Math.max(0, characters.length - event.from_index));
        characters.splice(event.from_index, replacement.length, ...replacement);
        return this.update({ text: characters.join('') });
      }
      case 'done': case 'cancelled': case 'error': return this.finish(event);
    }
  }

  /** @param {{ content: string, index: number, n: number }} token */
  appendToken({ content, index, n }) {
    // This part is already shown: the answer was read from its start again.
    if (index + n <= this.characterCount) return;
    const addedText = [...content].slice(this.characterCount - index).join('');
    this.characterCount = index + n;
    this.update({ text: this.state.text + addedText, status: '', kind: '' });
  }

  /** Ends the answer. @param {any} end */
  finish(end) {
    this.source?.close();
    this.update({ end, ...describeEnd(end) });
  }

  close() {
    this.isClosed = true;
    this.source?.close();
  }
}

/** Returns the status text of an event of type `status`. @param {any} event @returns {Partial<AnswerState>} */
function describeStatus({ state, after_ms, reason }) {
  if (state === 'retrying') return { status: `${reason}; asked again in ${Math.ceil(after_ms / 1000)} s`, kind: 'warn' };
  if (state === 'queued') return { status: 'queued…', kind: '' };
  if (state === 'stalled') return { status: 'the model sends nothing…', kind: 'warn' };
  return { status: 'waits for the model…', kind: '' };
}

/** Returns the status text of an ended answer. @param {any} end @returns {{ status: string, kind: '' | 'warn' | 'bad' }} */
function describeEnd({ type, by, finish_reason, code, message }) {
  if (type === 'cancelled') return { status: by === 'deleted' ? 'deleted' : 'stopped', kind: 'warn' };
  if (type === 'done') return finish_reason === 'length' ? { status: 'cut off: maximum length reached', kind: 'warn' } : { status: '', kind: '' };
  if (code === 'gone' || code === 'not_asked') return { status: message, kind: 'bad' };
  const isCut = ['upstream_incomplete', 'upstream_stalled', 'hub_restarted', 'timeout'].includes(code);
  return { status: `${isCut ? 'cut' : 'failed'}: ${message}`, kind: 'bad' };
}
