// OpenAI's client for JavaScript and the AI SDK, unmodified, with the hub as their base URL.

import { test, expect, Hub } from './hub.js';
import { Upstream, answerWith, pause } from './upstream.js';
import OpenAI7 from 'openai';
import OpenAI6 from 'openai6';
import { generateText, streamText } from 'ai';
import { createOpenAI } from '@ai-sdk/openai';

const TEXTS = ['Once', ' upon', ' a ', 'tïme\n', '\r\n', 'there — ', 'w😀s', ' ', 'data: x\n\n', 'end.'];
const REQUEST = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
/** Length of a pause: realistic in a full run, otherwise shorter. */
const PAUSE_MS = process.env.TEST_EXTENT === 'full' ? 20_000 : 1_500;

/** Answers with a pause before the first text and one in the middle, with comments as some upstreams send. */
const answerWithPauses = async ({ startStream, sendComment, sendText, endStream }) => {
  startStream();
  sendComment();
  await pause(PAUSE_MS);
  TEXTS.slice(0, 5).forEach((text) => sendText(text));
  await pause(PAUSE_MS);
  sendComment();
  TEXTS.slice(5).forEach((text) => sendText(text));
  endStream();
};

/** Runs a hub whose upstream follows these scripts. */
async function withHub(scripts, run, flags = []) {
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
    test('reads a whole answer over silences, with its usage', () => withHub([answerWithPauses], async (hub) => {
      const stream = await client(hub).chat.completions.create({ ...REQUEST, stream: true, stream_options: { include_usage: true } });
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

    test('reads an answer that is not streamed, and lists the models', () => withHub([answerWith(TEXTS)], async (hub) => {
      const completion = await client(hub).chat.completions.create(REQUEST);
      expect(completion.choices[0].message.content).toBe(TEXTS.join(''));
      expect(completion.choices[0].finish_reason).toBe('stop');
      const models = [];
      for await (const model of client(hub).models.list()) models.push(model.id);
      expect(models).toEqual(['m', 'echo']);
    }));

    test('runs the model once although it times out and retries', () => {
      const slow = async (upstream) => {
        upstream.startStream();
        await pause(2_500);
        await answerWith(TEXTS)({ ...upstream, startStream: () => {} });
      };
      return withHub([slow, answerWith(['another'])], async (hub, upstream) => {
        for (const stream of [true, false]) {
          upstream.requests.length = 0;
          const completion = await client(hub, { timeout: 1_200, maxRetries: 20 }).chat.completions.create({ ...REQUEST, stream });
          const text = stream ? await textOf(completion) : completion.choices[0].message.content;
          expect(text).toBe(TEXTS.join(''));
          expect(upstream.requests.length).toBe(1);
        }
      });
    });

    test('gets the error of the upstream and does not repeat the retries of the hub', () => {
      const busy = ({ response }) => {
        response.writeHead(429, { 'Content-Type': 'application/json', 'Retry-After': '0' });
        response.end('{"error":{"message":"busy"}}');
      };
      return withHub([busy], async (hub, upstream) => {
        const refused = await client(hub).chat.completions.create({ ...REQUEST, stream: true }).catch((error) => error);
        expect([refused.status, refused.error.message]).toEqual([429, 'busy']);
        expect(upstream.requests.length).toBe(3);
      });
    });

    test('raises an error if an answer is cut', () => {
      const truncatedAnswer = async ({ startStream, sendText, response }) => {
        startStream();
        sendText('a');
        await pause(200);
        response.destroy();
      };
      return withHub([truncatedAnswer], async (hub) => {
        const stream = await client(hub).chat.completions.create({ ...REQUEST, stream: true });
        await expect(textOf(stream)).rejects.toThrow(/connection to the upstream failed|finish reason/);
      });
    });
  });
}

test.describe('the AI SDK', () => {
  const model = (hub) => createOpenAI({ baseURL: `${hub.url}/v1`, apiKey: 'none' }).chat('m');

  test('reads a whole answer over silences', () => withHub([answerWithPauses], async (hub) => {
    const errors = [];
    const { textStream, finishReason, usage } = streamText({ model: model(hub), prompt: 'hi', onError: ({ error }) => errors.push(error) });
    let text = '';
    for await (const chunk of textStream) text += chunk;
    expect([text, errors]).toEqual([TEXTS.join(''), []]);
    expect(await finishReason).toBe('stop');
    expect((await usage).totalTokens).toBe(18);
  }));

  test('reads an answer that is not streamed', () => withHub([answerWith(TEXTS)], async (hub) => {
    expect((await generateText({ model: model(hub), prompt: 'hi' })).text).toBe(TEXTS.join(''));
  }));
});

test('a reader that disconnects after each chunk resumes where it was', () => withHub([answerWith(TEXTS, 60)], async (hub, upstream) => {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': 'k' };
  let [text, seq, isDone] = ['', 0, false];
  while (!isDone) {
    const abort = new AbortController();
    const response = await fetch(`${hub.url}/v1/chat/completions?starting_after=${seq}`, {
      method: 'POST', headers, body: JSON.stringify({ ...REQUEST, stream: true }), signal: abort.signal,
    });
    let buffer = '';
    for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
      buffer += bytes;
      const [block] = buffer.split('\n\n');
      if (!buffer.includes('\n\n')) continue;
      if (block.startsWith(':')) {
        buffer = buffer.slice(block.length + 2);
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
  expect(upstream.requests.length).toBe(1);
}));
