// Fixtures of the tests: a real hub for each test, and a proxy in front of it.

import { test as base, expect } from '@playwright/test';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = process.env.FANFARE ?? new URL('../../target/debug/fanfare', import.meta.url).pathname;
export const ADMIN = "the admin's secret";

export class Hub {
  /**
   * @param {string[]} [flags]
   * @param {string} [config] Content of its configuration file.
   */
  static async start(flags = [], config = '') {
    const hub = new Hub();
    hub.folder = await mkdtemp(join(tmpdir(), 'fanfare-'));
    await writeFile(join(hub.folder, 'fanfare.toml'), config);
    hub.flags = ['--config', join(hub.folder, 'fanfare.toml'), '--data-dir', join(hub.folder, 'data'),
      '--log', 'warn', ...flags];
    await hub.run(0);
    return hub;
  }

  async run(port) {
    const child = spawn(BINARY, [...this.flags, '--listen', `127.0.0.1:${port}`], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child = child;
    const lines = createInterface(child.stdout);
    for await (const line of lines) {
      this.url = line.match(/^listening on (\S+)$/)?.[1];
      if (this.url) break;
    }
    if (!this.url) throw new Error('the hub did not start');
    child.stdout.resume();
    this.port = Number(new URL(this.url).port);
  }

  /** Kills the hub and waits until it has exited. */
  async kill(signal = 'SIGKILL') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill(signal);
    await once(this.child, 'exit');
  }

  /** Restarts the hub on the same port. */
  async restart() {
    await this.run(this.port);
  }

  /** Restarts the hub on the same port without its data. */
  async restartWithoutData() {
    await rm(join(this.folder, 'data'), { recursive: true });
    await this.run(this.port);
  }

  async stop() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Publishes `events` (`{stream, data, …}`) and returns the receipts. */
  async publish(events, headers = {}) {
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(events) };
    const response = await fetch(`${this.url}/publish`, init);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Publishes `from`, …, `to - 1` as the data of events to `stream`. */
  async publishNumbers(stream, from, to) {
    for (; from < to; from += 1_000) {
      const length = Math.min(1_000, to - from);
      await this.publish(Array.from({ length }, (_, n) => ({ stream, data: from + n })));
    }
  }

  async get(path, headers = {}) {
    const response = await fetch(`${this.url}${path}`, { headers });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  /** Returns the value of the first series of a metric that has all of `labels`. */
  async metric(name, ...labels) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const line = text.split('\n').find((l) => l.startsWith(name) && /[{ ]/.test(l[name.length])
      && labels.every((label) => l.includes(label)));
    return line === undefined ? undefined : Number(line.split(' ').at(-1));
  }
}

/** A TCP proxy in front of a hub that can drop connections, refuse them, or limit the throughput. */
export class FaultyProxy {
  static async start(hub, { bytesPerSecond = Infinity } = {}) {
    const proxy = new FaultyProxy();
    proxy.sockets = new Set();
    proxy.opened = 0;
    proxy.server = createServer((client) => {
      if (proxy.isBlocked) return client.destroy();
      proxy.opened += 1;
      const upstream = connect(hub.port, '127.0.0.1');
      for (const socket of [client, upstream]) {
        proxy.sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => { client.destroy(); upstream.destroy(); proxy.sockets.delete(socket); });
      }
      client.pipe(upstream);
      if (bytesPerSecond === Infinity) return upstream.pipe(client);
      upstream.on('data', (bytes) => {
        upstream.pause();
        client.write(bytes);
        setTimeout(() => upstream.resume(), (bytes.length / bytesPerSecond) * 1000);
      });
    });
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  /** Drops every connection and refuses new ones until `unblock`. */
  block() {
    this.isBlocked = true;
    this.dropConnections();
  }

  dropConnections() {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  unblock() {
    this.isBlocked = false;
  }

  stop() {
    this.dropConnections();
    this.server.close();
  }
}

/** Returns the section of an API key for the configuration file. */
export function key(name, secret, grants) {
  const sha256 = createHash('sha256').update(secret).digest('hex');
  const lines = Object.entries(grants).map(([grant, value]) => `${grant} = ${JSON.stringify(value)}\n`);
  return `[[key]]\nname = "${name}"\nsha256 = "${sha256}"\n${lines.join('')}`;
}

/** A test with a hub, started with `flags` and `config` of `test.use`. Fails if a page logs an unexpected error. */
export const test = base.extend({
  flags: [[], { option: true }],
  config: ['', { option: true }],
  expectedErrors: [[], { option: true }],
  hub: async ({ flags, config }, use) => {
    const hub = await Hub.start(flags, config);
    await use(hub);
    await hub.stop();
  },
  // The check precedes the stop of the hub, which a page may log as an error.
  errors: [async ({ context, hub, expectedErrors }, use) => {
    const errors = [];
    context.on('weberror', (error) => errors.push(String(error.error())));
    context.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await use(errors);
    const unexpected = errors.filter((text) => !expectedErrors.some((expected) => expected.test(text)));
    expect(unexpected).toEqual([]);
  }, { auto: true }],
});

export { expect };
