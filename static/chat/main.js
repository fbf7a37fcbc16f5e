// The page `/chat`: a conversation that survives reloads and is shown in every tab of this browser.

import { HubError, errorMessage, request } from '../dashboard/hub.js';
import { h, notify, replaceChildren } from '../dashboard/dom.js';
import { Answer } from './answer.js';
import { TurnView } from './turn.js';
import * as turns from './turns.js';

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [list, form, message, model, noteElement] = ['turns', 'ask', 'message', 'model', 'note'].map(byId);
/** Content of the page while there is no question. */
const emptyContent = [...byId('empty').childNodes];

/** True once the models are listed; while they are requested; while a question waits for them. */
let [hasModels, isLoadingModels, isSubmitPending] = [false, false, false];

/** Turns on the page by key, in order. @type {Map<string, { turn: turns.Turn, view: TurnView, answer: Answer }>} */
const entries = new Map();

/** Returns the conversation up to a turn's question, as messages for a model. @param {string} key */
function conversationUpTo(key) {
  const messages = [];
  for (const [entryKey, { turn, answer }] of entries) {
    messages.push({ role: 'user', content: turn.message });
    if (entryKey === key) break;
    if (answer.state.end && answer.state.text !== '') messages.push({ role: 'assistant', content: answer.state.text });
  }
  return messages;
}

/** Time for another tab to send its own question, after which this tab sends it. */
const OTHER_TAB_REQUEST_MS = 3_000;

/** Adds a turn and reads or requests its answer. @param {turns.Turn} turn @param {boolean} isFromOtherTab */
function showTurn(turn, isFromOtherTab) {
  const view = new TurnView(turn.message, { stop: () => stopAnswer(turn.key), retry: () => retryTurn(turn.key) });
  const answer = new Answer((state) => {
    view.show(state);
    if (state.chat && state.chat !== turn.chat) turns.store(Object.assign(turn, { chat: state.chat }));
    if (state.end && !turn.end) {
      turns.store(Object.assign(turn, { text: state.text, thought: state.thought, end: state.end }));
      if (view.element.contains(document.activeElement)) message.focus();
    }
  });
  entries.set(turn.key, { turn, view, answer });
  if (turn.end) {
    answer.state.text = turn.text ?? '';
    answer.state.thought = turn.thought ?? '';
    answer.finish(turn.end);
    view.show(answer.state, true);
  } else if (turn.chat) {
    answer.state.chat = turn.chat;
    answer.read(turn.chat);
    view.show(answer.state);
  } else {
    view.show(answer.state);
    const sendRequest = () => !turn.chat && answer.request(turn.key, turn.model, conversationUpTo(turn.key));
    if (isFromOtherTab) setTimeout(sendRequest, OTHER_TAB_REQUEST_MS);
    else sendRequest();
  }
  return view;
}

/** Stops the answer of a turn. @param {string} key */
async function stopAnswer(key) {
  const { answer } = entries.get(key) ?? {};
  if (!answer?.state.chat) return;
  try {
    await request(`chats/${answer.state.chat}/stop`, { method: 'POST' });
  } catch (error) {
    notify(errorMessage(error), 'bad');
  }
}

/** Replaces a turn by one that asks the same question again. @param {string} key */
function retryTurn(key) {
  const { turn } = entries.get(key) ?? {};
  if (!turn) return;
  const next = { key: turns.newKey(), message: turn.message, model: model.value || turn.model };
  turns.replace(key, next);
  render();
}

/** Shows the stored turns and leaves those that are already shown unchanged. */
function render(isFromOtherTab = false) {
  const storedTurns = turns.load();
  for (const [key, { view, answer }] of entries) {
    if (storedTurns.some((turn) => turn.key === key)) continue;
    answer.close();
    view.element.remove();
    entries.delete(key);
  }
  const keyedEntries = storedTurns.map((turn) => [turn.key, entries.get(turn.key)]);
  const entriesByKey = new Map(/** @type {any} */ (keyedEntries));
  entries.clear();
  for (const turn of storedTurns) {
    const entry = entriesByKey.get(turn.key);
    if (entry) entries.set(turn.key, entry);
    if (entry && turn.chat && !entry.turn.chat) {
      entry.turn.chat = turn.chat;
      entry.answer.update({ chat: turn.chat });
      entry.answer.read(turn.chat);
    }
    const view = entry?.view ?? showTurn(turn, isFromOtherTab);
    const nextElement = list.children[entries.size - 1] ?? null;
    if (nextElement !== view.element) list.insertBefore(view.element, nextElement);
  }
}

form.addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault();
  const text = message.value.trim();
  if (text === '') return;
  if (runningEntries().length > 0) return notify('an answer is being written; stop it, or wait for its end');
  isSubmitPending = !hasModels;
  replaceChildren(noteElement, isSubmitPending && 'Waiting for the list of models; the question is sent then.');
  if (isSubmitPending) {
    loadModels();
    return;
  }
  message.value = '';
  turns.store({ key: turns.newKey(), message: text, model: model.value });
  render();
  scrollTo({ top: document.documentElement.scrollHeight });
});

message.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

/** Returns the turns whose answers have not ended. */
const runningEntries = () => [...entries.values()].filter(({ answer }) => !answer.state.end);

document.addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') runningEntries().forEach(({ turn }) => stopAnswer(turn.key));
});

byId('fresh').addEventListener('click', async () => {
  const running = runningEntries();
  if (running.length > 0 && !confirm('An answer is being written. Stop it and start a new chat?')) return;
  await Promise.all(running.map(({ turn }) => stopAnswer(turn.key)));
  turns.clear();
  render();
  message.focus();
});

/** First and maximum delay before the list of models is requested again. */
const MODELS_RETRY_MS = { first: 1_000, max: 30_000 };

/** Lists the models that may be used. Repeats the request until it succeeds or is refused. */
async function loadModels() {
  if (isLoadingModels) return;
  isLoadingModels = true;
  try {
    await fetchModels();
  } finally {
    isLoadingModels = false;
  }
  if (isSubmitPending && hasModels) return form.requestSubmit();
  // The list was refused: the typed text stays.
  isSubmitPending = false;
  replaceChildren(noteElement);
}

async function fetchModels() {
  for (let delayMs = MODELS_RETRY_MS.first; !hasModels; delayMs = Math.min(delayMs * 2, MODELS_RETRY_MS.max)) {
    try {
      const { data } = await request('v1/models');
      replaceChildren(model, data.map((/** @type {{ id: string }} */ { id }) => h('option', { value: id }, id)));
      if (data.length === 0) return notify('no model is granted to you', 'bad');
      const selectedModel = turns.loadSelectedModel();
      if (data.some((/** @type {{ id: string }} */ { id }) => id === selectedModel)) model.value = selectedModel;
      hasModels = true;
      replaceChildren(byId('empty'), ...emptyContent);
    } catch (error) {
      const isRefused = error instanceof HubError && error.status < 500 && error.status !== 429;
      const needsLogin = isRefused && error.status === 401;
      const link = h('a', { href: './#/access' }, 'log in on the dashboard');
      replaceChildren(byId('empty'), `The models are not known: ${errorMessage(error)}. `, needsLogin && ['Please ', link, '.']);
      if (isRefused) return;
      await new Promise((resolve) => { setTimeout(resolve, delayMs); });
    }
  }
}

model.addEventListener('change', () => turns.saveSelectedModel(model.value));

turns.onChange(() => render(true));
render();
loadModels();
scrollTo({ top: document.documentElement.scrollHeight });
message.focus();
