import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ConnectionOptions } from '../../src/db/connection.ts';

const keeper = fileURLToPath(new URL('./database-keeper.ts', import.meta.url));

/** One keeper a user and checkout. */
function socketPath(): string {
  const key = createHash('sha256').update(`${process.getuid?.()} ${keeper}`).digest('hex').slice(0, 12);
  return path.join(tmpdir(), `sallyport-test-${key}.sock`);
}

/** The keeper's answer; the connection stays open as long as this process lives, and doesn't keep it alive. */
async function ask(socket: string): Promise<ConnectionOptions> {
  const { promise, resolve, reject } = Promise.withResolvers<ConnectionOptions>();
  const line = connect(socket);
  line.on('error', reject);
  line.on('close', () => reject(new Error('the keeper went away')));
  line.on('data', (data: Buffer) => {
    line.unref();
    const answer = JSON.parse(data.toString()) as ConnectionOptions | { error: string };
    if ('error' in answer) reject(Object.assign(new Error(answer.error), { code: 'KEEPER_FAILED' }));
    else resolve(answer);
  });
  // Our parent is tap, whose end is the run's; of a file that was started by hand it is a shell, which says nothing.
  line.write(String(process.env['TAP'] === '1' ? process.ppid : 0));
  return promise;
}

function startKeeper(socket: string): void {
  spawn(process.execPath, [keeper, socket, tmpdir()], {
    detached: true,
    stdio: 'ignore',
    // Not tap's NODE_OPTIONS: the keeper is no test.
    env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] },
  }).unref();
}

async function find(): Promise<ConnectionOptions> {
  const external = process.env['TEST_DATABASE_URL'];
  if (external !== undefined && external !== '') return { url: external };
  const socket = socketPath();
  for (let left = 100; left > 0; left -= 1) {
    try {
      return await ask(socket);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'KEEPER_FAILED') throw error;
      // A killed keeper's socket file: nobody listens, and nobody could.
      if (code === 'ECONNREFUSED') unlinkSync(socket);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') startKeeper(socket);
    }
    await delay(100);
  }
  throw new Error('the test database server did not start');
}

let found: Promise<ConnectionOptions> | undefined;

/** The run's database server, as a user who may create databases: TEST_DATABASE_URL, else an embedded one shared by all test files. */
export function databaseServer(): Promise<ConnectionOptions> {
  return (found ??= find());
}
