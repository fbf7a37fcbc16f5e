// Watches the hub's errors and the services on every page: a counter in the title of the tab, and notifications
// and a sound, if the user has enabled them.

import { selects } from '../fanfare.js';
import { requestLines, subscribeToHub } from './hub.js';

/** Period of errors that are shown, and of heartbeats. */
const [ERROR_PERIOD_MS, HEARTBEAT_PERIOD] = [3_600_000, '24h'];
const MAX_ERRORS = 200;
const RETRY_INTERVAL_MS = 10_000;
/** Age from which an event is no news, such as after the journal was replaced. */
const NEWS_PERIOD_MS = 600_000;
const STORAGE_KEY = 'fanfare-alerts';

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** @typedef {{ source: string, stream: string, status: string, time: string }} Service */

/** Errors of the last hour, the newest last; null if the user cannot read them. @type {FanfareEvent[] | null} */
let errors = null;
/** Services by stream and source; null if the user cannot read them. @type {Map<string, Service> | null} */
let services = null;
/** Number of errors that the user has not seen on the overview. */
let unseenErrors = 0;
let title = document.title;
let controller = new AbortController();
/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {AudioContext | null} */
let audio = null;

/** Sets the title of the page. @param {string} text */
export function setTitle(text) {
  title = text;
  update();
}

/** Returns the errors and services, or null for what the user cannot read. */
export const currentAlerts = () => ({
  errors: errors?.filter(({ time }) => Date.now() - Date.parse(time) < ERROR_PERIOD_MS) ?? null,
  services: services ? [...services.values()] : null,
});

/** Calls a listener with each change. @param {AbortSignal} signal @param {() => void} listener */
export function onAlertsChange(signal, listener) {
  listeners.add(listener);
  signal.addEventListener('abort', () => listeners.delete(listener), { once: true });
}

/** Marks the errors as seen, because they are shown. */
export function markErrorsSeen() {
  if (unseenErrors === 0) return;
  unseenErrors = 0;
  update();
}

function update() {
  const down = [...services?.values() ?? []].filter(({ status }) => status === 'down').length;
  const count = down + unseenErrors;
  document.title = count > 0 ? `(${count}) ${title}` : title;
  listeners.forEach((listener) => listener());
}

/** Returns the user's settings. @returns {{ notifications: boolean, sound: boolean }} */
export function alertSettings() {
  try {
    const { notifications = false, sound = false } = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '{}');
    return { notifications: notifications && globalThis.Notification?.permission === 'granted', sound };
  } catch {
    return { notifications: false, sound: false };
  }
}

/**
 * Switches notifications or the sound on or off. Returns false if the browser does not allow it.
 *
 * @param {'notifications' | 'sound'} name
 * @param {boolean} isOn
 */
export async function setAlert(name, isOn) {
  if (isOn && name === 'notifications' && (!globalThis.Notification || await Notification.requestPermission() !== 'granted')) return false;
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify({ ...alertSettings(), [name]: isOn }));
  } catch {
    return false;
  }
  if (isOn && name === 'sound') beep();
  return true;
}

/** Plays a short tone. The browser allows it once the user has used the page. */
function beep() {
  audio ??= new AudioContext();
  const [oscillator, gain] = [audio.createOscillator(), audio.createGain()];
  oscillator.frequency.value = 660;
  gain.gain.setValueAtTime(0.15, audio.currentTime);
  gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
  oscillator.connect(gain).connect(audio.destination);
  oscillator.start();
  oscillator.stop(audio.currentTime + 0.4);
}

/** @param {string} text @param {string} tag Tabs with the same tag show one notification. */
function alertUser(text, tag) {
  const { notifications, sound } = alertSettings();
  try {
    if (notifications) new Notification('Fanfare', { body: text, tag });
    if (sound) beep();
  } catch {
    // Some phones allow no notification of a page.
  }
}

/** Takes an event. @param {FanfareEvent} event @param {boolean} isNew False for an event of the history. */
function handleEvent({ stream, type, time, data, ...event }, isNew) {
  if (stream === 'heartbeats') {
    if (type !== 'status' || typeof data?.source !== 'string') return;
    const of = [data.stream].flat()[0];
    services?.set(JSON.stringify([of, data.source]), { source: data.source, stream: String(of), status: String(data.status), time });
    if (isNew && data.status === 'down') alertUser(`The service ${data.source} is down.`, `${of} ${data.source}`);
  } else if (data?.level === 'error' || data?.level === 'critical') {
    errors = [...(errors ?? []), { stream, type, time, data, ...event }].slice(-MAX_ERRORS);
    unseenErrors += 1;
    if (isNew) alertUser(String(data.message), event.id);
  }
}

/** Reads the stored events of a stream, and returns the id of the last one. @param {string} stream @param {string} from @param {string} types */
async function readHistory(stream, from, types) {
  let lastId = '';
  const query = new URLSearchParams({ from, types, follow: 'false', format: 'ndjson', control: 'off' });
  await requestLines(`streams/${stream}/events?${query}`, controller.signal, (line) => {
    handleEvent({ ...line, streams: [line.stream] }, false);
    lastId = line.id;
    return false;
  });
  return lastId;
}

/** Watches on behalf of a user, until another one logs in. @param {import('./hub.js').User} user */
export async function watchAlerts(user) {
  controller.abort();
  controller = new AbortController();
  const { signal } = controller;
  const canRead = (/** @type {string} */ stream) => user.subscribe.some((selector) => selects(selector, stream));
  [errors, services, unseenErrors] = [user.admin ? [] : null, canRead('heartbeats') ? new Map() : null, 0];
  update();
  const streams = [...(errors ? ['hub.logs'] : []), ...(services ? ['heartbeats'] : [])];
  if (streams.length === 0) return;
  while (!signal.aborted) {
    try {
      [errors, unseenErrors] = [errors && [], 0];
      const ids = [errors ? await readHistory('hub.logs', `${ERROR_PERIOD_MS / 60_000}m`, 'log') : '', services ? await readHistory('heartbeats', HEARTBEAT_PERIOD, 'status') : ''];
      update();
      subscribeToHub({
        streams, types: ['log', 'status'], from: ids.sort().at(-1) || 'now', signal,
        onEvent: (event) => {
          handleEvent(event, Date.now() - Date.parse(event.time) < NEWS_PERIOD_MS);
          update();
        },
        onState: ({ state }) => {
          // All stored events follow.
          if (state !== 'reset') return;
          [errors, unseenErrors] = [errors && [], 0];
          services?.clear();
        },
      });
      return;
    } catch {
      // The page itself shows that the hub does not answer.
      await new Promise((resolve) => setTimeout(resolve, RETRY_INTERVAL_MS));
    }
  }
}
