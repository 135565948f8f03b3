import type { TestGateway } from '../support/gateway.ts';
import { addWorkspaces } from '../vault/many-workspaces.ts';

export interface RotationResult {
  readonly rows: number;
  readonly rewrapSeconds: number;
  readonly rowsPerSecond: number;
  readonly calls: number;
  /** What was not done: status and body of the answer. */
  readonly failed: readonly string[];
  /** Of the calls while rows were sealed anew, and of those before, in ms. */
  readonly during: Latency;
  readonly before: Latency;
  readonly workspacesMade: number;
}

export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * The whole exchange of a root key under load: stage, promote, rewrap, retire, while callers of `workspaces` call on and new workspaces are
 * made. Caches are dropped now and then, so that keys are read and opened anew all the time and not only from memory.
 */
export async function rotateUnderLoad(
  gateway: TestGateway,
  options: {
    readonly workspaces: number;
    readonly callers: number;
    readonly warmSeconds: number;
    readonly key: string;
  },
): Promise<RotationResult> {
  const { installation, database } = gateway;
  const { vault, keyring } = installation;
  await addWorkspaces(
    { store: database.store, ring: keyring.ring, deploymentId: vault.deploymentId },
    options.workspaces,
  );
  const callers = await makeCallers(gateway, options);
  const [before, during]: [number[], number[]] = [[], []];
  const failed: string[] = [];
  let isRotating = false;
  const over = new AbortController();
  let made = 0;

  async function loop(token: string, workspaceId: string): Promise<void> {
    for (let i = 0; !over.signal.aborted; i += 1) {
      if (i % 10 === 9) vault.forget(workspaceId);
      const startedAt = performance.now();
      const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'gpt-4o', messages: [] }),
      });
      const text = await response.text();
      (isRotating ? during : before).push(performance.now() - startedAt);
      if (response.status !== 200) failed.push(`${response.status} ${text}`);
    }
  }
  async function makeMore(): Promise<void> {
    while (!over.signal.aborted) {
      const answer = await operator(gateway, 'POST', '/workspaces', { name: 'meanwhile' });
      if (answer.status !== 201) failed.push(`${answer.status} ${JSON.stringify(answer.body)}`);
      made += 1;
    }
  }
  const load = [...callers.map(({ token, workspaceId }) => loop(token, workspaceId)), makeMore()];
  await new Promise((resolve) => setTimeout(resolve, options.warmSeconds * 1000));

  const { activeRootKey: old } = (await must(gateway, 'GET', '')) as { activeRootKey: string };
  isRotating = true;
  await must(gateway, 'POST', '/stage', {});
  await must(gateway, 'POST', '/promote', {});
  const startedAt = performance.now();
  await must(gateway, 'POST', '/rewrap', {});
  await gateway.app.rootKeys.rewrapped();
  const rewrapSeconds = (performance.now() - startedAt) / 1000;
  const { rewrap } = (await must(gateway, 'GET', '')) as { rewrap: { status: string; rewrapped: number } };
  if (rewrap.status !== 'done') throw new Error(`rewrap ended as ${rewrap.status}`);
  await must(gateway, 'POST', '/retire', { rootKeyId: old });
  // Every caller once more with the old key gone, from what the database says.
  isRotating = false;
  for (const { workspaceId } of callers) vault.forget(workspaceId);
  await new Promise((resolve) => setTimeout(resolve, options.warmSeconds * 500));
  over.abort();
  await Promise.all(load);
  return {
    rows: rewrap.rewrapped,
    rewrapSeconds,
    rowsPerSecond: rewrap.rewrapped / rewrapSeconds,
    calls: before.length + during.length,
    failed,
    during: latencyOf(during),
    before: latencyOf(before),
    workspacesMade: made,
  };
}

async function makeCallers(
  gateway: TestGateway,
  { callers, key }: { readonly callers: number; readonly key: string },
) {
  const made: { token: string; workspaceId: string }[] = [];
  for (let i = 0; i < callers; i += 1) {
    const { body } = await operator(gateway, 'POST', '/workspaces', { name: `caller ${i}` });
    const answer = await gateway.api(
      'POST',
      '/api-keys',
      { name: 'main', provider: 'openai', value: key, force: true },
      body.adminToken,
    );
    if (answer.status !== 201) throw new Error(`a key was refused: ${answer.body.detail}`);
    const minted = await gateway.api(
      'POST',
      '/tokens',
      { name: 'load', requestsPerMinute: 100_000, concurrentCalls: 100 },
      body.adminToken,
    );
    if (minted.status !== 201) throw new Error(`a token was refused: ${minted.body.detail}`);
    const { token } = minted.body;
    made.push({ token, workspaceId: body.workspaceId });
  }
  return made;
}

/** As on the admin socket: without the limit on changes a minute. */
async function operator(gateway: TestGateway, method: string, url: string, body?: object) {
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
  const answer = await gateway.app.operator.inject(method, `/api${url}`, bytes);
  return { status: answer.status, body: JSON.parse(answer.body.toString()) };
}

async function must(gateway: TestGateway, method: string, step: string, body?: object): Promise<unknown> {
  const answer = await operator(gateway, method, `/keyring${step}`, body);
  if (answer.status !== 200) throw new Error(`${method} ${step}: ${answer.status} ${answer.body.detail}`);
  return answer.body;
}

function latencyOf(ms: number[]): Latency {
  const sorted = ms.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10;
  return { p50: at(0.5), p99: at(0.99), max: Math.round((sorted.at(-1) ?? 0) * 10) / 10 };
}
