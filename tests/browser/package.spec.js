// `fanfare.js` as an npm package, installed outside of the repository: its files, its TypeScript types, its use in
// Node by `import` and `require`, and its React hook on a server and in a browser.

import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from './hub.js';
import { numbers, waitForSessions } from './watching.js';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
/** Folder of a project that has installed the package. @type {string} */
let folder;

// The tests share a folder.
test.describe.configure({ mode: 'default' });

test.beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fanfare-package-'));
  await writeFile(join(folder, 'package.json'), '{"type": "module", "private": true}');
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: join(here, '../../static') });
  const [packed] = Object.values(JSON.parse(stdout));
  await run('npm', ['install', '--offline', '--no-audit', `./${packed.filename}`], { cwd: folder });
  const files = packed.files.map((file) => file.path).sort();
  expect(files.filter((file) => !file.startsWith('fanfare/'))).toEqual(['README.md', 'fanfare.d.ts', 'fanfare.js', 'package.json']);
  expect(files).toEqual(expect.arrayContaining(['fanfare/tabs.js', 'fanfare/react.js', 'fanfare/react.d.ts']));
  expect(packed.bundled).toEqual([]);
  // React is the project's own.
  for (const name of ['react', 'react-dom', 'scheduler', '@types/react']) {
    await cp(join(here, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  }
});
test.afterAll(() => rm(folder, { recursive: true, force: true }));

/** Compiles a TypeScript file of the project and returns the errors. */
async function compile(source, { lib = 'es2022,dom', types = '', module = 'nodenext', file = 'use.ts' } = {}) {
  await writeFile(join(folder, file), source);
  const flags = ['--pretty', 'false', '--noEmit', '--strict', '--target', 'es2022', '--module', module, '--lib', lib,
    '--types', types, '--typeRoots', join(here, 'node_modules/@types')];
  return run(join(here, 'node_modules/.bin/tsc'), [...flags, file], { cwd: folder }).then(() => '', (error) => error.stdout);
}

/** Runs a script of the project and returns what it prints; a warning fails. */
async function runScript(file, source) {
  await writeFile(join(folder, file), source);
  const { stdout, stderr } = await run('node', [file], { cwd: folder });
  expect(stderr).toBe('');
  return stdout.trim();
}

test('types are checked in a TypeScript project', async () => {
  const begin = "import { subscribe, type State } from 'fanfare-client';\n";
  expect(await compile(`${begin}
    const describe = (state: State) => {
      switch (state.state) {
        case 'live': return state.resume === 'gap' ? 'late' : state.session;
        case 'waiting': return String(state.delay);
        case 'gap': return String(state.missed ?? 'some');
        case 'refused': return state.code ?? String(state.status);
        default: return state.state;
      }
    };
    const subscription = subscribe({ streams: 'a.*', token: async (reason) => reason, onState: (state) => { describe(state); } });
    for await (const { id, data } of subscription) console.log(id.length, data.anything);
  `)).toBe('');
  const service = `${begin} subscribe({ streams: 'a', url: 'http://hub', remember: { storage: { getItem: () => null, setItem() {} }, key: 'k' } });`;
  expect(await compile(service, { lib: 'es2022', types: 'node' }), 'without DOM types').toBe('');
  expect(await compile(`${begin} subscribe({ stream: 'a' });`)).toContain('use.ts(2');
  expect(await compile(`${begin} const f = (state: State) => state.delay;`)).toContain("'delay'");
});

test('types of the data reach every function', async () => {
  const begin = `
    import { HubError, SubscriptionError, history, presence, publish, subscribe, ticket, type FanfareEvent } from 'fanfare-client';
    interface Build { step: number }
  `;
  expect(await compile(`${begin}
    const subscription = subscribe<Build>({
      streams: 'a',
      onEvent: ({ data }) => data.step.toFixed(),
      onEvents: (events) => events.map(({ data }) => data.step.toFixed()),
    });
    subscription.addStreams('b', ['c', 'd']);
    subscription.removeStreams('b');
    for await (const { data } of subscription) data.step.toFixed();
    for await (const { data } of history<Build>(['a'], { from: '10m', limit: 3 })) data.step.toFixed();
    subscribe({ streams: 'a', onEvent: (event: FanfareEvent<Build>) => event.data.step });
    try {
      const { id, duplicate } = await publish('a', { step: 1 }, { key: 'k', type: 't', token: async () => 'x' });
      const { subjectCount, subjects: [{ subject }] } = await presence('a', { url: new URL('http://hub') });
      const { expiresAt } = await ticket(['a'], { ttl: '10m' });
      console.log(id.length, duplicate === true, subjectCount.toFixed(), subject.length, expiresAt.length);
    } catch (error) {
      if (error instanceof SubscriptionError) console.log(error.state.status);
      if (error instanceof HubError) console.log(error.status?.toFixed(), error.code?.length, error.field?.length);
    }
  `)).toBe('');
  expect(await compile(`${begin} subscribe<Build>({ streams: 'a', onEvent: ({ data }) => data.stop });`)).toContain("'stop'");
  expect(await compile(`${begin} publish('a', 1, { ttl: '1m' });`)).toContain("'ttl'");
  const hook = "import { useStream } from 'fanfare-client/react';\nconst { events, event, state } = useStream<{ step: number }>({ streams: 'a', limit: 3 });\n";
  expect(await compile(`${hook} events[0].data.step.toFixed(); console.log(event?.data.step, state?.state); useStream(null);`)).toBe('');
  expect(await compile(`${hook} events[0].data.stop;`)).toContain("'stop'");
  const required = "import fanfare = require('fanfare-client');\nfanfare.subscribe<{ step: number }>({ streams: 'a', onEvent: ({ data }) => data.step.toFixed() });\n";
  expect(await compile(required, { file: 'use.cts' }), 'from CommonJS').toBe('');
  const bundled = "import { subscribe } from 'fanfare-client';\nimport { useStream } from 'fanfare-client/react';\nconsole.log(subscribe, useStream);\n";
  expect(await compile(bundled, { module: 'preserve' }), 'for a bundler').toBe('');
});

test('CommonJS can require the package', async ({ hub }) => {
  await hub.publishNumbers('n', 0, 3);
  const stdout = await runScript('use.cjs', `
    const { HubError, history, publish } = require('fanfare-client');
    (async () => {
      const { id } = await publish('n', 3, { url: '${hub.url}' });
      const all = [];
      for await (const event of history('n', { url: '${hub.url}' })) all.push(event.data);
      const error = await publish('n', {}, { url: '${hub.url}', type: 'log' }).catch((error) => error);
      console.log(JSON.stringify([typeof id, all, error instanceof HubError, error.status]));
    })();
  `);
  expect(JSON.parse(stdout)).toEqual(['string', [0, 1, 2, 3], true, 422]);
  // Both ways load the same module.
  const same = await runScript('same.mjs', `
    import { createRequire } from 'node:module';
    import { HubError } from 'fanfare-client';
    console.log(String(createRequire(import.meta.url)('fanfare-client').HubError === HubError));
  `);
  expect(same).toBe('true');
});

test('useStream renders on a server without a request', async () => {
  const program = (load) => `
    ${load}
    globalThis.fetch = () => { throw new Error('a request on the server'); };
    function List() {
      const { events, event, state } = useStream({ streams: 'n', onEvent: () => {} });
      const none = useStream(null);
      return createElement('p', null, state.state, events.length, String(event), String(none.state));
    }
    console.log(renderToString(createElement(List)).replaceAll('<!-- -->', ' '));
  `;
  const html = '<p>connecting 0 null null</p>';
  expect(await runScript('server.mjs', program(`
    import { createElement } from 'react';
    import { renderToString } from 'react-dom/server';
    import { useStream } from 'fanfare-client/react';
  `))).toBe(html);
  expect(await runScript('server.cjs', program(`
    const { createElement } = require('react');
    const { renderToString } = require('react-dom/server');
    const { useStream } = require('fanfare-client/react');
  `))).toBe(html);
});

/** Opens a page of the hub that has React, and returns it. A component is given as `window.App`. */
async function openReactPage(hub, page) {
  const require = createRequire(import.meta.url);
  const file = (name, path) => join(dirname(require.resolve(`${name}/package.json`)), 'cjs', path);
  const modules = {
    react: file('react', 'react.development.js'), 'react-dom': file('react-dom', 'react-dom.development.js'),
    'react-dom/client': file('react-dom', 'react-dom-client.development.js'),
    scheduler: file('scheduler', 'scheduler.development.js'),
  };
  const sources = {};
  for (const [name, path] of Object.entries(modules)) sources[name] = await readFile(path, 'utf8');
  // The modules of React are CommonJS.
  const loader = `
    const [sources, loaded] = [${JSON.stringify(sources).replaceAll('<', '\\u003c')}, {}];
    window.process = { env: { NODE_ENV: 'development' } };
    window.load = (name) => {
      if (loaded[name]) return loaded[name].exports;
      const module = loaded[name] = { exports: {} };
      new Function('module', 'exports', 'require', sources[name])(module, module.exports, window.load);
      return module.exports;
    };`;
  const shim = 'export const { useEffect, useRef, useState } = window.load("react");';
  const imports = { react: '/react-module.js' };
  await page.route('**/react-module.js', (route) => route.fulfill({ contentType: 'text/javascript', body: shim }));
  await page.route('**/react-page', (route) => route.fulfill({
    contentType: 'text/html',
    body: `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script><script>${loader}</script><div id="root"></div>`,
  }));
  await page.goto(`${hub.url}/react-page`);
  await page.evaluate(async (at) => {
    const { useStream } = await import(`${at}/fanfare/react.js`);
    const { createElement, StrictMode } = window.load('react');
    window.calls = [];
    window.App = ({ name, options }) => {
      const { events, event, state } = useStream(options && {
        ...options, url: at, onEvent: ({ data }) => window.calls.push([name, data]),
      });
      window.seen = { name, data: events.map(({ data }) => data), last: event?.data, state: state?.state };
      return createElement('p', null, name);
    };
    const root = window.load('react-dom/client').createRoot(document.querySelector('#root'));
    window.show = (props) => root.render(createElement(StrictMode, null, props && createElement(window.App, props)));
  }, hub.url);
  return page;
}

test('useStream renders the newest events', async ({ hub, page }) => {
  await hub.publishNumbers('n', 0, 50);
  await hub.publishNumbers('m', 0, 2);
  await openReactPage(hub, page);
  const show = (props) => page.evaluate((props) => window.show(props), props);
  const seen = () => page.evaluate(() => window.seen);
  const requests = [];
  page.on('request', (request) => request.url().includes('/events?') && requests.push(request.url()));

  await show({ name: 'a', options: { streams: 'n', from: 'start', limit: 10 } });
  await expect.poll(seen).toMatchObject({ data: numbers(50).slice(40), last: 49, state: 'live' });
  await hub.publishNumbers('n', 50, 53);
  await expect.poll(seen).toMatchObject({ data: numbers(53).slice(43), last: 52 });
  expect(requests, 'one request although effects run twice in strict mode').toHaveLength(1);
  expect((await page.evaluate(() => window.calls)).map(([, data]) => data), 'no event twice').toEqual(numbers(53));

  // Equal options and other functions do not subscribe again.
  await show({ name: 'b', options: { streams: 'n', from: 'start', limit: 2 } });
  await hub.publishNumbers('n', 53, 54);
  await expect.poll(seen).toMatchObject({ name: 'b', data: [52, 53] });
  expect(await page.evaluate(() => window.calls.at(-1))).toEqual(['b', 53]);
  expect(requests).toHaveLength(1);

  await show({ name: 'c', options: { streams: ['m'], from: 'start' } });
  await expect.poll(seen).toMatchObject({ data: [0, 1], state: 'live' });
  await show({ name: 'd', options: null });
  await expect.poll(seen).toEqual({ name: 'd', data: [], last: undefined, state: undefined });
  await show({ name: 'e', options: { streams: 'n', last: 1 } });
  await expect.poll(seen).toMatchObject({ data: [53] });
  await show(null);
  await waitForSessions(hub, 0);
});

test('the package runs in Node', async ({ hub }) => {
  await hub.publishNumbers('n', 0, 3);
  await hub.publish({ stream: 'n', type: 'log', data: { level: 'info', message: 'grüße' } });
  await writeFile(join(folder, 'use.mjs'), `
    import { subscribe } from 'fanfare-client';
    const all = [];
    for await (const { stream, type, data } of subscribe({ url: '${hub.url}', streams: 'n', from: 'start' })) {
      all.push([stream, type, data.message ?? data]);
      if (all.length === 4) break;
    }
    console.log(JSON.stringify(all));
  `);
  const { stdout } = await run('node', ['use.mjs'], { cwd: folder });
  await writeFile(join(folder, 'wrong.mjs'), "import { subscribe } from 'fanfare-client';\nsubscribe({ streams: 'a' });\n");
  await expect(run('node', ['wrong.mjs'], { cwd: folder }), 'a file URL is no default for `url`').rejects.toThrow('must be the http(s) URL of a hub');
  expect(JSON.parse(stdout)).toEqual([['n', 'message', 0], ['n', 'message', 1], ['n', 'message', 2], ['n', 'log', 'grüße']]);
});
