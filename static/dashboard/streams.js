// Page `Streams`: all streams with their live rates, sorted and in groups.

import { showBanner, showForbidden } from './banner.js';
import { field, h, notify, setText, table, updateRows } from './dom.js';
import { formatBytes, formatCount, formatRate, formatTime } from './figures.js';
import { debounce, errorMessage, poll, request } from './hub.js';
import { showDialog } from './menu.js';
import { createPager } from './pages.js';
import { viewList } from './views.js';
import { selects } from '../fanfare.js';
import { checkSelector } from '../fanfare/selector.js';

/** Number of streams on a page of the list. */
const PAGE_SIZE = 200;
/** Maximum number of requests until an answer is not empty. */
const MAX_REQUESTS = 20;
const POLL_INTERVAL_MS = 2_000;
/** Streams that cannot be deleted, and those that only the hub ends, because it writes them. */
const HUB_STREAMS = /^heartbeats$|^system(\.|$)|^hub\./;
const ENDED_BY_HUB = /^heartbeats$|^system(\.|$)|^(hub|jobs|chat)\./;

/** A stream of the list with its rate; null if that is not known yet. @typedef {{ name: string, subscribers: number, events: number, bytes: number, last_time: string | null, state: string, rate: number | null }} Stream */
/** A row: a stream, or a group of streams. @typedef {{ key: string, stream?: Stream, group?: string, streams: Stream[] }} ListRow */

/** Values by which the columns are sorted. @type {((stream: Stream) => string | number)[]} */
const SORT_VALUES = [({ name }) => name, ({ rate }) => rate ?? -1, (stream) => stream.subscribers, ({ events }) => events, ({ bytes }) => bytes, (stream) => stream.last_time ?? '', ({ state }) => state];

/** @param {string} name */
const groupOf = (name) => (name.includes('.') ? name.slice(0, name.indexOf('.')) : '');

/**
 * Returns the rows of a list: the sorted streams, or the groups with their streams below.
 *
 * @param {Stream[]} streams
 * @param {{ column: number, isDescending: boolean, isGrouped: boolean, closed: Set<string> }} order
 * @returns {ListRow[]}
 */
export function arrange(streams, { column, isDescending, isGrouped, closed }) {
  const compare = (/** @type {string | number} */ a, /** @type {string | number} */ b) => (a < b ? -1 : a > b ? 1 : 0);
  const value = SORT_VALUES[column];
  const sorted = streams.toSorted((a, b) => (isDescending ? -1 : 1) * compare(value(a), value(b)) || compare(a.name, b.name));
  const toRow = (/** @type {Stream} */ stream) => ({ key: `${stream.state} ${stream.name}`, stream, streams: [stream] });
  if (!isGrouped) return sorted.map(toRow);
  /** @type {Map<string, Stream[]>} */
  const groups = new Map();
  for (const stream of sorted) {
    // A name of one part is a group of its own, without a heading.
    const key = groupOf(stream.name) || `${stream.name} `;
    groups.set(key, [...(groups.get(key) ?? []), stream]);
  }
  return [...groups].flatMap(([group, members]) => (group.endsWith(' ') ? members.map(toRow)
    : [{ key: `group ${group}`, group, streams: members }, ...(closed.has(group) ? [] : members.map(toRow))]));
}

/** Shows a stream. @param {import('./main.js').Context} context @param {string} name */
async function openStream(context, name) {
  try {
    const page = await import('./stream.js');
    if (!context.signal.aborted) page.openStream(context, name);
  } catch (error) {
    if (!context.signal.aborted) showBanner('page', { kind: 'bad', text: `This page cannot be shown: ${errorMessage(error)}` });
  }
}

/** @param {import('./main.js').Context} context */
export async function streams(context) {
  const { main, path, query, user, signal } = context;
  if (path.length > 0) return openStream(context, path.join('/'));
  if (!user.isKnown) {
    main.append(h('h1', {}, 'Streams'));
    showForbidden('You cannot read any stream.');
    return;
  }

  const prefix = h('input', { name: 'prefix', type: 'search', 'data-search': true, placeholder: 'builds.', autocomplete: 'off', spellcheck: 'false' });
  const pattern = h('input', { name: 'watch', placeholder: '**', autocomplete: 'off', spellcheck: 'false', required: true });
  const grouping = h('input', { name: 'grouped', type: 'checkbox', onchange: () => draw() });
  const errorElement = h('span', { class: 'bad', role: 'status' });
  const more = h('span', { class: 'muted' });
  const pager = createPager(`Next ${PAGE_SIZE}`, () => refresh());
  const order = { column: 0, isDescending: false, isGrouped: false, /** @type {Set<string>} */ closed: new Set() };
  const list = table('Streams', ['name', ['rate'], ['readers'], ['events'], ['kept'], ['last event'], 'state', ''], (column) => {
    // The first click on a number shows the largest ones.
    [order.column, order.isDescending] = [column, order.column === column ? !order.isDescending : column > 0 && column < 6];
    draw();
  });
  const openPattern = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const selectors = pattern.value.split(/\s+/).filter(Boolean);
      selectors.forEach(checkSelector);
      location.hash = `#/streams/${encodeURIComponent(selectors.join(' '))}`;
    } catch (error) {
      setText(errorElement, error instanceof Error ? error.message : String(error));
    }
  };
  const savedViews = h('ul', { class: 'saved' });
  const drawViews = () => {
    const views = viewList(drawViews);
    savedViews.hidden = views.length === 0;
    savedViews.replaceChildren(h('li', { class: 'muted' }, 'Saved views'), ...views);
  };
  drawViews();
  main.append(
    h('h1', {}, 'Streams'),
    h('div', { class: 'bar' },
      h('form', { onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, field('Names that begin with', prefix)),
      h('form', { onsubmit: openPattern }, field('Or watch streams and patterns', pattern), h('button', {}, 'Watch'), errorElement),
      h('label', { class: 'switch' }, grouping, 'Group by the first part')),
    savedViews, list.element, h('p', { class: 'bar' }, more, pager.buttons));
  prefix.value = query.get('prefix') ?? '';

  /** @type {Stream[]} */
  let shown = [];
  let hasMore = false;
  /** Previous count of each stream, its time, and the rate. @type {Map<string, [number, number, number | null]>} */
  const previousCounts = new Map();
  /** Returns the rate of a stream since the previous request. @param {any} stream @param {number} now */
  const rateOf = (stream, now) => {
    const [previousPublished, previousTime, previousRate] = previousCounts.get(stream.name) ?? [stream.published, now, null];
    // A rate over less than a second is inaccurate.
    const isRateDue = now - previousTime >= 1_000;
    const rate = isRateDue ? Math.max(0, stream.published - previousPublished) / ((now - previousTime) / 1000) : previousRate;
    if (isRateDue || !previousCounts.has(stream.name)) previousCounts.set(stream.name, [stream.published, now, rate]);
    return rate;
  };
  const canEnd = (/** @type {string} */ name) => !ENDED_BY_HUB.test(name) && user.end.some((selector) => selects(selector, name));
  const canDelete = (/** @type {string} */ name) => !HUB_STREAMS.test(name) && user.admin;
  /** @param {'POST' | 'DELETE'} method @param {Stream} stream */
  const change = async (method, { name, events }) => {
    const stored = `${formatCount(events)} stored ${events === 1 ? 'event' : 'events'}`;
    const text = method === 'POST' ? `No further event can be published to it. Its ${stored} stay readable.` : `Its ${stored} are deleted, which cannot be undone. Afterwards the name can be used again.`;
    if (!await showDialog(`${method === 'POST' ? 'End' : 'Delete'} the stream ${name}?`, [h('p', {}, text)], method === 'POST' ? 'End the stream' : 'Delete the stream')) return;
    try {
      await request(`streams/${encodeURIComponent(name)}${method === 'POST' ? '/end' : ''}`, { method });
      notify(method === 'POST' ? 'The stream has ended.' : 'The stream was deleted.', 'good');
      await refresh();
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };
  /** @param {Stream} stream */
  const actionsOf = (stream) => {
    const button = (/** @type {'POST' | 'DELETE'} */ method, /** @type {string} */ label) => h('button', {
      type: 'button', class: 'small', 'aria-label': `${label} ${stream.name}`, onclick: () => change(method, shown.find(({ name }) => name === stream.name) ?? stream),
    }, label);
    return h('span', { class: 'actions' }, canEnd(stream.name) && stream.state === 'open' ? button('POST', 'End') : null, canDelete(stream.name) ? button('DELETE', 'Delete') : null);
  };
  const toggle = (/** @type {string} */ group) => {
    if (!order.closed.delete(group)) order.closed.add(group);
    draw();
  };
  const draw = () => {
    order.isGrouped = grouping.checked;
    list.showSort(order.column, order.isDescending);
    const sum = (/** @type {Stream[]} */ members, /** @type {(stream: Stream) => number} */ value) => members.reduce((total, stream) => total + value(stream), 0);
    updateRows(list.body, arrange(shown, order), ({ key }) => key, ({ stream, group, streams: members }) => {
      const lastTime = members.reduce((latest, { last_time: time }) => (time && time > latest ? time : latest), '');
      const isRateKnown = members.some(({ rate }) => rate !== null);
      return [
        stream ? h('a', { href: `#/streams/${encodeURIComponent(stream.name)}` }, stream.name)
          : h('span', {}, h('button', { type: 'button', class: 'small', 'aria-label': `Show or hide the streams of ${group}`, onclick: () => toggle(String(group)) }, '▾'), ' ', h('a', { href: `#/streams/${encodeURIComponent(`${group}.**`)}` }, `${group}.**`)),
        isRateKnown ? formatRate(sum(members, ({ rate }) => rate ?? 0)) : '–',
        formatCount(sum(members, ({ subscribers }) => subscribers)), formatCount(sum(members, ({ events }) => events)), formatBytes(sum(members, ({ bytes }) => bytes)),
        lastTime ? formatTime(lastTime) : '–',
        stream ? stream.state : `${formatCount(members.length)} ${members.length === 1 ? 'stream' : 'streams'}`,
        stream ? actionsOf(stream) : '',
      ];
    });
    const emptyText = prefix.value === '' ? 'No streams yet. A stream appears here with its first event.' : 'No name starts with this.';
    const sortText = order.column > 0 || order.isDescending ? ' They are sorted within this page.' : '';
    setText(more, shown.length === 0 ? emptyText : hasMore ? `There are more.${sortText}` : '');
  };
  let latestRequest = 0;
  const refresh = async () => {
    const thisRequest = latestRequest += 1;
    const page = await fetchPage(prefix.value, pager.after(), signal);
    // A later request has been sent.
    if (thisRequest !== latestRequest) return;
    pager.update(page.next);
    const now = performance.now();
    hasMore = page.next !== null;
    shown = page.streams.map((/** @type {any} */ stream) => ({ ...stream, rate: rateOf(stream, now) }));
    draw();
  };
  const refilter = debounce(refresh);
  prefix.addEventListener('input', () => {
    pager.first();
    refilter();
  });
  poll(signal, POLL_INTERVAL_MS, refresh);
}

/**
 * Returns a page of streams. Skips empty answers, which occur if few of many streams may be read.
 *
 * @param {string} prefix
 * @param {string | null} after
 * @param {AbortSignal} signal
 */
async function fetchPage(prefix, after, signal) {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), prefix });
  if (after !== null) query.set('after', after);
  for (let requests = 1; ; requests += 1) {
    const { streams, next } = await request(`streams?${query}`, { signal });
    if (streams.length > 0 || next === null || requests >= MAX_REQUESTS) return { streams, next };
    query.set('after', next);
  }
}
