// Bars that show a share. The browser's own ones look full in some dark themes.

import { h } from './dom.js';

/** Shares from which a limit is nearly reached. */
const [WARN_SHARE, BAD_SHARE] = [0.8, 0.95];

/**
 * Creates a bar. It is empty until its share is known.
 *
 * @param {string} label
 * @param {'progressbar' | 'meter'} [role]
 */
export function createBar(label, role = 'progressbar') {
  const fill = h('span');
  const element = h('span', { class: 'share', role, 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, fill);
  if (role === 'meter') element.setAttribute('aria-valuenow', '0');
  return {
    element,
    /** @param {number} share From 0 to 1. @param {string} [text] The value for screen readers. */
    set(share, text) {
      const percent = Math.max(0, Math.min(100, share * 100));
      fill.style.width = `${percent}%`;
      element.setAttribute('aria-valuenow', String(Math.round(percent * 10) / 10));
      if (text) element.setAttribute('aria-valuetext', text);
      if (role === 'meter') element.dataset.state = share >= BAD_SHARE ? 'bad' : share >= WARN_SHARE ? 'warn' : 'good';
    },
  };
}
