// The page: a conversation that goes on over reloads and in every tab of this browser.

import { Refused, ask, why } from '../dashboard/hub.js';
import { h, replace, say } from '../dashboard/dom.js';
import { Answer } from './answer.js';
import { TurnView } from './turn.js';
import * as turns from './turns.js';

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [list, form, message, model, note] = ['turns', 'ask', 'message', 'model', 'note'].map(byId);
/** What stands there while there is no question. */
const usual = [...byId('empty').childNodes];

/** Whether the hub has said which models there are, is asked for that, and whether a question waits. */
let [isListed, isAsking, waits] = [false, false, false];

/** What is on the page, by its key, in order. @type {Map<string, { turn: turns.Turn, view: TurnView, answer: Answer }>} */
const shown = new Map();

/** What was said before a turn, as a model is told it. @param {string} key */
function messagesOf(key) {
  const messages = [];
  for (const [known, { turn, answer }] of shown) {
    messages.push({ role: 'user', content: turn.message });
    if (known === key) break;
    if (answer.shown.end && answer.shown.text !== '') messages.push({ role: 'assistant', content: answer.shown.text });
  }
  return messages;
}

/** How long a question of another tab's may take to be asked by that. */
const ASKED_WITHIN_MS = 3_000;

/** @param {turns.Turn} turn @param {boolean} isOthers */
function show(turn, isOthers) {
  const view = new TurnView(turn.message, { stop: () => stop(turn.key), retry: () => retry(turn.key) });
  const answer = new Answer((now) => {
    view.show(now);
    if (now.chat && now.chat !== turn.chat) turns.keep(Object.assign(turn, { chat: now.chat }));
    if (now.end && !turn.end) {
      turns.keep(Object.assign(turn, { text: now.text, thought: now.thought, end: now.end }));
      if (view.element.contains(document.activeElement)) message.focus();
    }
  });
  shown.set(turn.key, { turn, view, answer });
  if (turn.end) {
    answer.shown.text = turn.text ?? '';
    answer.shown.thought = turn.thought ?? '';
    answer.over(turn.end);
    view.show(answer.shown, true);
  } else if (turn.chat) {
    answer.shown.chat = turn.chat;
    answer.read(turn.chat);
    view.show(answer.shown);
  } else {
    view.show(answer.shown);
    const asks = () => !turn.chat && answer.ask(turn.key, turn.model, messagesOf(turn.key));
    if (isOthers) setTimeout(asks, ASKED_WITHIN_MS);
    else asks();
  }
  return view;
}

/** @param {string} key */
async function stop(key) {
  const { answer } = shown.get(key) ?? {};
  if (!answer?.shown.chat) return;
  try {
    await ask(`chats/${answer.shown.chat}/stop`, { method: 'POST' });
  } catch (error) {
    say(why(error), 'bad');
  }
}

/** The same question again, in its place. @param {string} key */
function retry(key) {
  const { turn } = shown.get(key) ?? {};
  if (!turn) return;
  const next = { key: turns.newKey(), message: turn.message, model: model.value || turn.model };
  turns.replace(key, next);
  draw();
}

/** Shows what the storage has, and leaves alone what is there already. */
function draw(isOthers = false) {
  const wanted = turns.load();
  for (const [key, { view, answer }] of shown) {
    if (wanted.some((turn) => turn.key === key)) continue;
    answer.close();
    view.element.remove();
    shown.delete(key);
  }
  const order = wanted.map((turn) => [turn.key, shown.get(turn.key)]);
  const known = new Map(/** @type {any} */ (order));
  shown.clear();
  for (const turn of wanted) {
    const there = known.get(turn.key);
    if (there) shown.set(turn.key, there);
    if (there && turn.chat && !there.turn.chat) {
      there.turn.chat = turn.chat;
      there.answer.tell({ chat: turn.chat });
      there.answer.read(turn.chat);
    }
    const view = there?.view ?? show(turn, isOthers);
    const at = list.children[shown.size - 1] ?? null;
    if (at !== view.element) list.insertBefore(view.element, at);
  }
}

form.addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault();
  const text = message.value.trim();
  if (text === '') return;
  if (running().length > 0) return say('an answer is being written; stop it, or wait for its end');
  waits = !isListed;
  replace(note, waits && 'Waiting for the list of models; the question is sent then.');
  if (waits) {
    models();
    return;
  }
  message.value = '';
  turns.keep({ key: turns.newKey(), message: text, model: model.value });
  draw();
  scrollTo({ top: document.documentElement.scrollHeight });
});

message.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

/** Answers that are not over. */
const running = () => [...shown.values()].filter(({ answer }) => !answer.shown.end);

document.addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') running().forEach(({ turn }) => stop(turn.key));
});

byId('fresh').addEventListener('click', async () => {
  const left = running();
  if (left.length > 0 && !confirm('An answer is being written. Stop it, and begin anew?')) return;
  await Promise.all(left.map(({ turn }) => stop(turn.key)));
  turns.clear();
  draw();
  message.focus();
});

/** How soon the list of models is asked for again, and how late at most. */
const AGAIN_MS = { first: 1_000, most: 30_000 };

/** Shows the models that may be asked; asks again until the hub has said which. */
async function models() {
  if (isAsking) return;
  isAsking = true;
  try {
    await listModels();
  } finally {
    isAsking = false;
  }
  if (waits && isListed) return form.requestSubmit();
  // It was refused for good: what is typed stays.
  waits = false;
  replace(note);
}

async function listModels() {
  for (let pause = AGAIN_MS.first; !isListed; pause = Math.min(pause * 2, AGAIN_MS.most)) {
    try {
      const { data } = await ask('v1/models');
      replace(model, data.map((/** @type {{ id: string }} */ { id }) => h('option', { value: id }, id)));
      if (data.length === 0) return say('no model is granted to you', 'bad');
      const last = turns.chosen();
      if (data.some((/** @type {{ id: string }} */ { id }) => id === last)) model.value = last;
      isListed = true;
      replace(byId('empty'), ...usual);
    } catch (error) {
      const isRefused = error instanceof Refused && error.status < 500 && error.status !== 429;
      const needs = isRefused && error.status === 401;
      const link = h('a', { href: './#/access' }, 'log in on the dashboard');
      replace(byId('empty'), `The models are not known: ${why(error)}. `, needs && ['Please ', link, '.']);
      if (isRefused) return;
      await new Promise((resolve) => { setTimeout(resolve, pause); });
    }
  }
}

model.addEventListener('change', () => turns.choose(model.value));

turns.onChange(() => draw(true));
draw();
models();
scrollTo({ top: document.documentElement.scrollHeight });
message.focus();
