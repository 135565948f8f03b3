import { LLMock } from '@copilotkit/aimock';
import type { Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';

/** The stored keys: shaped as each provider's, and the only credential that a stand-in takes. */
export const providerKeys = {
  openai: 'sk-proj-e2e0000000000000000000000000000000',
  anthropic: 'sk-ant-api03-e2e00000000000000000000000000',
  google: 'AIzaSyE2e000000000000000000000000000000',
  groq: 'gsk_e2e000000000000000000000000000000000',
} as const;

/** An independent stand-in for all providers; any credential but a stored key, and any second one that differs, gets 401. */
export async function startAimock(t: Test): Promise<LLMock> {
  const mock = new LLMock({ auth: { apiKeys: Object.values(providerKeys) }, chunkSize: 6 });
  await mock.start();
  t.teardown(() => mock.stop());
  return mock;
}

/** A gateway whose providers are all at one origin, with a key of each stored. */
export async function gatewayTo(
  t: Test,
  origin: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<TestGateway> {
  const names = Object.keys(providerKeys) as (keyof typeof providerKeys)[];
  const gateway = await startGateway(t, {
    upstreams: Object.fromEntries(names.map((name) => [name, origin])),
    settings,
  });
  for (const name of names) await gateway.addKey(name, providerKeys[name]);
  return gateway;
}
