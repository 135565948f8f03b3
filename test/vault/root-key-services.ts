import { createEgress } from '../../src/egress/egress.ts';
import { createExchange } from '../../src/egress/exchange.ts';
import { kmsKeyId, transitKeyId } from '../../src/vault/kek-place.ts';
import type { RingKey } from '../../src/vault/keyring-text.ts';
import type { KekServices } from '../../src/vault/keyring.ts';
import type { KmsFake } from '../support/kms-fake.ts';
import type { TransitFake } from '../support/transit-fake.ts';
import { testCa } from '../support/upstream.ts';

interface Teardown {
  teardown(work: () => unknown): void;
}

/** A real way out to the fakes; the pauses after failures are whole. */
export function services(t: Teardown, more: Partial<KekServices> = {}): KekServices {
  const egress = createEgress({ ca: testCa });
  t.teardown(() => egress.close());
  return {
    exchange: createExchange(egress),
    transitToken: () => null,
    awsCredentials: null,
    clock: Date.now,
    random: () => 0,
    ...more,
  };
}

export function transitKey(
  fake: TransitFake,
  state: RingKey['state'] = 'active',
  namespace?: string,
): RingKey {
  const transit = {
    address: fake.origin,
    mount: fake.mount,
    key: fake.key,
    ...(namespace === undefined ? {} : { namespace }),
  };
  return { id: transitKeyId(transit), state, transit };
}

export function kmsKey(fake: KmsFake, state: RingKey['state'] = 'active'): RingKey {
  const kms = { region: fake.region, keyId: fake.keyId, endpoint: fake.origin };
  return { id: kmsKeyId(kms), state, kms };
}
