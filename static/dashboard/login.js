// Login: the form, and the page that is shown where something needs a login.

import { field, h, notify, setText } from './dom.js';
import { errorMessage, request } from './hub.js';

/** Stores a credential in a cookie that no script can read. @param {string} credential */
export async function logIn(credential) {
  await request('session', { method: 'POST', headers: { Authorization: `Bearer ${credential.trim()}` } });
  notify('You are logged in.', 'good');
}

/**
 * Returns the form.
 *
 * @param {() => void} onLogin
 * @param {string} [username] Name for password managers.
 */
export function loginForm(onLogin, username = 'fanfare') {
  const token = h('input', { name: 'token', type: 'password', required: true, autocomplete: 'current-password', spellcheck: 'false' });
  const errorElement = h('span', { class: 'bad', role: 'status' });
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await logIn(token.value);
      token.value = '';
      onLogin();
    } catch (error) {
      setText(errorElement, errorMessage(error));
    }
  };
  return h('form', { class: 'form', onsubmit: submit },
    h('input', { name: 'username', autocomplete: 'username', value: username, hidden: true }),
    field('An API key or a token', token),
    h('p', { class: 'muted' }, 'It is kept in a cookie that no script can read.'),
    h('div', { class: 'bar' }, h('button', { class: 'main' }, 'Log in'), errorElement));
}

/** Draws the page. `reason` is the reason for the login.
 * @param {HTMLElement} main @param {string} reason @param {() => void} onLogin */
export function drawLogin(main, reason, onLogin) {
  main.append(h('h1', {}, 'Log in'), h('section', { class: 'card narrow' },
    h('p', {}, reason),
    loginForm(onLogin),
    h('p', { class: 'muted' }, 'A hub that was started without keys printed an admin key and a link for the login at its first start. An operator makes further keys with ',
      h('code', {}, 'fanfare token key NAME'), '.')));
}
