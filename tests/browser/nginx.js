// nginx in front of hubs.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect } from './hub.js';

/**
 * Starts Debian's nginx in front of a hub, with its defaults and compression.
 *
 * @param {import('./hub.js').Hub} hub
 * @param {{ http?: string, server?: string, location?: string }} [configuration] Lines to add.
 */
export async function nginx(hub, { http = '', server = '', location = '' } = {}) {
  return startNginx(hub.folder, (address) => `
      gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
      ${http}
      server { listen ${address}; location / { proxy_pass ${hub.url}; ${location} } ${server} }`);
}

/**
 * Starts Debian's nginx with files in a folder.
 *
 * @param {string} parent
 * @param {(address: string) => string} http Returns the lines of `http`, with a server at the address.
 */
export async function startNginx(parent, http) {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  const folder = join(parent, 'nginx');
  const config = join(parent, 'nginx.conf');
  await writeFile(config, `
    daemon off; pid ${folder}.pid; error_log ${folder}.log; worker_processes 1;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}-${kind};`).join(' ')}
      ${http(`127.0.0.1:${port}`)}
    }`);
  const child = spawn('/usr/sbin/nginx', ['-c', config], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await expect.poll(() => fetch(`${url}/healthz`).then((response) => response.status, () => 0)).toBe(200);
  return {
    url,
    stop: async () => {
      if (child.exitCode !== null) return;
      child.kill('SIGQUIT');
      setTimeout(() => child.kill('SIGKILL'), 1_000).unref();
      await once(child, 'exit');
    },
  };
}
