import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Candidate, Stage } from './candidate.ts';
import { start, stop } from './child.ts';
import { freePort } from './free-port.ts';

const token = 'bench-token-of-nginx';

/** nginx as a gateway: one token, checked, and the key in its place. The C limit. Null where nginx is not installed. */
export async function startNginx({ upstreamPort, key, folder, nginx }: Stage): Promise<Candidate | null> {
  if (!existsSync(nginx)) return null;
  const prefix = path.join(folder, 'nginx');
  await mkdir(prefix, { recursive: true });
  const port = await freePort();
  const file = path.join(prefix, 'nginx.conf');
  await writeFile(file, configuration(prefix, port, upstreamPort, key), { mode: 0o600 });
  const child = start('measured', {
    program: nginx,
    args: ['-p', prefix, '-c', file, '-e', path.join(prefix, 'error.log')],
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  for (let left = 100; !(await answers(port)); left -= 1) {
    if (left === 0 || child.exitCode !== null) throw new Error('nginx did not start');
    await pause(50);
  }
  return {
    name: 'nginx',
    port,
    token,
    pid: child.pid ?? null,
    settle: async () => {},
    stop: () => stop(child),
  };
}

/** `nginx/1.22.1`; null where it is not installed. */
export function nginxVersion(nginx: string): string | null {
  if (!existsSync(nginx)) return null;
  return spawnSync(nginx, ['-v'], { encoding: 'utf8' }).stderr?.match(/nginx\/\S+/)?.[0] ?? null;
}

function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    async (response) => (await response.arrayBuffer(), true),
    () => false,
  );
}

function configuration(prefix: string, port: number, upstreamPort: number, key: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off;
master_process off;
pid ${prefix}/nginx.pid;
events { worker_connections 16384; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${prefix}/${name};`).join('\n  ')}
  client_max_body_size 64m;
  client_body_buffer_size 256k;
  keepalive_timeout 120s;
  keepalive_requests 100000000;
  map $http_authorization $provider_key { "Bearer ${token}" "Bearer ${key}"; default ""; }
  upstream provider { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      if ($provider_key = "") { return 401; }
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization $provider_key;
      proxy_buffering off;
      proxy_pass http://provider;
    }
  }
}
`;
}
