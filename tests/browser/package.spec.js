// `fanfare.js` as an npm package: its files, its TypeScript types, and its use in Node.

import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from './hub.js';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
const folder = join(here, '../../target/browser-package');

// The tests share a folder.
test.describe.configure({ mode: 'default' });

test.beforeAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), '{"type": "module", "private": true}');
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: join(here, '../../static') });
  const [packed] = Object.values(JSON.parse(stdout));
  await run('npm', ['install', '--offline', '--no-audit', `./${packed.filename}`], { cwd: folder });
  const files = packed.files.map((file) => file.path).sort();
  expect(files.filter((file) => !file.startsWith('fanfare/'))).toEqual(['README.md', 'fanfare.d.ts', 'fanfare.js', 'package.json']);
  expect(files).toContain('fanfare/tabs.js');
});

test('types are checked in a TypeScript project', async () => {
  const compile = async (source, { lib = 'es2022,dom', types = '' } = {}) => {
    await writeFile(join(folder, 'use.ts'), source);
    const flags = ['--pretty', 'false', '--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--lib', lib,
      '--types', types, '--typeRoots', join(here, 'node_modules/@types')];
    return run(join(here, 'node_modules/.bin/tsc'), [...flags, 'use.ts'], { cwd: folder }).then(() => '', (error) => error.stdout);
  };
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
