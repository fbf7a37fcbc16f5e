// A page with nothing but EventSource: watch streams, publish to one, drop the connection and see
// what the hub says of the resume.

const $ = (id) => document.getElementById(id);
const SHOWN = 500;
let source = null;
let url = '';

function show(kind, stream, text, control) {
  const item = document.createElement('li');
  if (control) item.className = 'control';
  const time = document.createElement('span');
  time.textContent = new Date().toLocaleTimeString();
  const from = document.createElement('span');
  from.textContent = kind === 'message' ? stream : `${stream} ${kind}`;
  const data = document.createElement('pre');
  data.textContent = text;
  item.append(time, from, data);
  $('events').prepend(item);
  while ($('events').children.length > SHOWN) $('events').lastChild.remove();
}

function received(event) {
  const { stream, type, data } = JSON.parse(event.data);
  show(type, [].concat(stream).join(', '), typeof data === 'string' ? data : JSON.stringify(data));
  $('state').dataset.last = event.lastEventId;
}

function told(event) {
  show(event.type, '', event.data, true);
}

function connect(at) {
  source?.close();
  url = at;
  source = new EventSource(at);
  source.onopen = () => { $('state').textContent = 'live'; };
  source.onerror = () => {
    const gone = source.readyState === EventSource.CLOSED;
    $('state').textContent = gone ? 'closed' : 'reconnecting';
  };
  for (const type of ['message', 'log', 'metric', 'status', 'progress']) source.addEventListener(type, received);
  // A heartbeat event of the hub itself is no envelope.
  source.addEventListener('heartbeat', (event) => { if (event.lastEventId) received(event); });
  for (const type of ['hub-open', 'hub-gap', 'hub-end', 'hub-error']) source.addEventListener(type, told);
}

$('watch').addEventListener('submit', (event) => {
  event.preventDefault();
  const streams = new FormData(event.target).get('stream').split(/[\s,]+/).filter(Boolean);
  const query = new URLSearchParams(streams.map((stream) => ['stream', stream]));
  query.set('envelope', 'true');
  query.set('last', '50');
  connect(`events?${query}`);
});

$('drop').addEventListener('click', () => {
  const last = $('state').dataset.last;
  const at = new URL(url || 'events?stream=**&envelope=true', location);
  if (last) at.searchParams.set('last_event_id', last);
  connect(at.pathname + at.search);
});

$('publish').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const answer = await fetch(`streams/${encodeURIComponent(form.get('stream'))}/events`, { method: 'POST', body: form.get('data') });
  const body = await answer.json();
  $('receipt').textContent = answer.ok ? `${body.id}, to ${body.subscribers} readers` : body.detail;
});

$('watch').requestSubmit();
