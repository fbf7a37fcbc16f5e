// Compares `static/vendor` with the published packages, whose hashes `npm ci` has checked.

import { expect, test } from '@playwright/test';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const VENDOR = new URL('../../static/vendor', import.meta.url).pathname;
const PACKAGES = new URL('node_modules', import.meta.url).pathname;

/** Package of each folder, and the directory of the files in it. */
const FOLDERS = {
  uplot: ['uplot', 'dist'],
  'swagger-ui': ['swagger-ui-dist', '.'],
  marked: ['marked', 'lib'],
  dompurify: ['dompurify', 'dist'],
};

/** Returns the versions that `static/vendor/README.md` states, by folder. */
function statedVersions() {
  const rows = readFileSync(join(VENDOR, 'README.md'), 'utf8').matchAll(/^\| `(\S+)` \| (\S+) \| (\S+) \|/gm);
  return Object.fromEntries([...rows].map(([, folder, , version]) => [folder, version]));
}

/** Returns true for type declarations: they are ours and cover only what the pages use. */
const isOurs = (name) => /\.d\.m?ts$/.test(name);

const withoutSourceMap = (text) => text.split('\n').filter((line) => !line.includes('sourceMappingURL')).join('\n').trimEnd();

test('third-party files equal the published ones', () => {
  const folders = readdirSync(VENDOR, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map((entry) => entry.name).sort()).toEqual(Object.keys(FOLDERS).sort());
  const versions = statedVersions();
  for (const [folder, [name, directory]] of Object.entries(FOLDERS)) {
    const root = join(PACKAGES, name);
    expect(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version).toBe(versions[folder]);
    for (const file of readdirSync(join(VENDOR, folder)).filter((file) => !isOurs(file))) {
      const inRoot = /^(LICENSE|NOTICE)$/.test(file);
      const published = readFileSync(join(root, inRoot ? '.' : directory, file), 'utf8');
      const ours = readFileSync(join(VENDOR, folder, file), 'utf8');
      expect(withoutSourceMap(ours) === withoutSourceMap(published), `${folder}/${file}`).toBe(true);
    }
  }
});
