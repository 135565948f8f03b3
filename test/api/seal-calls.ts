import { newSeal, type TestSeal } from '../support/seal.ts';
import type { Answer, startWorld } from './world.ts';

export interface SealCalls {
  readonly make: () => TestSeal;
  readonly createSeal: (token?: string) => Promise<TestSeal & { readonly id: string }>;
  readonly storeSealed: (sealId: string, value: string, more?: object, token?: string) => Promise<Answer>;
  readonly reseal: (to: string, old: string, next: string, body?: object, token?: string) => Promise<Answer>;
  /** Of the seals made here: forms of their secrets that stand in an answer, a record or a row. */
  readonly leaked: () => Promise<readonly string[]>;
}

/** What a client does with seals, as the world's first owner unless another token is given. */
export function sealCalls(world: Awaited<ReturnType<typeof startWorld>>): SealCalls {
  const { call, first } = world;
  const secrets: TestSeal[] = [];
  const owner = first.adminToken;

  function make(): TestSeal {
    const seal = newSeal();
    secrets.push(seal);
    return seal;
  }

  return Object.freeze<SealCalls>({
    make,
    async createSeal(token = owner) {
      const seal = make();
      const made = await call(token, 'POST', '/api/seals', { name: 'mine', publicKey: seal.publicKey });
      return { ...seal, id: made.json.id };
    },
    storeSealed(sealId, value, more = {}, token = owner) {
      const body = { name: 'k', provider: 'openai', protection: 'sealed', sealId, value, ...more };
      return call(token, 'POST', '/api/api-keys', body);
    },
    reseal(to, old, next, body = {}, token = owner) {
      const headers = { 'x-sallyport-seal': old, 'x-sallyport-new-seal': next };
      return call(token, 'POST', `/api/seals/${to}/reseal`, body, headers);
    },
    async leaked() {
      const rows = await world.store.asSystem(async (tx) => [
        await tx.selectFrom('seals').selectAll().execute(),
        await tx.selectFrom('provider_keys').selectAll().execute(),
        await tx.selectFrom('provider_key_versions').selectAll().execute(),
        await tx.selectFrom('idempotency_keys').selectAll().execute(),
      ]);
      const text = JSON.stringify(rows, (_name, value) =>
        typeof value === 'bigint'
          ? String(value)
          : value?.type === 'Buffer'
            ? Buffer.from(value.data).toString('hex')
            : value,
      );
      const said = world.heard.join('\n') + world.journalText() + text;
      return secrets
        .flatMap(({ ikm, secret }) => [
          secret.slice(4, 44),
          ikm.toString('hex'),
          ikm.toString('base64').slice(0, 40),
        ])
        .filter((form) => said.includes(form));
    },
  });
}
