// The npm package `eventsource`: an EventSource for Node, which reconnects by itself.

import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
const tell = ({ type, data, lastEventId }) => console.log(JSON.stringify({ type, data, id: lastEventId }));
for (const type of ['message', 'log', 'hub-open', 'hub-gap', 'hub-end', 'hub-error']) source.addEventListener(type, tell);
source.addEventListener('error', ({ code }) => {
  if (source.readyState === EventSource.CLOSED) console.log(JSON.stringify({ over: code }));
});
