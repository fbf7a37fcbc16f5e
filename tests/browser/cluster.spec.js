// Hubs of a cluster, on a real NATS server.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hub, expect, test as base } from './hub.js';
import { startNginx } from './nginx.js';
import { numbers, received, subscribeByEventSource } from './watching.js';

const NATS = process.env.NATS_SERVER ?? new URL('../../target/clients/venv/bin/nats-server', import.meta.url).pathname;

let nextPort = 20_000;

/** Starts a NATS server with JetStream, and returns it with its URL. */
async function startNats(folder) {
  // Its own loopback address, so that the port is free.
  const host = `127.${192 + (process.pid >> 16)}.${(process.pid >> 8) & 255}.${process.pid & 255}`;
  const port = nextPort++;
  const child = spawn(NATS, ['-a', host, '-p', String(port), '-js', '-sd', join(folder, 'nats'), '-c', join(folder, 'nats.conf')], { stdio: 'ignore' });
  await expect.poll(() => new Promise((resolve) => {
    const socket = connect(port, host, () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  })).toBe(true);
  return { url: `nats://${host}:${port}`, child };
}

/** A test with three hubs of a cluster. */
const test = base.extend({
  hubs: async ({ }, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'fanfare-'));
    await writeFile(join(folder, 'nats.conf'), 'max_payload: 8MB\n');
    const nats = await startNats(folder);
    const start = (name) => Hub.start(['--cluster-nats', nats.url, '--cluster-replicas', '1', '--cluster-log-max-bytes', '64MiB', '--node', name, '--retry', '200ms']);
    const hubs = await Promise.all(['a', 'b', 'c'].map(start));
    await use(hubs);
    await Promise.all(hubs.map((hub) => hub.stop()));
    nats.child.kill('SIGKILL');
    await once(nats.child, 'exit');
    await rm(folder, { recursive: true, force: true });
  },
});
// Requests fail on purpose.
test.use({ expectedErrors: [/./] });

/** Publishes a number, and repeats it with its key until a hub has acknowledged it. */
async function publishUntilAcknowledged(url, number) {
  await expect.poll(async () => {
    const body = JSON.stringify({ stream: 'n', data: number, key: String(number) });
    const answer = await fetch(`${url}/publish`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }).catch(() => null);
    return answer?.status;
  }).toBe(200);
}

test('an EventSource behind a load balancer without affinity misses nothing while hubs are killed in turn', async ({ hubs, page }) => {
  let site = await readFile(new URL('../../deploy/cluster/nginx.conf', import.meta.url), 'utf8');
  hubs.forEach((hub, n) => { site = site.replace(`fanfare-${n + 1}:8080`, `127.0.0.1:${hub.port}`); });
  const proxy = await startNginx(hubs[0].folder, (address) => site.replace('listen 8080', `listen ${address}`));
  await subscribeByEventSource(page, proxy.url, 'stream=n');
  await expect.poll(() => page.evaluate(() => window.source.readyState)).toBe(1);
  let total = 0;
  for (const hub of [...hubs, ...hubs]) {
    for (const end = total + 20; total < end; total += 1) await publishUntilAcknowledged(proxy.url, total);
    await hub.kill();
    for (const end = total + 20; total < end; total += 1) await publishUntilAcknowledged(proxy.url, total);
    await expect.poll(async () => (await received(page)).length).toBe(total);
    await hub.restart();
  }
  expect(await received(page)).toEqual(numbers(total));
  expect(await page.evaluate(() => window.controlEvents.filter(({ type }) => type === 'open').length), 'it has reconnected').toBeGreaterThan(1);
  expect(await page.evaluate(() => window.controlEvents.filter(({ type }) => type === 'hub-gap')), 'no gap').toEqual([]);
  await proxy.stop();
});

test('the page of the cluster shows all hubs, and names a silent one', async ({ hubs, page }) => {
  await page.goto(`${hubs[0].url}/#/cluster`);
  const row = (name) => page.locator('tbody tr', { hasText: name });
  for (const name of ['a', 'b', 'c']) await expect(page.locator('tbody tr td:first-child', { hasText: new RegExp(`^${name}$`) })).toBeVisible();
  await expect(page.locator('.health')).toHaveText('All 3 hubs are ready.');
  await expect(page.getByRole('link', { name: 'Cluster' })).toBeVisible();
  hubs[1].child.kill('SIGSTOP');
  await expect(page.locator('.health')).toHaveText('Not ready: b.');
  await expect(row('Silent for')).toHaveCount(1);
  hubs[1].child.kill('SIGCONT');
  await expect(page.locator('.health')).toHaveText('All 3 hubs are ready.');
  // Sessions of all hubs are listed at each.
  const events = await fetch(`${hubs[2].url}/events?stream=n`);
  await page.goto(`${hubs[0].url}/#/sessions`);
  await expect(page.locator('tbody td', { hasText: /^c$/ })).toHaveCount(1);
  await expect(page.locator('tbody td', { hasText: /^n$/ })).toHaveCount(1);
  await events.body?.cancel();
});

base('a hub without a cluster has no page for it', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/overview`);
  await expect(page.getByRole('link', { name: 'Sessions' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Cluster' })).toBeHidden();
  await page.goto(`${hub.url}/#/cluster`);
  await expect(page.getByText('This hub belongs to no cluster.')).toBeVisible();
});
