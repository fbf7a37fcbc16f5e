// The npm package `eventsource-parser` with `fetch` reads one response; the reader reconnects itself.

import { EventSourceParserStream } from 'eventsource-parser/stream';

const url = process.argv[2];
let last = '';
let retry = 1_000;
for (;;) {
  try {
    const response = await fetch(url, { headers: last ? { 'Last-Event-ID': last } : {} });
    if (response.status === 204) break;
    if (!response.ok) console.log(JSON.stringify({ refused: response.status }));
    if (!response.ok) throw new Error(String(response.status));
    const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream({ onRetry: (ms) => { retry = ms; } }));
    for await (const { event, data, id } of events) {
      last = id ?? last;
      console.log(JSON.stringify({ type: event ?? 'message', data, id }));
    }
  } catch {
    // The loop reconnects.
  }
  await new Promise((resolve) => setTimeout(resolve, retry));
}
console.log(JSON.stringify({ over: 204 }));
