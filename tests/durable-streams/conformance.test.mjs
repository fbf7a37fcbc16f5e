// The published conformance suite of the protocol. Its subscriptions are not implemented.

import { runConformanceTests } from '@durable-streams/server-conformance-tests';
import { afterAll, beforeAll, describe } from 'vitest';
import { Hub } from './hub.mjs';

describe('conformance', () => {
  const options = { baseUrl: '' };
  let hub;

  beforeAll(async () => {
    hub = await Hub.start('--cors-origin', '*', '--durable-streams-poll', '2s');
    options.baseUrl = hub.url;
  });

  afterAll(() => hub.remove());

  runConformanceTests(options);
});
