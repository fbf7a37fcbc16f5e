// The page `/chat`: a conversation that survives reloads and is shown in every tab of this browser.

import { Refused, ask, why } from '../dashboard/hub.js';
import { h, replace, say } from '../dashboard/dom.js';
import { Answer } from './answer.js';
import { TurnView } from './turn.js';
import * as turns from './turns.js';

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [list, form, message, model, note] = ['turns', 'ask', 'message', 'model', 'note'].map(byId);
/** Content of the page while there is no question. */
const usual = [...byId('empty').childNodes];

/** True once the models are listed, while they are requested, and while a question waits for them. */
let [isListed, isAsking, waits] = [false, false, false];

/** Turns on the page by key, in order. @type {Map<string, { turn: turns.Turn, view: TurnView, answer: Answer }>} */
const shown = new Map();

/** Returns the conversation up to a turn's question, as messages for a model. @param {string} key */
function messagesOf(key) {
  const messages = [];
  for (const [known, { turn, answer }] of shown) {
    messages.push({ role: 'user', content: turn.message });
    if (known === key) break;
    if (answer.shown.end && answer.shown.text !== '') messages.push({ role: 'assistant', content: answer.shown.text });
  }
  return messages;
}

/** Time that another tab has to send its question before this tab sends it. */
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

/** Replaces a turn by one that asks the same question again. @param {string} key */
function retry(key) {
  const { turn } = shown.get(key) ?? {};
  if (!turn) return;
  const next = { key: turns.newKey(), message: turn.message, model: model.value || turn.model };
  turns.replace(key, next);
  draw();
}

/** Shows the stored turns and leaves those that are already shown unchanged. */
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

/** Returns the turns whose answers have not ended. */
const running = () => [...shown.values()].filter(({ answer }) => !answer.shown.end);

document.addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') running().forEach(({ turn }) => stop(turn.key));
});

byId('fresh').addEventListener('click', async () => {
  const left = running();
  if (left.length > 0 && !confirm('An answer is being written. Stop it and start a new chat?')) return;
  await Promise.all(left.map(({ turn }) => stop(turn.key)));
  turns.clear();
  draw();
  message.focus();
});

/** First and maximum delay before the list of models is requested again. */
const AGAIN_MS = { first: 1_000, most: 30_000 };

/** Lists the models that may be used. Repeats the request until it succeeds or is refused. */
async function models() {
  if (isAsking) return;
  isAsking = true;
  try {
    await listModels();
  } finally {
    isAsking = false;
  }
  if (waits && isListed) return form.requestSubmit();
  // The list was refused: the typed text stays.
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
