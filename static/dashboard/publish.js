// Publish an event: what its type needs, checked as it is typed, and the receipt.

import { follow } from './connection.js';
import { field, h, replace } from './dom.js';
import { ask, Refused } from './hub.js';

const MAX_NAME_BYTES = 255;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
/** Streams that only the hub writes. */
const OWN = /^(hub|jobs|chat)\.|^(system|heartbeats)$/;

/**
 * What is wrong with a name to publish to; nothing where it is none.
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
export function publish({ main, query, signal }) {
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
  const wrong = h('output', { class: 'bad', 'aria-live': 'polite' });
  const preview = h('pre', { class: 'command' });
  const receipt = h('div', { id: 'receipt', 'aria-live': 'polite' });
  const form = h('form', { class: 'card form', novalidate: true },
    field('Stream', stream), field('Type', type), h('div', { class: 'another' }, field('Which', another)),
    Object.values(parts), field('Key: the same again publishes nothing', key),
    h('div', { class: 'bar' }, button, wrong));

  const value = (/** @type {string} */ name) => form.elements.namedItem(name).value;
  /** What there is, and what is wrong with which control of it. @returns {[any, [any, string][]]} */
  const read = () => {
    const kind = type.value;
    /** @type {[any, string][]} */
    const checks = [[stream, wrongName(stream.value)]];
    const needs = (/** @type {string} */ name, /** @type {string} */ what) => checks.push([form.elements.namedItem(name), value(name).trim() === '' ? `a ${kind} has a ${what}` : '']);
    const object = (/** @type {string} */ name) => {
      const why = wrongObject(value(name));
      checks.push([form.elements.namedItem(name), why]);
      return why || value(name).trim() === '' ? undefined : JSON.parse(value(name));
    };
    const some = (/** @type {string} */ text) => (text === '' ? undefined : text);
    /** @type {any} */
    let said;
    if (kind === 'log') {
      needs('message', 'message');
      said = { level: value('level'), message: value('message'), fields: object('fields') };
    } else if (kind === 'metric') {
      needs('name', 'name');
      const number = Number(value('value'));
      checks.push([form.elements.namedItem('value'), value('value').trim() === '' || Number.isNaN(number) ? 'a metric has a number as its value' : '']);
      said = { name: value('name'), value: number, unit: some(value('unit')), labels: object('labels') };
    } else if (kind === 'heartbeat') {
      needs('source', 'source');
      said = { source: value('source'), status: some(value('status')) };
    } else {
      // Whatever looks like JSON is meant as such.
      const looks = /^\s*[[{"]/.test(data.value) || !wrongJson(data.value);
      const why = looks ? wrongJson(data.value) : '';
      checks.push([data, why]);
      said = looks && !why && data.value.trim() !== '' ? JSON.parse(data.value) : data.value;
      if (kind === 'another') {
        const name = another.value;
        const isTaken = /^hub-|^open$|^error$/.test(name);
        checks.push([another, name === '' ? 'a type has a name' : isTaken ? 'this name is taken by the hub or by browsers' : '']);
      }
    }
    const named = kind === 'another' ? another.value : kind;
    const event = { stream: stream.value, ...(named === 'message' ? {} : { type: named }), data: said, ...(key.value ? { key: key.value } : {}) };
    return [event, checks.filter(([, why]) => why !== '')];
  };
  const check = () => {
    const kind = type.value;
    for (const [name, part] of Object.entries(parts)) part.hidden = name !== (kind === 'another' ? 'message' : kind);
    form.querySelector('.another').hidden = kind !== 'another';
    const [event, bad] = read();
    for (const control of form.elements) control.removeAttribute('aria-invalid');
    for (const [control] of bad) control.setAttribute('aria-invalid', 'true');
    wrong.textContent = bad[0]?.[1] ?? '';
    button.disabled = bad.length > 0;
    preview.textContent = bad.length > 0 ? '' : JSON.stringify(event, null, 2);
  };
  form.addEventListener('input', check);
  form.addEventListener('submit', async (/** @type {Event} */ submitted) => {
    submitted.preventDefault();
    const [event, bad] = read();
    if (bad.length > 0) return;
    try {
      const { id, subscribers, duplicate } = await ask('publish', { method: 'POST', body: event });
      replace(receipt, h('p', { class: 'good' }, duplicate ? 'Published before, as ' : 'Published as ', h('code', {}, id),
        `, to ${subscribers} ${subscribers === 1 ? 'reader' : 'readers'}. `,
        h('a', { href: `#/streams/${encodeURIComponent(event.stream)}` }, 'See it')));
    } catch (error) {
      const where = error instanceof Refused && error.field ? ` (${error.field})` : '';
      replace(receipt, h('p', { class: 'bad' }, `${error instanceof Error ? error.message : error}${where}`));
    }
  });
  main.append(h('h1', {}, 'Publish'), h('div', { class: 'columns' }, form,
    h('section', { class: 'card' }, h('h2', {}, 'What is sent'), preview, receipt)));
  check();
  follow({ streams: 'heartbeats', signal });
}
