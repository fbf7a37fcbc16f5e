// An upstream for chats that answers by scripts of a test.

import { createServer } from 'node:http';
import { once } from 'node:events';

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Upstream {
  /** Answers each request with the next script, and all later ones with the last. */
  static async start(...scripts) {
    const upstream = new Upstream();
    upstream.requests = [];
    const released = new Promise((resolve) => { upstream.release = resolve; });
    upstream.server = createServer(async (request, response) => {
      let text = '';
      for await (const chunk of request) text += chunk;
      const script = scripts[Math.min(upstream.requests.length, scripts.length - 1)];
      upstream.requests.push(JSON.parse(text));
      const sendEvent = (event) => response.write(`data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`);
      response.on('error', () => {});
      await script({
        response,
        released,
        startStream: () => response.writeHead(200, { 'Content-Type': 'text/event-stream' }),
        sendComment: () => response.write(': still there\n\n'),
        sendEvent,
        sendText: (content) => sendEvent({ choices: [{ index: 0, delta: { content } }] }),
        endStream: () => {
          sendEvent({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
          sendEvent({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 11, total_tokens: 18 } });
          sendEvent('[DONE]');
          response.end();
        },
      });
    });
    upstream.server.listen(0, '127.0.0.1');
    await once(upstream.server, 'listening');
    return upstream;
  }

  get config() {
    return `[chat.upstream.scripted]\nurl = "http://127.0.0.1:${this.server.address().port}/v1"\nmodels = ["m"]\n`;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Returns a script that sends the first `count` texts at once, and the others after `release()` of the upstream. */
export const answerInTwoParts = (texts, count) => async ({ startStream, sendText, endStream, released }) => {
  startStream();
  for (const text of texts.slice(0, count)) sendText(text);
  await released;
  for (const text of texts.slice(count)) sendText(text);
  endStream();
};

/** Returns a script that sends the texts, each after `delayMs` milliseconds. */
export const answerWith = (texts, delayMs = 0) => async ({ startStream, sendText, endStream }) => {
  startStream();
  for (const text of texts) {
    if (delayMs > 0) await pause(delayMs);
    sendText(text);
  }
  endStream();
};
