// Page `Publish`: fields by type of event, checked while typing, and the receipt.

import { field, h, replace, write } from './dom.js';
import { ask, why } from './hub.js';

const MAX_NAME_BYTES = 255;
const MAX_TYPE_CHARS = 64;
const MAX_KEY_BYTES = 128;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
/** Streams that only the hub writes. */
const OWN = /^(hub|jobs|chat)\.|^(system|heartbeats)$/;

/**
 * Returns what is wrong with the name of a stream to publish to; empty if it is valid.
 *
 * @param {string} name
 */
export function wrongName(name) {
  if (name === '') return 'a stream has a name';
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) return `a name has at most ${MAX_NAME_BYTES} bytes`;
  if (/[\s\u0000-\u001f\u007f-\u009f]/.test(name)) return 'a name has no spaces and no control characters';
  if (name.includes('*')) return 'a star is for those who read: publish to one stream';
  if (name === '.' || name === '..') return 'this is no name';
  return OWN.test(name) ? 'only the hub publishes to it' : '';
}

/** @param {string} text */
function wrongJson(text) {
  if (text.trim() === '') return '';
  try {
    JSON.parse(text);
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : 'this is no JSON';
  }
}

/** @param {string} text */
function wrongObject(text) {
  const why = wrongJson(text);
  if (why || text.trim() === '') return why;
  const value = JSON.parse(text);
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? '' : 'it is an object, as {"name": "value"}';
}

/** @param {import('./main.js').Context} context */
export function publish({ main, query }) {
  const input = (/** @type {string} */ name, /** @type {any} */ more = {}) => h('input', { name, autocomplete: 'off', spellcheck: 'false', ...more });
  const stream = input('stream', { required: true, value: query.get('stream') ?? 'hello' });
  const type = h('select', { name: 'type' }, ['message', 'log', 'metric', 'heartbeat', 'another'].map((name) => h('option', {}, name)));
  const another = input('another', { placeholder: 'order' });
  const key = input('key', { maxlength: 128 });
  const data = h('textarea', { name: 'data', rows: 4, spellcheck: 'false' });
  data.value = 'hello, world';
  const parts = /** @type {Record<string, any>} */ ({
    message: h('div', {}, field('Data: JSON, or a text', data)),
    log: h('div', {},
      field('Level', h('select', { name: 'level' }, LEVELS.map((level) => h('option', { selected: level === 'info' }, level)))),
      field('Message', input('message')), field('Fields (JSON)', input('fields', { placeholder: '{"user": 7}' }))),
    metric: h('div', {},
      field('Name', input('name', { placeholder: 'queue_length' })), field('Value', input('value', { inputmode: 'decimal', placeholder: '42' })),
      field('Unit', input('unit')), field('Labels (JSON)', input('labels', { placeholder: '{"host": "a"}' }))),
    heartbeat: h('div', {}, field('Source', input('source', { placeholder: 'billing' })), field('Status', input('status', { placeholder: 'ok' }))),
  });
  const button = h('button', { class: 'main' }, 'Publish');
  const wrong = h('span', { class: 'bad', id: 'wrong', role: 'status' });
  const note = h('p', { class: 'muted' });
  const preview = h('pre', { class: 'command' });
  const receipt = h('div', { id: 'receipt', 'aria-live': 'polite' });
  const form = h('form', { class: 'card form', novalidate: true },
    field('Stream', stream), field('Type', type), h('div', { class: 'another' }, field('Custom', another)),
    Object.values(parts), field('Idempotency key (optional)', key),
    h('div', { class: 'bar' }, button, wrong));

  const value = (/** @type {string} */ name) => form.elements.namedItem(name).value;
  const json = (/** @type {any} */ of) => JSON.stringify(of);
  /** Returns the event as JSON, with numbers as typed, and the invalid controls with their errors.
   * @returns {[string, [any, string][]]} */
  const read = () => {
    const kind = type.value;
    /** @type {[any, string][]} */
    const checks = [[stream, wrongName(stream.value)]];
    const needs = (/** @type {string} */ name) => checks.push([form.elements.namedItem(name), value(name).trim() === '' ? `a ${kind} has a ${name}` : '']);
    /** @type {[string, string | undefined][]} */
    let members = [];
    const text = (/** @type {string} */ name) => members.push([name, value(name) === '' ? undefined : json(value(name))]);
    const object = (/** @type {string} */ name) => {
      checks.push([form.elements.namedItem(name), wrongObject(value(name))]);
      members.push([name, value(name).trim() || undefined]);
    };
    const named = kind === 'another' ? another.value : kind;
    let said = '';
    note.textContent = '';
    if (kind === 'log') {
      needs('message');
      members = [['level', json(value('level'))], ['message', json(value('message'))]];
      object('fields');
    } else if (kind === 'metric') {
      needs('name');
      const number = value('value').trim();
      const isNumber = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(number) && Number.isFinite(Number(number));
      checks.push([form.elements.namedItem('value'), isNumber ? '' : 'a metric has a number as its value']);
      members = [['name', json(value('name'))], ['value', number]];
      text('unit');
      object('labels');
    } else if (kind === 'heartbeat') {
      needs('source');
      text('source');
      text('status');
    } else {
      const isText = wrongJson(data.value);
      said = isText || data.value.trim() === '' ? json(data.value) : data.value;
      note.textContent = isText && /^\s*[[{"]/.test(data.value) ? `It is sent as a text, as it is no JSON: ${isText}` : '';
      const isTaken = /^hub-|^open$|^error$/.test(named);
      const isLong = [...named].length > MAX_TYPE_CHARS;
      const why = named === '' ? 'a type has a name' : isTaken ? 'this name is taken by the hub or by browsers' : isLong ? `a type has at most ${MAX_TYPE_CHARS} characters` : '';
      if (kind === 'another') checks.push([another, why]);
    }
    if (new TextEncoder().encode(key.value).length > MAX_KEY_BYTES) checks.push([key, `a key has at most ${MAX_KEY_BYTES} bytes`]);
    said ||= `{${members.filter(([, of]) => of !== undefined).map(([name, of]) => `${json(name)}: ${of}`).join(', ')}}`;
    const parts = [`"stream": ${json(stream.value)}`];
    if (named !== 'message') parts.push(`"type": ${json(named)}`);
    parts.push(`"data": ${said}`);
    if (key.value) parts.push(`"key": ${json(key.value)}`);
    return [`{${parts.join(', ')}}`, checks.filter(([, why]) => why !== '')];
  };
  let isSending = false;
  const check = () => {
    const kind = type.value;
    for (const [name, part] of Object.entries(parts)) part.hidden = name !== (kind === 'another' ? 'message' : kind);
    form.querySelector('.another').hidden = kind !== 'another';
    const [event, bad] = read();
    for (const control of form.elements) {
      control.removeAttribute('aria-invalid');
      control.removeAttribute('aria-describedby');
    }
    const [[control, why] = [null, '']] = bad;
    control?.setAttribute('aria-invalid', 'true');
    control?.setAttribute('aria-describedby', 'wrong');
    write(wrong, why);
    button.disabled = bad.length > 0 || isSending;
    preview.textContent = bad.length > 0 ? '' : event;
  };
  form.addEventListener('input', check);
  form.addEventListener('submit', async (/** @type {Event} */ submitted) => {
    submitted.preventDefault();
    const [event, bad] = read();
    if (bad.length > 0 || isSending) return;
    isSending = button.disabled = true;
    try {
      const { id, stream: to, subscribers, duplicate } = await ask('publish', { method: 'POST', body: event });
      replace(receipt, h('p', { class: 'good' }, duplicate ? 'Published before, as ' : 'Published as ', h('code', {}, id),
        `, to ${subscribers} ${subscribers === 1 ? 'reader' : 'readers'}. `,
        h('a', { href: `#/streams/${encodeURIComponent(to)}` }, 'See it')));
    } catch (error) {
      replace(receipt, h('p', { class: 'bad' }, why(error)));
    } finally {
      isSending = false;
      check();
    }
  });
  main.append(h('h1', {}, 'Publish'), h('div', { class: 'columns' }, form,
    h('section', { class: 'card' }, h('h2', {}, 'Request body'), preview, note, receipt)));
  check();
}
