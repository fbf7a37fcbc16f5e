// The hub of a test, on an address that stays when it is killed and started again.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BINARY = process.env.FANFARE;
if (!BINARY) {
  throw new Error('set FANFARE to the hub to test');
}

/** Returns a port that is free now. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Hub {
  static async start(...flags) {
    const hub = new Hub();
    hub.data = mkdtempSync(join(tmpdir(), 'fanfare-durable-'));
    hub.url = `http://127.0.0.1:${await freePort()}`;
    hub.flags = flags;
    await hub.restart();
    return hub;
  }

  async restart() {
    const flags = ['--listen', this.url.slice('http://'.length), '--data-dir', this.data, '--durable-streams', 'on'];
    this.process = spawn(BINARY, [...flags, ...this.flags], { stdio: 'ignore' });
    const { process } = this;
    while (!(await this.isReady())) {
      if (process.exitCode !== null) {
        throw new Error('the hub did not start');
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async isReady() {
    try {
      return (await fetch(`${this.url}/readyz`)).ok;
    } catch {
      return false;
    }
  }

  stream(name) {
    return `${this.url}/v1/stream/${name}`;
  }

  /** Kills the process with SIGKILL. */
  async kill() {
    this.process.kill('SIGKILL');
    await once(this.process, 'exit');
  }

  /** Ends the process and deletes its data. */
  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      await this.kill();
    }
    rmSync(this.data, { recursive: true });
  }
}

/** Waits until `condition` returns true. */
export async function until(condition) {
  while (!(await condition())) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
