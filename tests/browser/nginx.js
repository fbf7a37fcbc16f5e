// nginx in front of a hub.

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
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  const folder = join(hub.folder, 'nginx');
  const config = join(hub.folder, 'nginx.conf');
  await writeFile(config, `
    daemon off; pid ${folder}.pid; error_log ${folder}.log; worker_processes 1;
    events {}
    http {
      access_log off; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}-${kind};`).join(' ')}
      ${http}
      server { listen 127.0.0.1:${port}; location / { proxy_pass ${hub.url}; ${location} } ${server} }
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
