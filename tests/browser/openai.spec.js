// OpenAI's client for JavaScript and the AI SDK, unmodified, with the hub as their base URL.

import { test, expect, Hub } from './hub.js';
import { Upstream, parts, pause } from './upstream.js';
import OpenAI7 from 'openai';
import OpenAI6 from 'openai6';
import { generateText, streamText } from 'ai';
import { createOpenAI } from '@ai-sdk/openai';

const TEXTS = ['Once', ' upon', ' a ', 'tïme\n', '\r\n', 'there — ', 'w😀s', ' ', 'data: x\n\n', 'end.'];
const ASK = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
/** Length of a silence: realistic in a full run, otherwise shorter. */
const SILENCE_MS = process.env.FANFARE_TESTS === 'full' ? 20_000 : 1_500;

/** A silence before the first part and one in the middle, with comments as some upstreams send. */
const silent = async ({ begin, beat, part, done }) => {
  begin();
  beat();
  await pause(SILENCE_MS);
  TEXTS.slice(0, 5).forEach((text) => part(text));
  await pause(SILENCE_MS);
  beat();
  TEXTS.slice(5).forEach((text) => part(text));
  done();
};

/** Runs a hub in front of an upstream with these scripts. */
async function front(scripts, run, flags = []) {
  const upstream = await Upstream.start(...scripts);
  const hub = await Hub.start(['--heartbeat', '1s', ...flags], upstream.config);
  try {
    await run(hub, upstream);
  } finally {
    await hub.stop();
    await upstream.stop();
  }
}

async function textOf(stream) {
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
  return text;
}

for (const [name, OpenAI] of [['openai-node 7', OpenAI7], ['openai-node 6', OpenAI6]]) {
  const client = (hub, options = {}) => new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: 'none', ...options });

  test.describe(name, () => {
    test('reads a whole answer over silences, with its usage', () => front([silent], async (hub) => {
      const stream = await client(hub).chat.completions.create({ ...ASK, stream: true, stream_options: { include_usage: true } });
      let text = '';
      let usage;
      let last = 0;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? '';
        usage = chunk.usage ?? usage;
        expect(chunk.fanfare.seq).toBeGreaterThanOrEqual(last);
        last = chunk.fanfare.seq;
      }
      expect(text).toBe(TEXTS.join(''));
      expect(usage.total_tokens).toBe(18);
    }));

    test('reads an answer that is not streamed, and lists the models', () => front([parts(TEXTS)], async (hub) => {
      const whole = await client(hub).chat.completions.create(ASK);
      expect(whole.choices[0].message.content).toBe(TEXTS.join(''));
      expect(whole.choices[0].finish_reason).toBe('stop');
      const models = [];
      for await (const model of client(hub).models.list()) models.push(model.id);
      expect(models).toEqual(['m', 'echo']);
    }));

    test('runs the model once although it times out and retries', () => {
      const slow = async (upstream) => {
        upstream.begin();
        await pause(2_500);
        await parts(TEXTS)({ ...upstream, begin: () => {} });
      };
      return front([slow, parts(['another'])], async (hub, upstream) => {
        for (const stream of [true, false]) {
          upstream.asked.length = 0;
          const answer = await client(hub, { timeout: 1_200, maxRetries: 4 }).chat.completions.create({ ...ASK, stream });
          const text = stream ? await textOf(answer) : answer.choices[0].message.content;
          expect(text).toBe(TEXTS.join(''));
          expect(upstream.asked.length).toBe(1);
        }
      });
    });

    test('gets the error of the upstream and does not repeat the retries of the hub', () => {
      const busy = ({ response }) => {
        response.writeHead(429, { 'Content-Type': 'application/json', 'Retry-After': '0' });
        response.end('{"error":{"message":"busy"}}');
      };
      return front([busy], async (hub, upstream) => {
        const refused = await client(hub).chat.completions.create({ ...ASK, stream: true }).catch((error) => error);
        expect([refused.status, refused.error.message]).toEqual([429, 'busy']);
        expect(upstream.asked.length).toBe(3);
      });
    });

    test('raises an error if an answer is cut', () => {
      const cut = async ({ begin, part, response }) => {
        begin();
        part('a');
        await pause(200);
        response.destroy();
      };
      return front([cut], async (hub) => {
        const stream = await client(hub).chat.completions.create({ ...ASK, stream: true });
        await expect(textOf(stream)).rejects.toThrow(/connection to the upstream failed|finish reason/);
      });
    });
  });
}

test.describe('the AI SDK', () => {
  const model = (hub) => createOpenAI({ baseURL: `${hub.url}/v1`, apiKey: 'none' }).chat('m');

  test('reads a whole answer over silences', () => front([silent], async (hub) => {
    const errors = [];
    const { textStream, finishReason, usage } = streamText({ model: model(hub), prompt: 'hi', onError: ({ error }) => errors.push(error) });
    let text = '';
    for await (const part of textStream) text += part;
    expect([text, errors]).toEqual([TEXTS.join(''), []]);
    expect(await finishReason).toBe('stop');
    expect((await usage).totalTokens).toBe(18);
  }));

  test('reads an answer that is not streamed', () => front([parts(TEXTS)], async (hub) => {
    expect((await generateText({ model: model(hub), prompt: 'hi' })).text).toBe(TEXTS.join(''));
  }));
});

test('a reader that disconnects after each chunk resumes where it was', () => front([parts(TEXTS, 60)], async (hub, upstream) => {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': 'k' };
  let [text, seq, isDone] = ['', 0, false];
  while (!isDone) {
    const abort = new AbortController();
    const answer = await fetch(`${hub.url}/v1/chat/completions?starting_after=${seq}`, {
      method: 'POST', headers, body: JSON.stringify({ ...ASK, stream: true }), signal: abort.signal,
    });
    let seen = '';
    for await (const bytes of answer.body.pipeThrough(new TextDecoderStream())) {
      seen += bytes;
      const [block] = seen.split('\n\n');
      if (!seen.includes('\n\n')) continue;
      if (block.startsWith(':')) {
        seen = seen.slice(block.length + 2);
        continue;
      }
      isDone = block === 'data: [DONE]';
      if (!isDone) {
        const chunk = JSON.parse(block.slice(6));
        isDone = chunk.fanfare.seq === seq;
        text += isDone ? '' : chunk.choices[0]?.delta?.content ?? '';
        seq = chunk.fanfare.seq;
      }
      break;
    }
    abort.abort();
  }
  expect(text).toBe(TEXTS.join(''));
  expect(upstream.asked.length).toBe(1);
}));
