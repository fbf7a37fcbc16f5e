// Page `Publish`: fields by type of event, checked while typing, and the receipt.

import { field, h, replaceChildren, setText } from './dom.js';
import { errorMessage, request } from './hub.js';

const MAX_NAME_BYTES = 255;
const MAX_TYPE_CHARS = 64;
const MAX_KEY_BYTES = 128;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
/** Streams that only the hub writes. */
const HUB_STREAMS = /^(hub|jobs|chat)\.|^system(\.|$)|^heartbeats$/;

/**
 * Returns an error if a stream cannot be published to by this name, or an empty string.
 *
 * @param {string} name
 */
export function nameError(name) {
  if (name === '') return 'enter the name of a stream';
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) return `a name has at most ${MAX_NAME_BYTES} bytes`;
  if (/[\s\u0000-\u001f\u007f-\u009f]/.test(name)) return 'a name has no spaces and no control characters';
  if (name.includes('*')) return 'the name of a stream has no wildcards';
  if (name === '.' || name === '..') return '“.” and “..” are not valid names';
  return HUB_STREAMS.test(name) ? 'only the hub publishes to it' : '';
}

/** Returns an error if a text is neither blank nor JSON, or an empty string. @param {string} text */
function jsonError(text) {
  if (text.trim() === '') return '';
  try {
    JSON.parse(text);
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : 'invalid JSON';
  }
}

/** Returns an error if a text is neither blank nor a JSON object, or an empty string. @param {string} text */
function objectError(text) {
  const error = jsonError(text);
  if (error || text.trim() === '') return error;
  const value = JSON.parse(text);
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? '' : 'it is an object, as {"name": "value"}';
}

/** @param {import('./main.js').Context} context */
export function publish({ main, query }) {
  const input = (/** @type {string} */ name, /** @type {any} */ more = {}) => h('input', { name, autocomplete: 'off', spellcheck: 'false', ...more });
  const streamInput = input('stream', { required: true, value: query.get('stream') ?? 'hello' });
  const typeSelect = h('select', { name: 'type' }, ['message', 'log', 'metric', 'heartbeat', 'another'].map((name) => h('option', {}, name)));
  const customType = input('another', { placeholder: 'order' });
  const keyInput = input('key', { maxlength: 128 });
  const dataInput = h('textarea', { name: 'data', rows: 4, spellcheck: 'false' });
  dataInput.value = 'hello, world';
  const fieldsets = /** @type {Record<string, any>} */ ({
    message: h('div', {}, field('Data: JSON, or a text', dataInput)),
    log: h('div', {},
      field('Level', h('select', { name: 'level' }, LEVELS.map((level) => h('option', { selected: level === 'info' }, level)))),
      field('Message', input('message')), field('Fields (JSON)', input('fields', { placeholder: '{"user": 7}' }))),
    metric: h('div', {},
      field('Name', input('name', { placeholder: 'queue_length' })), field('Value', input('value', { inputmode: 'decimal', placeholder: '42' })),
      field('Unit', input('unit')), field('Labels (JSON)', input('labels', { placeholder: '{"host": "a"}' }))),
    heartbeat: h('div', {}, field('Source', input('source', { placeholder: 'billing' })), field('Status', input('status', { placeholder: 'ok' }))),
  });
  const publishButton = h('button', { class: 'main' }, 'Publish');
  const errorElement = h('span', { class: 'bad', id: 'wrong', role: 'status' });
  const noteElement = h('p', { class: 'muted' });
  const previewElement = h('pre', { class: 'command' });
  const receiptElement = h('div', { id: 'receipt', 'aria-live': 'polite' });
  const form = h('form', { class: 'card form', novalidate: true },
    field('Stream', streamInput), field('Type', typeSelect), h('div', { class: 'another' }, field('Custom', customType)),
    Object.values(fieldsets), field('Idempotency key (optional)', keyInput),
    h('div', { class: 'bar' }, publishButton, errorElement));

  const value = (/** @type {string} */ name) => form.elements.namedItem(name).value;
  const toJson = (/** @type {any} */ value) => JSON.stringify(value);
  /** Returns the request body as JSON, with numbers as typed, and the invalid controls with their errors.
   * @returns {[string, [any, string][]]} */
  const readForm = () => {
    const kind = typeSelect.value;
    /** @type {[any, string][]} */
    const checks = [[streamInput, nameError(streamInput.value)]];
    const requireField = (/** @type {string} */ name) => checks.push([form.elements.namedItem(name), value(name).trim() === '' ? `a ${kind} has a ${name}` : '']);
    /** @type {[string, string | undefined][]} */
    let members = [];
    const addText = (/** @type {string} */ name) => members.push([name, value(name) === '' ? undefined : toJson(value(name))]);
    const addObject = (/** @type {string} */ name) => {
      checks.push([form.elements.namedItem(name), objectError(value(name))]);
      members.push([name, value(name).trim() || undefined]);
    };
    const typeName = kind === 'another' ? customType.value : kind;
    let dataJson = '';
    noteElement.textContent = '';
    if (kind === 'log') {
      requireField('message');
      members = [['level', toJson(value('level'))], ['message', toJson(value('message'))]];
      addObject('fields');
    } else if (kind === 'metric') {
      requireField('name');
      const number = value('value').trim();
      const isNumber = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(number) && Number.isFinite(Number(number));
      checks.push([form.elements.namedItem('value'), isNumber ? '' : 'a metric has a number as its value']);
      members = [['name', toJson(value('name'))], ['value', number]];
      addText('unit');
      addObject('labels');
    } else if (kind === 'heartbeat') {
      requireField('source');
      addText('source');
      addText('status');
    } else {
      const parseError = jsonError(dataInput.value);
      dataJson = parseError || dataInput.value.trim() === '' ? toJson(dataInput.value) : dataInput.value;
      noteElement.textContent = parseError && /^\s*[[{"]/.test(dataInput.value) ? `Not valid JSON, so it is sent as text: ${parseError}` : '';
      const isReserved = /^hub-|^open$|^error$/.test(typeName);
      const isTooLong = [...typeName].length > MAX_TYPE_CHARS;
      const error = typeName === '' ? 'a type has a name'
        : isReserved ? 'this name is taken by the hub or by browsers'
        : isTooLong ? `a type has at most ${MAX_TYPE_CHARS} characters` : '';
      if (kind === 'another') checks.push([customType, error]);
    }
    if (new TextEncoder().encode(keyInput.value).length > MAX_KEY_BYTES) checks.push([keyInput, `a key has at most ${MAX_KEY_BYTES} bytes`]);
    dataJson ||= `{${members.filter(([, json]) => json !== undefined).map(([name, json]) => `${toJson(name)}: ${json}`).join(', ')}}`;
    const bodyMembers = [`"stream": ${toJson(streamInput.value)}`];
    if (typeName !== 'message') bodyMembers.push(`"type": ${toJson(typeName)}`);
    bodyMembers.push(`"data": ${dataJson}`);
    if (keyInput.value) bodyMembers.push(`"key": ${toJson(keyInput.value)}`);
    return [`{${bodyMembers.join(', ')}}`, checks.filter(([, error]) => error !== '')];
  };
  let isSending = false;
  const validate = () => {
    const kind = typeSelect.value;
    for (const [name, fieldset] of Object.entries(fieldsets)) fieldset.hidden = name !== (kind === 'another' ? 'message' : kind);
    form.querySelector('.another').hidden = kind !== 'another';
    const [body, errors] = readForm();
    for (const control of form.elements) {
      control.removeAttribute('aria-invalid');
      control.removeAttribute('aria-describedby');
    }
    const [[control, error] = [null, '']] = errors;
    control?.setAttribute('aria-invalid', 'true');
    control?.setAttribute('aria-describedby', 'wrong');
    setText(errorElement, error);
    publishButton.disabled = errors.length > 0 || isSending;
    previewElement.textContent = errors.length > 0 ? '' : body;
  };
  form.addEventListener('input', validate);
  form.addEventListener('submit', async (/** @type {Event} */ event) => {
    event.preventDefault();
    const [body, errors] = readForm();
    if (errors.length > 0 || isSending) return;
    isSending = publishButton.disabled = true;
    try {
      const { id, stream: publishedStream, subscribers, duplicate } = await request('publish', { method: 'POST', body });
      replaceChildren(receiptElement, h('p', { class: 'good' }, duplicate ? 'Published before, as ' : 'Published as ', h('code', {}, id),
        `, to ${subscribers} ${subscribers === 1 ? 'reader' : 'readers'}. `,
        h('a', { href: `#/streams/${encodeURIComponent(publishedStream)}` }, 'See it')));
    } catch (error) {
      replaceChildren(receiptElement, h('p', { class: 'bad' }, errorMessage(error)));
    } finally {
      isSending = false;
      validate();
    }
  });
  main.append(h('h1', {}, 'Publish'), h('div', { class: 'columns' }, form,
    h('section', { class: 'card' }, h('h2', {}, 'Request body'), previewElement, noteElement, receiptElement)));
  validate();
}
