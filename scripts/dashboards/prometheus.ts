import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export interface Prometheus {
  /** Values of the answer; throws what Prometheus says to a query that it does not take. */
  ask(expr: string): Promise<readonly number[]>;
  /** Names of rules with their health and, of alerts, their state. */
  rules(): Promise<readonly { readonly name: string; readonly health: string; readonly state?: string }[]>;
  stop(): Promise<void>;
}

interface Answer<T> {
  readonly status: string;
  readonly error?: string;
  readonly data: T;
}

const configuration = path.join(import.meta.dirname, '..', '..', 'docker', 'prometheus');

/** Debian's Prometheus with our configuration, but that it scrapes `target` and does it every second. */
export async function startPrometheus(target: string, port: number): Promise<Prometheus> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-prometheus-'));
  cpSync(configuration, folder, { recursive: true });
  const file = path.join(folder, 'prometheus.yml');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replaceAll('15s', '1s').replace(/targets: \[.*\]/, `targets: ["${target}"]`));
  const child = spawn(
    'prometheus',
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const ended = once(child, 'close');
  const origin = `http://127.0.0.1:${port}`;

  async function get<T>(where: string): Promise<T> {
    const response = await fetch(`${origin}/api/v1/${where}`, { signal: AbortSignal.timeout(10_000) });
    const { status, error, data } = (await response.json()) as Answer<T>;
    if (status !== 'success') throw new Error(error);
    return data;
  }

  const until = performance.now() + 20_000;
  while ((await fetch(`${origin}/-/ready`).catch(() => null))?.status !== 200) {
    if (child.exitCode !== null || performance.now() > until) throw new Error('Prometheus does not start');
    await pause(50);
  }
  return Object.freeze<Prometheus>({
    async ask(expr) {
      const { result } = await get<{ result: readonly { value: readonly [number, string] }[] }>(
        `query?query=${encodeURIComponent(expr)}`,
      );
      return result.map(({ value }) => Number(value[1]));
    },
    async rules() {
      const { groups } = await get<{
        groups: readonly { rules: readonly { name: string; health: string; state?: string }[] }[];
      }>('rules');
      return groups.flatMap(({ rules }) => rules);
    },
    async stop() {
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  });
}
