// An upstream of chats that follows the script of a test.

import { createServer } from 'node:http';
import { once } from 'node:events';

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Upstream {
  /** Answers each request with the next script, and all later ones with the last. */
  static async start(...scripts) {
    const upstream = new Upstream();
    upstream.asked = [];
    const released = new Promise((resolve) => { upstream.release = resolve; });
    upstream.server = createServer(async (request, response) => {
      let text = '';
      for await (const part of request) text += part;
      const script = scripts[Math.min(upstream.asked.length, scripts.length - 1)];
      upstream.asked.push(JSON.parse(text));
      const say = (event) => response.write(`data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`);
      response.on('error', () => {});
      await script({
        response,
        released,
        begin: () => response.writeHead(200, { 'Content-Type': 'text/event-stream' }),
        beat: () => response.write(': still there\n\n'),
        say,
        part: (content) => say({ choices: [{ index: 0, delta: { content } }] }),
        done: () => {
          say({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
          say({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 11, total_tokens: 18 } });
          say('[DONE]');
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

/** Returns a script that sends some of these parts, and the others after `release()` of the upstream. */
export const held = (texts, first) => async ({ begin, part, done, released }) => {
  begin();
  for (const text of texts.slice(0, first)) part(text);
  await released;
  for (const text of texts.slice(first)) part(text);
  done();
};

/** Returns a script that sends these parts, each after `ms` milliseconds. */
export const parts = (texts, ms = 0) => async ({ begin, part, done }) => {
  begin();
  for (const text of texts) {
    if (ms > 0) await pause(ms);
    part(text);
  }
  done();
};
