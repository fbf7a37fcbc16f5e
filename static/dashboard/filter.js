// The filter of events: its grammar, as pure functions. All terms must match an event:
//
//   level>=warn order=9088 /timeout/ "two words" -noise

import { selects } from '../fanfare/selector.js';

/** Levels of a log, the lowest first. */
export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
/** Other names of levels. */
const LEVEL_ALIASES = /** @type {Record<string, string>} */ ({ warning: 'warn', err: 'error', fatal: 'critical' });

/** A name and an operator at the beginning of a term. */
const FIELD = /([\p{L}_@$][\p{L}\p{N}_@$.-]*)(!=|>=|<=|=|>|<)/uy;
/** A regular expression that is a whole term; a path such as `/var/log` is a word. */
const REGEX = /\/((?:[^/\\]|\\.)+)\/(i?)(?=\s|$)/uy;
/** A quoted text. The closing quote may be missing, because it has not been typed yet. */
const QUOTED = /"((?:[^"\\]|\\.)*)(?:"|$)/uy;
const WORD = /\S+/uy;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/**
 * A term of a filter; `start` and `end` are its position in the text.
 *
 * @typedef {{ isNegated: boolean, start: number, end: number }} TermBase
 * @typedef {TermBase & ({ kind: 'text', pattern: RegExp } | { kind: 'field', name: string, operator: string, value: string })} Term
 */
/** A parsed filter. If `error` is not empty, `terms` are those before it. @typedef {{ terms: Term[], error: string }} Filter */

/** Returns the severity of a level as a number, or -1. @param {any} level */
export function severityOf(level) {
  if (typeof level !== 'string') return -1;
  const name = level.toLowerCase();
  return LEVELS.indexOf(LEVEL_ALIASES[name] ?? name);
}

/** Returns the level of an event, or an empty string. @param {FanfareEvent} event */
export const levelOf = ({ data }) => LEVELS[severityOf(data?.level)] ?? '';

const escapeRegex = (/** @type {string} */ text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
const unescapeQuoted = (/** @type {string} */ text) => text.replace(/\\(.)/g, '$1');

/** Creates a regular expression, by the stricter rules for Unicode if it keeps to them.
 * @param {string} source @param {string} flags */
function createRegex(source, flags) {
  try {
    return new RegExp(source, `${flags}u`);
  } catch {
    return new RegExp(source, flags);
  }
}

/** Parses a filter. @param {string} text @returns {Filter} */
export function parseFilter(text) {
  /** @type {Term[]} */
  const terms = [];
  let at = 0;
  /** Returns the match of a pattern at the current position, and advances. @param {RegExp} pattern */
  const take = (pattern) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    while (/\s/.test(text[at] ?? '')) at += 1;
    if (at >= text.length) return { terms, error: '' };
    const start = at;
    const isNegated = text[at] === '-' && /\S/.test(text[at + 1] ?? '');
    if (isNegated) at += 1;
    /** @param {RegExp} pattern */
    const addText = (pattern) => terms.push({ kind: 'text', pattern, isNegated, start, end: at });
    const quoted = take(QUOTED);
    if (quoted) {
      if (quoted[1] !== '') addText(new RegExp(escapeRegex(unescapeQuoted(quoted[1])), 'giu'));
      continue;
    }
    const regex = take(REGEX);
    if (regex) {
      try {
        addText(createRegex(regex[1], `g${regex[2]}`));
      } catch (error) {
        return { terms, error: `/${regex[1]}/ is not a regular expression: ${error instanceof Error ? error.message.split(': ').at(-1) : error}` };
      }
      continue;
    }
    const fieldMatch = take(FIELD);
    if (fieldMatch) {
      const [, name, operator] = fieldMatch;
      const quotedValue = take(QUOTED);
      const value = quotedValue ? unescapeQuoted(quotedValue[1]) : take(WORD)?.[0];
      if (value === undefined) return { terms, error: `a value is missing after ${name}${operator}` };
      if (name === 'level' && severityOf(value) < 0) return { terms, error: `unknown level “${value}”; the levels are ${LEVELS.join(', ')}` };
      terms.push({ kind: 'field', name, operator, value, isNegated, start, end: at });
      continue;
    }
    addText(new RegExp(escapeRegex(/** @type {RegExpExecArray} */ (take(WORD))[0]), 'giu'));
  }
}

/** Returns a member of an object by its path, such as `customer.country` or a name with dots, or undefined.
 * @param {any} value @param {string} path @returns {any} */
function memberAt(value, path) {
  if (value === null || typeof value !== 'object') return undefined;
  if (Object.hasOwn(value, path)) return value[path];
  for (let dot = path.indexOf('.'); dot > 0; dot = path.indexOf('.', dot + 1)) {
    if (!Object.hasOwn(value, path.slice(0, dot))) continue;
    const member = memberAt(value[path.slice(0, dot)], path.slice(dot + 1));
    if (member !== undefined) return member;
  }
  return undefined;
}

/**
 * Returns a field of an event: its type or stream, or a member of the data, or else of the `fields` of a log.
 *
 * @param {FanfareEvent} event
 * @param {string} name
 */
export function fieldOf(event, name) {
  if (name === 'type' || name === 'stream') return event[name];
  const member = memberAt(event.data, name);
  return member === undefined ? memberAt(event.data?.fields, name) : member;
}

/** Returns the text of an event that words and regular expressions are compared with. @param {FanfareEvent} event */
export function textOf({ data }) {
  if (typeof data === 'string') return data;
  const json = JSON.stringify(data);
  return typeof data?.message === 'string' ? `${data.message}\n${json}` : json;
}

/** Compares a member with the text of a term: as numbers if both are, else as text. @param {any} member @param {string} value */
function compare(member, value) {
  const text = typeof member === 'object' ? JSON.stringify(member) : String(member);
  const [left, right] = [Number(text), Number(value)];
  if (text.trim() !== '' && value.trim() !== '' && !Number.isNaN(left) && !Number.isNaN(right)) return left - right;
  return text === value ? 0 : text < value ? -1 : 1;
}

const OPERATORS = /** @type {Record<string, (difference: number) => boolean>} */ ({
  '=': (n) => n === 0, '!=': (n) => n !== 0, '<': (n) => n < 0, '<=': (n) => n <= 0, '>': (n) => n > 0, '>=': (n) => n >= 0,
});

/** @param {Extract<Term, { kind: 'field' }>} term @param {FanfareEvent} event */
function matchesField({ name, operator, value }, event) {
  if (name === 'level') {
    const severity = severityOf(event.data?.level);
    return severity < 0 ? operator === '!=' : OPERATORS[operator](severity - severityOf(value));
  }
  // An event may be in several streams.
  if (name === 'stream' && (operator === '=' || operator === '!=')) {
    return (event.streams ?? [event.stream]).some((stream) => stream === value || (value.includes('*') && selects(value, stream))) === (operator === '=');
  }
  const member = fieldOf(event, name);
  return member === undefined ? operator === '!=' : OPERATORS[operator](compare(member, value));
}

/**
 * Returns true if all terms match an event.
 *
 * @param {Term[]} terms
 * @param {FanfareEvent} event
 * @param {() => string} [getText] Returns the text of the event, which is stored.
 */
export function matchesEvent(terms, event, getText = () => textOf(event)) {
  return terms.every((term) => {
    const isMatch = term.kind === 'field' ? matchesField(term, event) : getText().search(term.pattern) >= 0;
    return isMatch !== term.isNegated;
  });
}

/**
 * Splits a text into parts; those with an odd index match a word or a regular expression.
 *
 * @param {string} text
 * @param {Term[]} terms
 * @returns {string[]}
 */
export function splitMatches(text, terms) {
  /** @type {[number, number][]} */
  const ranges = [];
  for (const term of terms) {
    if (term.kind !== 'text' || term.isNegated) continue;
    for (const { index, 0: { length } } of text.matchAll(term.pattern)) if (length > 0) ranges.push([index, index + length]);
  }
  ranges.sort(([a], [b]) => a - b);
  const parts = [];
  let at = 0;
  for (const [start, end] of ranges) {
    if (end <= at) continue;
    parts.push(text.slice(at, Math.max(at, start)), text.slice(Math.max(at, start), end));
    at = end;
  }
  parts.push(text.slice(at));
  return parts;
}

/** Returns a value as it is written in a term: quoted if necessary. @param {string} value */
export const quote = (value) => (/^[^\s"\\]+$/u.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`);

/**
 * Returns a filter in which a field has one term; an empty `term` removes the field.
 *
 * @param {string} text
 * @param {string} name
 * @param {string} term
 */
export function replaceField(text, name, term) {
  const others = parseFilter(text).terms.filter((each) => each.kind === 'field' && each.name === name && !each.isNegated);
  const rest = others.reduceRight((rest, { start, end }) => rest.slice(0, start) + rest.slice(end).trimStart(), text);
  return `${rest.trim()} ${term}`.trim();
}

/** Returns the value of the only term of a field with an operator, or an empty string. @param {Term[]} terms @param {string} name @param {string} operator */
export function valueOfField(terms, name, operator) {
  const found = terms.filter((term) => term.kind === 'field' && term.name === name && !term.isNegated);
  return found.length === 1 && found[0].kind === 'field' && found[0].operator === operator ? found[0].value : '';
}
